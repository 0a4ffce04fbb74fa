//! TLS for clients: which certificates they trust.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFault {
    #[error("no trusted certificates found for TLS: install ca-certificates, or set SSL_CERT_FILE to a bundle")]
    NoCertificates,
    #[error(transparent)]
    Unusable(#[from] rustls::Error),
}

/// Trusts the certificates that the system trusts.
pub(crate) fn trusting_the_system() -> Result<ClientConfig, TlsFault> {
    let mut roots = RootCertStore::empty();
    // A certificate that cannot be read is skipped, as in other clients.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TlsFault::NoCertificates);
    }
    Ok(trusting(roots)?)
}

/// Trusts these certificates.
pub(crate) fn trusting(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
