//! Whom a login service believes to be its broker: certificates that the system trusts, or those of
//! a private authority.
//!
//! The provider of cryptography is chosen here, for this client only: a program that embeds the
//! SDK keeps its own process-wide choice. Never switches verification off.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::error::LoginServiceError;

/// Longest file of authorities that is read, in bytes.
const MAX_AUTHORITIES: u64 = 1 << 20;

/// Certificate authorities of a private PKI: nobody else's certificates are believed.
#[derive(Clone, Debug)]
pub struct Authorities(Arc<RootCertStore>);

impl Authorities {
    /// One or more certificates in PEM (RFC 7468).
    ///
    /// # Errors
    /// [`LoginServiceError::Authorities`] when there is none, or one is no certificate.
    pub fn from_pem(pem: &[u8]) -> Result<Authorities, LoginServiceError> {
        let refuse = |what: String| LoginServiceError::Authorities { what };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| refuse(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(refuse("found no certificate, expected one or more".into()));
        }
        Ok(Authorities(Arc::new(roots)))
    }

    /// [`Authorities::from_pem`] of a file of at most 1 MiB.
    ///
    /// # Errors
    /// [`LoginServiceError::Authorities`], naming the file.
    pub fn from_file(path: &Path) -> Result<Authorities, LoginServiceError> {
        let refuse = |what: String| LoginServiceError::Authorities {
            what: format!("{}: {what}", path.display()),
        };
        let found = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
        if found.len() > MAX_AUTHORITIES {
            let found = found.len();
            return Err(refuse(format!(
                "file has {found} bytes, at most {MAX_AUTHORITIES} allowed"
            )));
        }
        let pem = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        Authorities::from_pem(&pem).map_err(|error| match error {
            LoginServiceError::Authorities { what } => refuse(what),
            error => error,
        })
    }
}

/// Where a broker is, and which authorities vouch for it.
#[derive(Clone, Debug)]
pub struct BrokerAddress {
    pub(super) url: String,
    pub(super) authorities: Option<Authorities>,
}

impl BrokerAddress {
    /// `https://` and a name or address that the broker's certificate holds, or `http://` and a
    /// loopback address; no path. Certificates are believed as this system believes them.
    pub fn new(url: impl Into<String>) -> BrokerAddress {
        BrokerAddress {
            url: url.into(),
            authorities: None,
        }
    }

    /// Believes certificates of these authorities, and no others.
    #[must_use]
    pub fn trusting(mut self, authorities: Authorities) -> BrokerAddress {
        self.authorities = Some(authorities);
        self
    }
}

impl From<&str> for BrokerAddress {
    fn from(url: &str) -> BrokerAddress {
        BrokerAddress::new(url)
    }
}

impl From<String> for BrokerAddress {
    fn from(url: String) -> BrokerAddress {
        BrokerAddress::new(url)
    }
}

impl From<&String> for BrokerAddress {
    fn from(url: &String) -> BrokerAddress {
        BrokerAddress::new(url.as_str())
    }
}

/// TLS 1.2 or 1.3 as a client. Without TLS (`is_tls` false) nobody is believed, and no system
/// store is read.
pub(super) fn client_config(
    is_tls: bool,
    authorities: Option<&Authorities>,
) -> Result<ClientConfig, LoginServiceError> {
    let setup = |error: rustls::Error| LoginServiceError::Setup {
        what: error.to_string(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(setup)?;
    let mut config = match authorities {
        Some(Authorities(roots)) => builder
            .with_root_certificates(Arc::clone(roots))
            .with_no_client_auth(),
        None if is_tls => {
            let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(setup)?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth()
        }
        None => builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_certificates_and_at_least_one() {
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "not a pem", key, broken] {
            let found = Authorities::from_pem(text.as_bytes());
            assert!(
                matches!(found, Err(LoginServiceError::Authorities { .. })),
                "{text}"
            );
        }
        let missing = Authorities::from_file(Path::new("/nowhere/ca.pem")).unwrap_err();
        assert!(missing.to_string().contains("/nowhere/ca.pem"), "{missing}");
    }

    #[test]
    fn plain_http_needs_no_system_store() {
        assert!(client_config(false, None).is_ok());
    }
}
