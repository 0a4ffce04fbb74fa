//! As much HTTP/1.1 as the load needs, by hand: its own cost takes time from what is measured.

use std::ops::Range;

use anyhow::{Result, anyhow, bail};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use super::book::OrderId;

/// A message larger than this is none of ours.
const LARGEST: usize = 64 * 1_024;
/// Room for one read.
const READ: usize = 4 * 1_024;

/// Reads messages from one connection.
#[derive(Debug, Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
    used: usize,
}

/// One message, in place.
#[derive(Debug)]
pub(super) struct Message<'a> {
    /// The first line and the headers.
    pub(super) head: &'a [u8],
    /// The body.
    pub(super) body: &'a [u8],
}

impl Reader {
    /// The next message, or nothing at the end of the connection.
    ///
    /// # Errors
    /// The connection breaks within a message, or the message has no length.
    pub(super) async fn next<'a>(&'a mut self, stream: &mut TcpStream) -> Result<Option<Message<'a>>> {
        self.bytes.drain(..self.used);
        self.used = 0;
        let (head, body) = loop {
            if let Some(found) = ranges(&self.bytes)? {
                break found;
            }
            if self.bytes.len() > LARGEST {
                bail!("a message of more than {LARGEST} bytes");
            }
            self.bytes.reserve(READ);
            if stream.read_buf(&mut self.bytes).await? == 0 {
                if self.bytes.is_empty() {
                    return Ok(None);
                }
                bail!("the connection broke within a message");
            }
        };
        self.used = body.end;
        Ok(Some(Message { head: &self.bytes[head], body: &self.bytes[body] }))
    }
}

impl Message<'_> {
    /// The status of an answer.
    pub(super) fn status(&self) -> Option<u16> {
        std::str::from_utf8(self.head.get(9..12)?).ok()?.parse().ok()
    }

    /// The value of a header, given in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        header(self.head, name)
    }

    /// The order that the body names.
    pub(super) fn order_id(&self) -> Option<OrderId> {
        const NAME: &[u8] = b"\"order_id\"";
        let name = self.body.windows(NAME.len()).position(|window| window == NAME)?;
        let value = &self.body[name + NAME.len()..];
        let quote = value.iter().position(|byte| *byte == b'"')?;
        uuid(value.get(quote + 1..quote + 37)?)
    }
}

/// Where head and body are, once both are there.
fn ranges(bytes: &[u8]) -> Result<Option<(Range<usize>, Range<usize>)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = 0..end + 2;
    let length = match header(&bytes[head.clone()], "content-length") {
        Some(length) => std::str::from_utf8(length)?.trim().parse::<usize>()?,
        None if bytes.starts_with(b"HTTP/") => return Err(anyhow!("an answer without content-length")),
        None => 0,
    };
    let body = end + 4..end + 4 + length;
    Ok((bytes.len() >= body.end).then_some((head, body)))
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let (start, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        start.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

fn uuid(text: &[u8]) -> Option<OrderId> {
    let mut id = 0;
    let mut digits = 0;
    for byte in text.iter().filter(|byte| **byte != b'-') {
        id = id << 4 | OrderId::from(char::from(*byte).to_digit(16)?);
        digits += 1;
    }
    (digits == 32).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_whole_when_its_body_is() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nabcHTTP";
        for cut in 0..answer.len() - 4 {
            assert!(ranges(&answer[..cut]).unwrap().is_none(), "{cut}");
        }
        let (head, body) = ranges(answer).unwrap().unwrap();
        let message = Message { head: &answer[head], body: &answer[body] };
        assert_eq!((message.status(), message.body), (Some(202), &b"abc"[..]));
        assert_eq!(message.header("content-length"), Some(&b"3"[..]));
        assert!(ranges(b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn the_order_is_found_in_a_body() {
        let body = br#"{"order_id": "0199a0b0-0000-7000-8000-00000000000f","items":[]}"#;
        let message = Message { head: b"", body };
        assert_eq!(message.order_id(), Some(0x0199_a0b0_0000_7000_8000_0000_0000_000f));
        assert_eq!(Message { head: b"", body: b"{}" }.order_id(), None);
    }
}
