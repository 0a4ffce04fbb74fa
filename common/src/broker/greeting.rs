//! The broker's greeting, which contains its version: the AMQP client does not expose it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::reach::Stream;

/// How long the broker may take to send its greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(3);
/// RabbitMQ's greeting has about 500 bytes.
const MAX_GREETING: usize = 4_096;
/// AMQP 0-9-1: type and channel of a frame, and its length.
const FRAME_HEAD: usize = 7;

/// Sends the AMQP 0-9-1 protocol header and reads the version from the reply, `connection.start`. The connection
/// cannot be used afterwards, and the broker logs a warning about it.
///
/// # Errors
/// What answered instead of a broker.
pub(super) async fn version(mut stream: Box<dyn Stream>) -> Result<String, String> {
    let conversation = async {
        stream.write_all(b"AMQP\0\0\x09\x01").await?;
        let mut head = [0; FRAME_HEAD];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        let mut payload = vec![0; if head[0] == 1 { length.min(MAX_GREETING) } else { 0 }];
        stream.read_exact(&mut payload).await?;
        Ok::<_, std::io::Error>(payload)
    };
    match timeout(GREETING_TIMEOUT, conversation).await {
        Ok(Ok(payload)) => version_in(&payload).ok_or_else(|| "it does not speak AMQP 0-9-1".to_owned()),
        Ok(Err(fault)) => Err(format!("it does not answer like a broker: {fault}")),
        Err(_) => Err(format!("it accepts connections, but sends nothing for {} s", GREETING_TIMEOUT.as_secs())),
    }
}

/// The version among the server's properties in `connection.start`.
fn version_in(payload: &[u8]) -> Option<String> {
    let mut rest = payload.strip_prefix(&[0, 10, 0, 10])?;
    let mut take = |count: usize| -> Option<&[u8]> {
        let (taken, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(taken)
    };
    // The protocol version, and the length of the table, which its entries make redundant.
    take(2 + 4)?;
    loop {
        let name_length = usize::from(*take(1)?.first()?);
        let name = take(name_length)?.to_owned();
        match take(1)?.first()? {
            b'S' | b'F' => {
                let length = u32::from_be_bytes(take(4)?.try_into().ok()?) as usize;
                let value = take(length)?;
                if name == b"version" {
                    return String::from_utf8(value.to_owned()).ok();
                }
            }
            b't' => drop(take(1)?),
            _ => return None,
        }
    }
}

/// `4.1.2` as 4 and 1.
pub(super) fn major_and_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
    Some((major, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_after_other_properties_and_garbage_has_none() {
        let mut table = Vec::new();
        table.extend(b"\x0ccapabilitiesF\0\0\0\x05\x02okt\x01");
        table.extend(b"\x07productS\0\0\0\x08RabbitMQ");
        table.extend(b"\x07versionS\0\0\0\x063.10.8");
        let mut payload = vec![0, 10, 0, 10, 0, 9];
        payload.extend(u32::try_from(table.len()).unwrap().to_be_bytes());
        payload.extend(&table);
        assert_eq!(version_in(&payload).as_deref(), Some("3.10.8"));
        for cut in 0..payload.len() {
            assert_eq!(version_in(&payload[..cut]), None, "{cut}");
        }
        assert_eq!(version_in(b"HTTP/1.1 400 Bad Request"), None);
    }

    #[test]
    fn a_version_is_compared_by_its_first_two_numbers() {
        assert_eq!(major_and_minor("3.10.8"), Some((3, 10)));
        assert_eq!(major_and_minor("4.3.0-rc.1"), Some((4, 3)));
        assert_eq!(major_and_minor("4.2beta"), Some((4, 2)));
        assert_eq!(major_and_minor("4"), None);
    }
}
