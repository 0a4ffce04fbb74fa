//! A request as it arrived.

use std::io;

use tokio::net::TcpStream;

/// The largest accepted request: several times the largest order.
const MAX_BYTES: usize = 16 * 1_024 * 1_024;

/// A request as it arrived, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method, such as `POST`.
    pub method: String,
    /// The path, and the query if there is one.
    pub target: String,
    /// The body.
    pub body: Vec<u8>,
    headers: Vec<(String, String)>,
}

impl Request {
    /// Every value of a header, because sending one twice is a fault too. Case does not matter.
    #[must_use]
    pub fn header(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Reads the next request from a connection; `None` if the client has closed it.
    ///
    /// HTTP/1.1 as clients use it: a head, and a body of known length.
    pub(super) async fn read(stream: &TcpStream) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if read_some(stream, &mut bytes).await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let mut request = Self { method, target, headers, body: bytes.split_off(head_end + 4) };
        let length = match request.header("Content-Length").as_slice() {
            [] if request.header("Transfer-Encoding").is_empty() => 0,
            [length] => length.parse().map_err(io::Error::other)?,
            _ => return Err(io::Error::other("a body of unknown length")),
        };
        while request.body.len() < length {
            if read_some(stream, &mut request.body).await? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(request))
    }
}

async fn read_some(stream: &TcpStream, into: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 16 * 1_024];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut buffer) {
            Ok(_) if into.len() > MAX_BYTES => return Err(io::Error::other("the request is too large")),
            Ok(count) => {
                into.extend_from_slice(&buffer[..count]);
                return Ok(count);
            }
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
            Err(fault) => return Err(fault),
        }
    }
}
