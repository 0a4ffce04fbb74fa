//! TLS to the server: rustls with ring, the system's roots.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::fault::{Fault, Remedy};

/// The connector of all connections. `needed` is whether any of them can use TLS.
pub(super) fn connector(needed: bool) -> Result<MakeRustlsConnect, Fault> {
    let mut roots = RootCertStore::empty();
    if needed {
        // Without any roots, only a connection that needs them fails, and says so.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|fault| Fault::new(Remedy::None, format!("TLS cannot be set up: {fault}")))?;
    Ok(MakeRustlsConnect::new(config.with_root_certificates(roots).with_no_client_auth()))
}
