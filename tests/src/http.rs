//! The HTTP client of the harness.

use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::waiting::PATIENCE;

/// A client without redirects, retries or proxies: it sends exactly what it is given.
///
/// It is a new one each time, because its connections belong to the caller's runtime, which ends with the test.
///
/// # Errors
/// It cannot be made.
pub fn client() -> Result<reqwest::Client> {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    // Another one may be installed already.
    PROVIDER.get_or_init(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .build()
        .context("cannot make an HTTP client")
}
