//! Requests that this node makes by itself: to a push service, to public witnesses of the log, to a
//! collector of traces, and the bench's to `/metrics`. Decides what they have in common: the TLS provider is chosen for each
//! client and never for the process, the environment names no proxy, no redirect is followed.

use std::sync::Arc;

use reqwest::{Client, ClientBuilder, redirect::Policy};
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};

/// A client for `http://` addresses only: for `https://` it trusts nobody.
///
/// # Errors
/// What the library says; nothing was sent.
pub(crate) fn plain() -> Result<Client, OutgoingError> {
    let config = ClientConfig::builder_with_provider(ring())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(builder(config).build()?)
}

/// A client that believes certificates as this system does.
///
/// # Errors
/// The system's certificates can't be read, or what the library says.
pub(crate) fn trusting_the_system() -> Result<Client, OutgoingError> {
    let provider = ring();
    let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(&provider))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(builder(config).build()?)
}

fn ring() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn builder(tls: ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .no_proxy()
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The library refuses.
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}
