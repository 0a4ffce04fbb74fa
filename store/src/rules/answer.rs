//! What an API said, as a part of the cause by which dead letters are grouped.

use std::fmt;

use common::outcome::Attempt;
use serde::{
    Deserializer as _,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

/// Longest cause, in characters: it is part of indexes.
const MAX_CHARS: usize = 200;
/// A word of this many characters that has a digit looks like an id.
const ID_CHARS: usize = 8;

/// What dead letters of one group have in common of their last answers: the type of a problem (RFC 9457), or its
/// title if it has no type of its own; otherwise the text, with `…` for whatever looks like an id.
pub(crate) fn last_answer(attempts: &[Attempt]) -> Option<String> {
    let answer = attempts.last()?.answer.as_deref()?;
    let cause = problem(answer).unwrap_or_else(|| without_ids(answer));
    let cause: String = cause.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect();
    (!cause.is_empty()).then_some(cause)
}

/// The type or the title, if the answer is an object that has one of them.
fn problem(answer: &str) -> Option<String> {
    let mut problem = Problem::default();
    // An excerpt may end anywhere: what was read by then counts.
    let _ = serde_json::Deserializer::from_str(answer).deserialize_map(&mut problem);
    let of_its_own = |kind: &String| !kind.is_empty() && kind != "about:blank";
    problem.kind.filter(of_its_own).or(problem.title).filter(|text| !text.is_empty())
}

#[derive(Debug, Default)]
struct Problem {
    kind: Option<String>,
    title: Option<String>,
}

impl<'de> Visitor<'de> for &mut Problem {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            let text = match name.as_str() {
                "type" => &mut self.kind,
                "title" => &mut self.title,
                _ => {
                    members.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *text = members.next_value::<Value>()?.as_str().map(str::to_owned);
        }
        Ok(())
    }
}

/// The text with `…` for each word that looks like an id: of an order, of a request, or a time.
fn without_ids(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() { word(rest) } else { first.len_utf8() };
        let (word, after) = rest.split_at(length);
        let is_id = word.chars().count() >= ID_CHARS && word.contains(|c: char| c.is_ascii_digit());
        shown.push_str(if is_id { "…" } else { word });
        rest = after;
    }
    shown
}

/// The length of the word at the beginning: letters and digits, with `-` and `_` between them, and with `:` and `.`
/// between digits, as in times.
fn word(text: &str) -> usize {
    let mut characters = text.char_indices().peekable();
    let (mut end, mut before) = (0, ' ');
    while let Some((index, character)) = characters.next() {
        let after = characters.peek().map_or(' ', |(_, after)| *after);
        let joins = match character {
            '-' | '_' => after.is_alphanumeric(),
            ':' | '.' => before.is_ascii_digit() && after.is_ascii_digit(),
            other => other.is_alphanumeric(),
        };
        if !joins {
            break;
        }
        (end, before) = (index + character.len_utf8(), character);
    }
    end
}

#[cfg(test)]
mod tests {
    use common::event::now;

    use super::*;

    fn cause(answer: &str) -> Option<String> {
        let attempt = |answer: Option<&str>| Attempt {
            at: now(),
            duration_ms: 1,
            status_code: Some(422),
            error: None,
            answer: answer.map(str::to_owned),
            spent: None,
        };
        last_answer(&[attempt(Some("an earlier one")), attempt(Some(answer))])
    }

    #[test]
    fn a_problem_is_its_type_or_its_title() {
        for (answer, expected) in [
            (r#"{"type":"/problems/sold-out","title":"Sold out","detail":"sku-1"}"#, "/problems/sold-out"),
            (r#"{"detail":"no","title":"Sold out","type":"about:blank"}"#, "Sold out"),
            (r#"{"title":"Sold \u00e9"}"#, "Sold é"),
            // Cut off in the middle, as excerpts are.
            (r#"{"title":"Sold out","errors":[{"pointer":"/ite"#, "Sold out"),
            (r#"{"title":"Sold out","type":"/probl"#, "Sold out"),
        ] {
            assert_eq!(cause(answer).as_deref(), Some(expected), "{answer}");
        }
    }

    #[test]
    fn any_other_answer_is_its_text_without_ids() {
        for (answer, expected) in [
            ("out of stock", "out of stock"),
            ("SKU-7: sold out (E1042)", "SKU-7: sold out (E1042)"),
            ("order 0199d0c4-5b1e-7c32-9f2e-5d0a4b6c8e10 is unknown.", "order … is unknown."),
            (
                r#"{"error":"no stock","at":"2026-11-24T09:30:00.123Z","id":12345678}"#,
                r#"{"error":"no stock","at":"…","id":…}"#,
            ),
            (r#"{"type":7}"#, r#"{"type":7}"#),
            ("[1, 2]", "[1, 2]"),
            ("entschädigung verweigert", "entschädigung verweigert"),
            (r#"{"type":"/probl"#, r#"{"type":"/probl"#),
        ] {
            assert_eq!(cause(answer).as_deref(), Some(expected), "{answer}");
        }
        assert_eq!(cause(&"é".repeat(300)).unwrap().chars().count(), MAX_CHARS);
        assert_eq!((cause(""), last_answer(&[])), (None, None));
    }
}
