//! The beginning of what an API said when it refused an order: what a person reads first.

use std::borrow::Cow;

use reqwest::{Response, header::CONTENT_TYPE};

/// Most bytes that are kept.
const MAX_BYTES: usize = 512;

/// The beginning of a body, as it arrives.
#[derive(Debug, Default)]
pub(super) struct Excerpt(Vec<u8>);

impl Excerpt {
    /// An empty one, if the body claims to be text.
    pub(super) fn of(response: &Response) -> Option<Self> {
        let media_type = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
        is_text(media_type).then(Self::default)
    }

    /// Adds a part of the body, as far as there is room.
    pub(super) fn add(&mut self, chunk: &[u8]) {
        let room = MAX_BYTES - self.0.len();
        self.0.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }

    /// As one line, without control characters; `None` if nothing is left.
    pub(super) fn text(self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.0);
        // The last character may be cut in two.
        let text = if self.0.len() == MAX_BYTES { Cow::Borrowed(text.trim_end_matches('\u{fffd}')) } else { text };
        let mut line = String::with_capacity(text.len());
        for character in text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !c.is_control()) {
            if character != ' ' || !line.ends_with(' ') {
                line.push(character);
            }
        }
        let line = line.trim();
        (!line.is_empty()).then(|| line.to_owned())
    }
}

/// Text, JSON and XML, whatever their parameters.
fn is_text(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let structured = ["json", "xml"]
        .iter()
        .any(|kind| essence.strip_suffix(kind).is_some_and(|rest| rest == "application/" || rest.ends_with('+')));
    essence.starts_with("text/") || structured
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(chunks: &[&[u8]]) -> Option<String> {
        let mut excerpt = Excerpt::default();
        chunks.iter().for_each(|chunk| excerpt.add(chunk));
        excerpt.text()
    }

    #[test]
    fn only_text_is_kept() {
        for text in ["text/plain", "application/json; charset=utf-8", "Application/Problem+JSON", "application/xml"] {
            assert!(is_text(text), "{text}");
        }
        for other in ["application/octet-stream", "image/svg", "application/jsonx", ""] {
            assert!(!is_text(other), "{other}");
        }
    }

    #[test]
    fn it_is_one_bounded_line_without_control_characters() {
        assert_eq!(
            excerpt(&[b"{\r\n  \"detail\":\t\"no\x1b[31m stock\"\r\n}\n"]).unwrap(),
            "{ \"detail\": \"no[31m stock\" }"
        );
        assert_eq!(excerpt(&[b"  \n", b"\x00"]), None);
        assert_eq!(excerpt(&["\u{e9}".repeat(400).as_bytes()]).unwrap().chars().count(), MAX_BYTES / 2);
        let odd = excerpt(&[b"x", "\u{e9}".repeat(400).as_bytes()]).unwrap();
        assert_eq!(odd.len(), MAX_BYTES - 1);
        assert_eq!(excerpt(&[b"caf\xe9 closed"]).unwrap(), "caf\u{fffd} closed");
    }
}
