//! One pass over a JSON body: the wanted value comes out, and every fault is noted with its place.
//!
//! The JSON itself is the parser's: where that is broken, reading ends with its error. Everything
//! else, a wrong type, a bad value, a missing, repeated or unknown field, is noted, and reading
//! goes on. A body without fault is read straight into the domain types, with no tree in between
//! and nothing allocated that the order does not keep.

use std::{collections::HashSet, fmt, marker::PhantomData};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{
    faults::{Faults, Flaw, MAX_DEPTH, Place, shorten},
    problem::{MALFORMED_JSON, NESTED_TOO_DEEPLY, Problem},
};

/// What is wanted at a place. Each kind of JSON value that a shape does not name is a wrong type.
pub(super) trait Shape<'de> {
    /// What comes out.
    type Out;
    /// Its JSON type, in words.
    const WANTED: &'static str;

    fn null() -> Result<Self::Out, Flaw> {
        Err(Self::mismatch("null"))
    }

    fn boolean() -> Result<Self::Out, Flaw> {
        Err(Self::mismatch("a boolean"))
    }

    /// A whole number, not negative.
    fn whole(_: u64) -> Result<Self::Out, Flaw> {
        Err(Self::mismatch("a number"))
    }

    /// Any other number: negative, beyond 64 bits, or written with a fraction or an exponent.
    fn number(_: f64) -> Result<Self::Out, Flaw> {
        Err(Self::mismatch("a number"))
    }

    fn text(_: &str) -> Result<Self::Out, Flaw> {
        Err(Self::mismatch("a string"))
    }

    fn array<A: SeqAccess<'de>>(array: A, at: &Place<'_>, faults: &mut Faults) -> Result<Option<Self::Out>, A::Error> {
        faults.add(at, &Self::mismatch("an array"));
        skip_array(array, at, faults)?;
        Ok(None)
    }

    fn object<A: MapAccess<'de>>(
        object: A,
        at: &Place<'_>,
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

/// Reads the value at a place; `None` where it has a fault.
pub(super) struct Read<'p, 'f, S> {
    at: Place<'p>,
    faults: &'f mut Faults,
    shape: PhantomData<S>,
}

impl<'p, 'f, S> Read<'p, 'f, S> {
    pub(super) fn new(at: Place<'p>, faults: &'f mut Faults) -> Self {
        Self { at, faults, shape: PhantomData }
    }
}

impl<'de, S: Shape<'de>> Read<'_, '_, S> {
    fn note(self, read: Result<S::Out, Flaw>) -> Option<S::Out> {
        read.map_err(|flaw| self.faults.add(&self.at, &flaw)).ok()
    }

    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.faults.too_deep = self.at.depth >= MAX_DEPTH;
        if self.faults.too_deep { Err(E::custom("nested too deeply")) } else { Ok(()) }
    }
}

impl<'de, S: Shape<'de>> DeserializeSeed<'de> for Read<'_, '_, S> {
    type Value = Option<S::Out>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Shape<'de>> Visitor<'de> for Read<'_, '_, S> {
    type Value = Option<S::Out>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(S::WANTED)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(self.note(S::null()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(self.note(S::boolean()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.note(S::whole(number)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        #[expect(clippy::cast_precision_loss, reason = "it is negative, and by how much does not matter")]
        Ok(self.note(S::number(number as f64)))
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
pub(super) enum Unread {
    /// It is no JSON; the words say what and where, by line and column.
    Malformed(String),
    /// Arrays and objects deeper than [`MAX_DEPTH`].
    TooDeep,
    /// It is JSON, and not what is wanted.
    Invalid(Faults),
}

impl Unread {
    /// As it is answered; `invalid` names what was wanted.
    pub(super) fn problem(self, invalid: impl FnOnce(Faults) -> Problem) -> Problem {
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
pub(super) fn read<'de, S: Shape<'de>>(body: &'de [u8]) -> Result<S::Out, Unread> {
    let mut faults = Faults::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = Read::<S>::new(Place::BODY, &mut faults).deserialize(&mut json);
    match read.and_then(|read| json.end().map(|()| read)) {
        Err(_) if faults.too_deep => Err(Unread::TooDeep),
        Err(fault) => Err(Unread::Malformed(in_words(body, &fault))),
        Ok(Some(read)) if faults.listed.is_empty() => Ok(read),
        Ok(_) => Err(Unread::Invalid(faults)),
    }
}

/// Reads a whole body as a tree, for what is asked too rarely to be read in one pass. It is read over
/// first, so that its depth is bounded as that of every body, and no field is given twice: of two
/// filters the last would count, and more be sent than was meant.
pub(super) fn tree(body: &[u8]) -> Result<Value, Unread> {
    read::<Distinct>(body)?;
    serde_json::from_slice(body).map_err(|fault| Unread::Malformed(in_words(body, &fault)))
}

/// The parser's words. They hold nothing of the body, for its own faults are all about syntax.
fn in_words(body: &[u8], fault: &serde_json::Error) -> String {
    if body.trim_ascii().is_empty() {
        "the body is empty".to_owned()
    } else if body.starts_with(b"\xef\xbb\xbf") {
        "JSON must not begin with a byte order mark, at line 1 column 1".to_owned()
    } else {
        fault.to_string()
    }
}

/// A field of an object that is being read.
pub(super) struct Field<T> {
    name: &'static str,
    /// Outer: whether it was there. Inner: whether it was sound.
    read: Option<Option<T>>,
}

impl<T> Field<T> {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, read: None }
    }

    /// Reads the value that follows the field's name.
    pub(super) fn read<'de, S: Shape<'de, Out = T>, A: MapAccess<'de>>(
        &mut self,
        object: &mut A,
        parent: &Place<'_>,
        faults: &mut Faults,
    ) -> Result<(), A::Error> {
        let at = parent.field(self.name);
        if self.read.is_some() {
            faults.add(&at, &Flaw::Repeated);
        }
        self.read = Some(object.next_value_seed(Read::<S>::new(at, faults))?);
        Ok(())
    }

    /// What was read; its absence is a fault.
    pub(super) fn required(self, parent: &Place<'_>, faults: &mut Faults) -> Option<T> {
        if self.read.is_none() {
            faults.add(&parent.field(self.name), &Flaw::Missing);
        }
        self.read.flatten()
    }
}

impl<T> Field<T> {
    /// What was read, if it was there and sound.
    pub(super) fn optional(self) -> Option<T> {
        self.read.flatten()
    }
}

/// Reads a field's name: one of the known ones, or the name, shortened.
pub(super) struct Name(pub(super) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Result<&'static str, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Result<&'static str, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|known| **known == name).copied().ok_or_else(|| shorten(name)))
    }
}

/// Notes an unknown field and reads over its value.
pub(super) fn unknown_field<'de, A: MapAccess<'de>>(
    object: &mut A,
    parent: &Place<'_>,
    name: &str,
    known: &'static str,
    faults: &mut Faults,
) -> Result<(), A::Error> {
    let at = parent.field(name);
    faults.add(&at, &Flaw::Unknown { known });
    object.next_value_seed(Read::<Anything>::new(at, faults)).map(drop)
}

/// Whatever stands where nothing is wanted. It is read all the same: broken JSON or too deep a
/// nesting is found there too.
pub(super) struct Anything;

impl<'de> Shape<'de> for Anything {
    type Out = ();
    const WANTED: &'static str = "anything";

    fn null() -> Result<(), Flaw> {
        Ok(())
    }

    fn boolean() -> Result<(), Flaw> {
        Ok(())
    }

    fn whole(_: u64) -> Result<(), Flaw> {
        Ok(())
    }

    fn number(_: f64) -> Result<(), Flaw> {
        Ok(())
    }

    fn text(_: &str) -> Result<(), Flaw> {
        Ok(())
    }

    fn array<A: SeqAccess<'de>>(array: A, at: &Place<'_>, faults: &mut Faults) -> Result<Option<()>, A::Error> {
        skip_array(array, at, faults).map(Some)
    }

    fn object<A: MapAccess<'de>>(object: A, at: &Place<'_>, faults: &mut Faults) -> Result<Option<()>, A::Error> {
        skip_object(object, at, faults).map(Some)
    }
}

/// Anything in which no object has a field twice.
struct Distinct;

impl<'de> Shape<'de> for Distinct {
    type Out = ();
    const WANTED: &'static str = Anything::WANTED;

    fn null() -> Result<(), Flaw> {
        Ok(())
    }

    fn boolean() -> Result<(), Flaw> {
        Ok(())
    }

    fn whole(_: u64) -> Result<(), Flaw> {
        Ok(())
    }

    fn number(_: f64) -> Result<(), Flaw> {
        Ok(())
    }

    fn text(_: &str) -> Result<(), Flaw> {
        Ok(())
    }

    fn array<A: SeqAccess<'de>>(mut array: A, at: &Place<'_>, faults: &mut Faults) -> Result<Option<()>, A::Error> {
        let mut index = 0;
        while array.next_element_seed(Read::<Self>::new(at.item(index), faults))?.is_some() {
            index += 1;
        }
        Ok(Some(()))
    }

    fn object<A: MapAccess<'de>>(mut object: A, at: &Place<'_>, faults: &mut Faults) -> Result<Option<()>, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = object.next_key::<String>()? {
            let field = at.field(&name);
            if names.contains(&name) {
                faults.add(&field, &Flaw::Repeated);
            }
            object.next_value_seed(Read::<Self>::new(field, faults))?;
            names.insert(name);
        }
        Ok(Some(()))
    }
}

fn skip_array<'de, A: SeqAccess<'de>>(mut array: A, at: &Place<'_>, faults: &mut Faults) -> Result<(), A::Error> {
    while array.next_element_seed(Read::<Anything>::new(at.item(0), faults))?.is_some() {}
    Ok(())
}

fn skip_object<'de, A: MapAccess<'de>>(mut object: A, at: &Place<'_>, faults: &mut Faults) -> Result<(), A::Error> {
    while object.next_key_seed(Name(&[]))?.is_some() {
        object.next_value_seed(Read::<Anything>::new(at.field(""), faults))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_in_which_a_field_is_given_twice_is_refused_with_its_place() {
        assert!(tree(br#"{"filter":{"error":"x"},"ids":[{"a":1},{"a":2}]}"#).is_ok());
        for (body, place) in [
            (r#"{"filter":{"error":"x"},"filter":{}}"#, "#/filter"),
            (r#"{"ids":[1,{"a":{"b":1,"b":1}}]}"#, "#/ids/1/a/b"),
        ] {
            let Err(Unread::Invalid(faults)) = tree(body.as_bytes()) else { panic!("{body} was taken") };
            assert_eq!(faults.listed[0].pointer.as_deref(), Some(place));
        }
    }
}
