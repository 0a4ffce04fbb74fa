//! Reaching a server: name resolution, a TCP connection and, if requested, TLS. Nothing is sent beyond that.

use std::{sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::tls;

/// How long each step may take.
pub(crate) const STEP: Duration = Duration::from_secs(3);

/// A connection, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Why a server cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    #[error("the name {host} does not resolve: {cause}")]
    Name { host: String, cause: String },
    #[error("{host}:{port} accepts no connection: {cause}")]
    Connection { host: String, port: u16, cause: String },
    #[error("{host}:{port} accepts connections, but TLS fails: {cause}")]
    Tls { host: String, port: u16, cause: String },
}

impl Unreached {
    /// What to do about it. `setting` names the source of the address.
    pub(crate) fn remedy(&self, setting: &str) -> String {
        match self {
            Self::Name { host, .. } => {
                format!("correct the host in {setting}, or add {host} to the DNS that this machine uses")
            }
            Self::Connection { host, port, .. } => format!(
                "start the server at {host}:{port}, correct {setting}, or allow the connection (firewall, network policy)"
            ),
            Self::Tls { .. } => format!(
                "check the server's certificate (name, dates, issuer); to trust a private issuer, set SSL_CERT_FILE; \
                 if the server does not use TLS on this port, correct the scheme or port in {setting}"
            ),
        }
    }
}

/// Connects, and tries each address if the name has several.
///
/// # Errors
/// [`Unreached`]; every step fails after [`STEP`] at the latest.
pub(crate) async fn reach(host: &str, port: u16, with_tls: bool) -> Result<Box<dyn Stream>, Unreached> {
    // A URL writes an IPv6 address in brackets, the resolver expects it without.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let overdue = || format!("no answer within {} s", STEP.as_secs());
    let unresolved = |cause| Unreached::Name { host: host.to_owned(), cause };
    let addresses: Vec<_> = match timeout(STEP, lookup_host((host, port))).await {
        Ok(found) => found.map_err(|fault| unresolved(fault.to_string()))?.collect(),
        Err(_) => return Err(unresolved(overdue())),
    };
    let refused = |cause| Unreached::Connection { host: host.to_owned(), port, cause };
    let stream = match timeout(STEP, TcpStream::connect(&*addresses)).await {
        Ok(stream) => stream.map_err(|fault| refused(fault.to_string()))?,
        Err(_) => return Err(refused(overdue())),
    };
    if !with_tls {
        return Ok(Box::new(stream));
    }
    let failed = |cause: String| Unreached::Tls { host: host.to_owned(), port, cause };
    let config = tls::trusting_the_system().map_err(|fault| failed(fault.to_string()))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|fault| failed(fault.to_string()))?;
    match timeout(STEP, TlsConnector::from(Arc::new(config)).connect(name, stream)).await {
        Ok(stream) => Ok(Box::new(stream.map_err(|fault| failed(fault.to_string()))?)),
        Err(_) => Err(failed(overdue())),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_unknown_name_a_closed_port_and_a_server_without_tls_are_distinguished() {
        let unresolved = reach("no-such-host.invalid", 80, false).await.err().unwrap();
        assert!(matches!(unresolved, Unreached::Name { .. }), "{unresolved}");
        assert!(unresolved.remedy("THE_URL").contains("THE_URL"));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(reach("127.0.0.1", port, false).await.is_ok());
        let server = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            }
        });
        let plain = reach("127.0.0.1", port, true).await.err().unwrap();
        assert!(matches!(plain, Unreached::Tls { .. }), "{plain}");
        server.abort();
        let _ = server.await;
        let shut = reach("127.0.0.1", port, false).await.err().unwrap();
        assert!(matches!(shut, Unreached::Connection { .. }), "{shut}");
    }
}
