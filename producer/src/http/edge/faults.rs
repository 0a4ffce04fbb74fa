//! What is wrong with a body, and where: every fault at once, so that all can be corrected together.

use std::{
    borrow::Cow,
    fmt::{Display, Write as _},
};

use api::Fault;
use common::order::Invalid;

/// Most faults that a response lists; the rest are counted.
pub(in crate::http) const MAX_LISTED: usize = 20;
/// How much of an unknown field's name is repeated, in characters.
const MAX_NAME_CHARS: usize = 64;

/// Deepest nesting of arrays and objects in a body; an order needs three levels. It is below the limit of
/// the JSON parser, so that this limit applies.
pub(in crate::http) const MAX_DEPTH: usize = 64;

/// Where in the body. It lives on the stack and is written out only for a fault.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Pointer<'p> {
    step: Step<'p>,
    /// How many arrays and objects are around it.
    pub(in crate::http) depth: usize,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Body,
    Field(&'p Pointer<'p>, &'p str),
    Item(&'p Pointer<'p>, usize),
}

impl<'p> Pointer<'p> {
    /// The body itself.
    pub(in crate::http) const BODY: Self = Self { step: Step::Body, depth: 0 };

    /// A field of the object here.
    pub(in crate::http) fn field(&'p self, name: &'p str) -> Self {
        Self { step: Step::Field(self, name), depth: self.depth + 1 }
    }

    /// An element of the array here.
    pub(in crate::http) fn item(&'p self, index: usize) -> Self {
        Self { step: Step::Item(self, index), depth: self.depth + 1 }
    }

    /// The JSON pointer as a URI fragment (RFC 6901, section 6).
    fn pointer(&self) -> String {
        match self.step {
            Step::Body => "#".to_owned(),
            Step::Field(parent, name) => {
                let mut pointer = parent.pointer();
                pointer.push('/');
                push_name(&mut pointer, name);
                pointer
            }
            Step::Item(parent, index) => format!("{}/{index}", parent.pointer()),
        }
    }
}

fn push_name(pointer: &mut String, name: &str) {
    for byte in name.bytes() {
        match byte {
            b'~' => pointer.push_str("~0"),
            b'/' => pointer.push_str("~1"),
            // What RFC 3986 allows in a fragment.
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'!' | b'$' | b'&' => {
                pointer.push(char::from(byte));
            }
            b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' | b'?' => {
                pointer.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            other => drop(write!(pointer, "%{other:02X}")),
        }
    }
}

/// Shortens the name of an unknown field. It is repeated for orientation; at any length, it could be
/// abused to send things through logs and responses.
pub(in crate::http) fn shorten(name: &str) -> String {
    match name.char_indices().nth(MAX_NAME_CHARS) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

/// What is wrong somewhere. It contains nothing of the value that was sent.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum Flaw {
    #[error("must be {wanted}, is {found}")]
    Type { wanted: &'static str, found: &'static str },
    #[error(transparent)]
    Value(#[from] Invalid),
    #[error("must be a whole number, without fraction or exponent")]
    NotWhole,
    #[error("is required")]
    Missing,
    #[error("is given more than once")]
    Repeated,
    #[error("{0}")]
    Rule(Cow<'static, str>),
    #[error("must have between 1 and {most} orders, has {count}")]
    OrderCount { most: usize, count: usize },
    #[error("is not a known field; known are {}", listing(known))]
    Unknown { known: &'static [&'static str] },
}

impl Flaw {
    /// A rule in words.
    pub(in crate::http) fn rule(rule: impl Into<Cow<'static, str>>) -> Self {
        Self::Rule(rule.into())
    }

    /// A number that is too small or too large.
    pub(in crate::http) fn out_of_range(least: impl Display, most: impl Display) -> Self {
        Self::rule(format!("must be between {least} and {most}"))
    }
}

/// "a", "a and b", "a, b and c".
fn listing(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The faults of one body.
#[derive(Debug, Default)]
pub(in crate::http) struct Faults {
    /// The first of them, at most [`MAX_LISTED`].
    pub(in crate::http) listed: Vec<Fault>,
    /// How many more there are.
    pub(in crate::http) omitted: usize,
    /// Whether reading ended at [`MAX_DEPTH`].
    pub(in crate::http) too_deep: bool,
}

impl Faults {
    /// Notes a fault.
    pub(in crate::http) fn add(&mut self, at: &Pointer<'_>, flaw: &Flaw) {
        if self.listed.len() < MAX_LISTED {
            self.listed.push(Fault { pointer: Some(at.pointer()), detail: flaw.to_string(), ..Fault::default() });
        } else {
            self.omitted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_escaped_for_json_and_for_the_fragment() {
        let body = Pointer::BODY;
        let odd = body.field("a/b~c d%é\"#");
        assert_eq!(body.pointer(), "#");
        assert_eq!(odd.pointer(), "#/a~1b~0c%20d%25%C3%A9%22%23");
        assert_eq!(odd.item(7).pointer(), "#/a~1b~0c%20d%25%C3%A9%22%23/7");
        assert_eq!(body.field("").pointer(), "#/");
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(shorten("qty"), "qty");
        assert_eq!(shorten(&"é".repeat(64)), "é".repeat(64));
        assert_eq!(shorten(&"é".repeat(65)), format!("{}…", "é".repeat(64)));
    }

    #[test]
    fn faults_beyond_the_list_are_counted() {
        let mut faults = Faults::default();
        for _ in 0..25 {
            faults.add(&Pointer::BODY, &Flaw::Missing);
        }
        assert_eq!((faults.listed.len(), faults.omitted), (20, 5));
    }
}
