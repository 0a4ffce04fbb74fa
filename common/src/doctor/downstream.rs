//! Whether a downstream API's server can be reached. The API itself is never called: an examination must not
//! have any effect there.

use std::time::Instant;

use reqwest::Url;

use super::{Check, Finding};
use crate::reach::reach;

/// Resolves the name, connects and, for `https`, completes a TLS handshake.
pub async fn downstream(destination: &str, url: &Url) -> Finding {
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    let begun = Instant::now();
    // The path and the rest of the URL may be secret; the address of the server is not.
    let subject = format!("{destination}: {}://{host}:{port}", url.scheme());
    match reach(host, port, url.scheme() == "https").await {
        Ok(_) => {
            Finding::ok(Check::Downstream, subject, format!("accepts connections ({} ms)", begun.elapsed().as_millis()))
        }
        Err(fault) => {
            let remedy = fault.remedy("the URL of this destination's API");
            Finding::error(Check::Downstream, subject, fault.to_string(), format!("{remedy}; until then orders wait"))
        }
    }
}
