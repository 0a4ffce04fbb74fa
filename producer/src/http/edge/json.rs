//! The one reader of JSON bodies: one pass, from bytes to the wanted value, with every fault noted on the way.
//!
//! The syntax is `serde_json`'s: where that is broken, reading ends with its error. Everything else, a
//! wrong type, a bad value, a missing, repeated or unknown field, is noted as a JSON pointer with a
//! reason, and reading goes on.
//!
//! Why not a derived `Deserialize`? It stops at the first fault and knows no pointer; it takes an array
//! where a struct is wanted, and the last of two fields of the same name; and its messages quote the
//! values that were sent. Reading into a tree first would find every fault, but a batch of 4 MiB with
//! small items is a tree of about 100 MB, and the bodies that are read at a time are bounded by their
//! bytes. This reader allocates only what the result keeps.
//!
//! What is wanted at a place is a [`Shape`]. The shape of an object lists its members with
//! [`fields!`](fields), then takes each as required or optional.

mod object;
mod shapes;

use std::{fmt, marker::PhantomData};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

pub(in crate::http) use self::{
    object::{Field, Name, fields, unknown_field},
    shapes::{Anything, Flag, Tree, WholeWithin, Within},
};
use super::{
    faults::{Faults, Flaw, MAX_DEPTH, Pointer},
    problem::{MALFORMED_JSON, NESTED_TOO_DEEPLY, Problem},
};

/// What is wanted at a place in the body. Each kind of JSON value that a shape does not implement is a
/// wrong type there.
pub(in crate::http) trait Shape {
    /// What is read.
    type Out;
    /// Its JSON type, in words: "a string".
    const WANTED: &'static str;

    fn null() -> Result<Self::Out, Flaw> {
        Err(Self::mismatch("null"))
    }

    fn boolean(_: bool) -> Result<Self::Out, Flaw> {
        Err(Self::mismatch("a boolean"))
    }

    /// A whole number that is not negative.
    fn whole(_: u64) -> Result<Self::Out, Flaw> {
        Err(Self::mismatch("a number"))
    }

    /// A negative whole number.
    fn negative(number: i64) -> Result<Self::Out, Flaw> {
        #[expect(clippy::cast_precision_loss, reason = "by how much it is negative matters to no rule")]
        Self::number(number as f64)
    }

    /// Any other number: beyond 64 bits, or written with a fraction or an exponent.
    fn number(_: f64) -> Result<Self::Out, Flaw> {
        Err(Self::mismatch("a number"))
    }

    fn text(_: &str) -> Result<Self::Out, Flaw> {
        Err(Self::mismatch("a string"))
    }

    fn array<'de, A: SeqAccess<'de>>(
        array: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<Self::Out>, A::Error> {
        faults.add(at, &Self::mismatch("an array"));
        skip_array(array, at, faults)?;
        Ok(None)
    }

    fn object<'de, A: MapAccess<'de>>(
        object: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<Self::Out>, A::Error> {
        faults.add(at, &Self::mismatch("an object"));
        skip_object(object, at, faults)?;
        Ok(None)
    }

    fn mismatch(found: &'static str) -> Flaw {
        Flaw::Type { wanted: Self::WANTED, found }
    }
}

/// Reads a value; `None` if it has a fault.
pub(in crate::http) struct Read<'p, 'f, S> {
    at: Pointer<'p>,
    faults: &'f mut Faults,
    shape: PhantomData<S>,
}

impl<'p, 'f, S> Read<'p, 'f, S> {
    pub(in crate::http) fn new(at: Pointer<'p>, faults: &'f mut Faults) -> Self {
        Self { at, faults, shape: PhantomData }
    }
}

impl<S: Shape> Read<'_, '_, S> {
    fn note(self, read: Result<S::Out, Flaw>) -> Option<S::Out> {
        read.map_err(|flaw| self.faults.add(&self.at, &flaw)).ok()
    }

    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.faults.too_deep = self.at.depth >= MAX_DEPTH;
        if self.faults.too_deep { Err(E::custom("nested too deeply")) } else { Ok(()) }
    }
}

impl<'de, S: Shape> DeserializeSeed<'de> for Read<'_, '_, S> {
    type Value = Option<S::Out>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Shape> Visitor<'de> for Read<'_, '_, S> {
    type Value = Option<S::Out>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(S::WANTED)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(self.note(S::null()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.note(S::boolean(value)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.note(S::whole(number)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(self.note(S::negative(number)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(self.note(S::number(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.note(S::text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, array: A) -> Result<Self::Value, A::Error> {
        self.enter()?;
        S::array(array, &self.at, self.faults)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, object: A) -> Result<Self::Value, A::Error> {
        self.enter()?;
        S::object(object, &self.at, self.faults)
    }
}

/// Why a body is not what is wanted.
#[derive(Debug)]
pub(in crate::http) enum Unread {
    /// It is not JSON; the words say what is wrong and where, by line and column.
    Malformed(String),
    /// Its arrays and objects are nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// It is JSON, and not what is wanted.
    Invalid(Faults),
}

impl Unread {
    /// The refusal; `invalid` refuses JSON that is not what is wanted.
    pub(in crate::http) fn problem(self, invalid: impl FnOnce(Faults) -> Problem) -> Problem {
        match self {
            Self::Malformed(words) => Problem::new(&MALFORMED_JSON, words),
            Self::TooDeep => {
                Problem::new(&NESTED_TOO_DEEPLY, format!("the body is nested deeper than {MAX_DEPTH} levels"))
            }
            Self::Invalid(faults) => invalid(faults),
        }
    }
}

/// Reads a whole body.
pub(in crate::http) fn read<S: Shape>(body: &[u8]) -> Result<S::Out, Unread> {
    let mut faults = Faults::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = Read::<S>::new(Pointer::BODY, &mut faults).deserialize(&mut json);
    match read.and_then(|read| json.end().map(|()| read)) {
        Err(_) if faults.too_deep => Err(Unread::TooDeep),
        Err(fault) => Err(Unread::Malformed(in_words(body, &fault))),
        Ok(Some(read)) if faults.listed.is_empty() => Ok(read),
        Ok(_) => Err(Unread::Invalid(faults)),
    }
}

/// The parser's words. They contain nothing of the body, because its own faults are all about syntax.
fn in_words(body: &[u8], fault: &serde_json::Error) -> String {
    if body.trim_ascii().is_empty() {
        "the body is empty".to_owned()
    } else if body.starts_with(b"\xef\xbb\xbf") {
        "JSON must not begin with a byte order mark, at line 1 column 1".to_owned()
    } else {
        fault.to_string()
    }
}

fn skip_array<'de, A: SeqAccess<'de>>(mut array: A, at: &Pointer<'_>, faults: &mut Faults) -> Result<(), A::Error> {
    while array.next_element_seed(Read::<Anything>::new(at.item(0), faults))?.is_some() {}
    Ok(())
}

fn skip_object<'de, A: MapAccess<'de>>(mut object: A, at: &Pointer<'_>, faults: &mut Faults) -> Result<(), A::Error> {
    while object.next_key_seed(Name(&[]))?.is_some() {
        object.next_value_seed(Read::<Anything>::new(at.field(""), faults))?;
    }
    Ok(())
}
