//! TLS of the HTTP side: the certificate chain and its key, from PEM files.
//!
//! TLS 1.2 and 1.3 with ring, HTTP/1.1 by ALPN, no client certificates: callers authenticate with
//! tokens. The pair that is served may be replaced while connections are open; those keep theirs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::live::Live;
use crate::secrets::{self, SecretError};

/// Longest file of certificates or keys that is read, in bytes.
const MAX_PEM: u64 = 1 << 20;

/// Why a certificate and its key are not served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The key's file is unsafe or can't be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificate's file can't be read.
    #[error("could not read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file is not PEM of its kind.
    #[error("{}: {reason}, expected {expected} in PEM", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// The key is not the certificate's, or of a kind that is not served.
    #[error("{} and {} are no pair: {reason}", .certificate.display(), .private_key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        private_key: PathBuf,
        /// What the library says.
        reason: rustls::Error,
    },
}

/// Reads the chain, its own certificate first, and the key: PKCS #8, SEC 1 or PKCS #1 in a file
/// that only its owner may read.
///
/// # Errors
/// [`TlsError`].
pub fn read_pair(certificate: &Path, private_key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = read_chain(certificate)?;
    let pem = secrets::read_private(private_key, MAX_PEM)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| TlsError::Pem {
        path: private_key.to_path_buf(),
        reason: error.to_string(),
        expected: "a private key",
    })?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|reason| TlsError::Pair {
        certificate: certificate.to_path_buf(),
        private_key: private_key.to_path_buf(),
        reason,
    })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refuse = |reason: String| TlsError::Pem {
        path: path.to_path_buf(),
        reason,
        expected: "a certificate chain",
    };
    let read = |source| TlsError::Read {
        path: path.to_path_buf(),
        source,
    };
    let length = std::fs::metadata(path).map_err(read)?.len();
    if length > MAX_PEM {
        return Err(refuse(format!("found {length} bytes, at most {MAX_PEM}")));
    }
    let pem = std::fs::read(path).map_err(read)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| refuse(error.to_string()))?;
    if chain.is_empty() {
        return Err(refuse("found no certificate".to_owned()));
    }
    Ok(chain)
}

/// Gives each new connection the pair as it is then.
#[derive(Debug)]
struct Current(Arc<Live<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.now())
    }
}

/// How connections are encrypted: with the pair that `live` holds when one begins.
///
/// # Errors
/// [`rustls::Error`] when the provider lacks TLS 1.2 and 1.3.
pub fn server_config(live: Arc<Live<CertifiedKey>>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Current(live)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
