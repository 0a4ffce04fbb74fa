//! Server-sent events, parsed from the bytes of a stream as they arrive.

/// Longest event that is accepted, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// The type; `message` if it has none.
    pub(crate) kind: String,
    /// The id to resume from after a lost connection.
    pub(crate) id: Option<String>,
    /// JSON.
    pub(crate) data: String,
}

/// The part of the next event that has arrived.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    kind: String,
    id: Option<String>,
    data: Option<String>,
    bytes: usize,
}

/// An event is longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Parser {
    /// Reads more bytes, and returns the events that they complete.
    ///
    /// # Errors
    /// An event beyond 1 MiB.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let ends = byte == b'\r' || byte == b'\n' && !self.after_cr;
            let skipped = byte == b'\n' && self.after_cr;
            self.after_cr = byte == b'\r';
            if ends {
                let line = std::mem::take(&mut self.line);
                events.extend(self.take(&String::from_utf8_lossy(&line)));
            } else if !skipped {
                self.line.push(byte);
                self.bytes += 1;
                if self.bytes > MAX_BYTES {
                    return Err(TooLong);
                }
            }
        }
        Ok(events)
    }

    fn take(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            self.bytes = 0;
            let kind = std::mem::take(&mut self.kind);
            let data = self.data.take()?;
            let kind = if kind.is_empty() { "message".to_owned() } else { kind };
            return Some(Event { kind, id: self.id.clone(), data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // A comment keeps the connection alive.
            _ => {
                self.bytes = if field.is_empty() { 0 } else { self.bytes };
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, id: Option<&str>, data: &str) -> Event {
        Event { kind: kind.into(), id: id.map(Into::into), data: data.into() }
    }

    #[test]
    fn events_are_whole_wherever_the_stream_is_cut() {
        let stream =
            ": hello\n\nevent: attempt\nid: 7\ndata: {\"a\":\ndata: 1}\n\nretry: 5\ndata:x\n\nevent: empty\n\n";
        let wanted = [event("attempt", Some("7"), "{\"a\":\n1}"), event("message", Some("7"), "x")];
        for ending in ["\n", "\r\n", "\r"] {
            let stream = stream.replace('\n', ending);
            for cut in 0..stream.len() {
                let mut parser = Parser::default();
                let mut events = parser.feed(&stream.as_bytes()[..cut]).unwrap();
                events.extend(parser.feed(&stream.as_bytes()[cut..]).unwrap());
                assert_eq!(events, wanted, "{ending:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn an_endless_event_is_refused_and_endless_comments_are_not() {
        let mut parser = Parser::default();
        assert!((0..2_000).all(|_| parser.feed(&[b':'; 1_000]).is_ok() && parser.feed(b"\n").is_ok()));
        assert_eq!(parser.feed(&vec![b'x'; MAX_BYTES + 1]), Err(TooLong));
    }
}
