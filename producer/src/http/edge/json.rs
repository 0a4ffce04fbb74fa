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

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{
    faults::{Faults, Flaw, MAX_DEPTH, Pointer, shorten},
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

/// A member of an object that is being read.
pub(in crate::http) struct Field<T> {
    name: &'static str,
    /// Outer: whether it is given. Inner: whether it is valid.
    read: Option<Option<T>>,
}

impl<T> Field<T> {
    pub(in crate::http) fn new(name: &'static str) -> Self {
        Self { name, read: None }
    }

    /// Reads the value that follows the name.
    pub(in crate::http) fn read<'de, S: Shape<Out = T>, A: MapAccess<'de>>(
        &mut self,
        object: &mut A,
        parent: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<(), A::Error> {
        let at = parent.field(self.name);
        if self.read.is_some() {
            faults.add(&at, &Flaw::Repeated);
        }
        self.read = Some(object.next_value_seed(Read::<S>::new(at, faults))?);
        Ok(())
    }

    /// Whether it is given, valid or not.
    pub(in crate::http) fn is_given(&self) -> bool {
        self.read.is_some()
    }

    /// The value, if it is valid; its absence is a fault.
    pub(in crate::http) fn required(self, parent: &Pointer<'_>, faults: &mut Faults) -> Option<T> {
        if self.read.is_none() {
            faults.add(&parent.field(self.name), &Flaw::Missing);
        }
        self.read.flatten()
    }

    /// The value, if it is given and valid.
    pub(in crate::http) fn optional(self) -> Option<T> {
        self.read.flatten()
    }
}

/// Reads the members of an object, each into a local [`Field`] of its name. Any other member is a fault.
///
/// `fields!(object, at, faults, { customer_id: Text<CustomerId>, items: ItemsShape })` in [`Shape::object`].
macro_rules! fields {
    ($object:ident, $at:ident, $faults:ident, { $($field:ident: $shape:ty),+ $(,)? }) => {
        $(let mut $field = $crate::http::edge::json::Field::new(stringify!($field));)+
        {
            const KNOWN: &[&str] = &[$(stringify!($field)),+];
            while let Some(name) = $object.next_key_seed($crate::http::edge::json::Name(KNOWN))? {
                match &*name {
                    $(name if name == stringify!($field) => $field.read::<$shape, _>(&mut $object, $at, $faults)?,)+
                    name => $crate::http::edge::json::unknown_field(&mut $object, $at, name, KNOWN, $faults)?,
                }
            }
        }
    };
}
pub(in crate::http) use fields;

/// Reads the name of a member: one of the known ones, or another one, shortened.
pub(in crate::http) struct Name(pub(in crate::http) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'static, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Cow<'static, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let known = self.0.iter().find(|known| **known == name);
        Ok(known.map_or_else(|| Cow::Owned(shorten(name)), |known| Cow::Borrowed(*known)))
    }
}

/// Notes an unknown member and skips its value.
pub(in crate::http) fn unknown_field<'de, A: MapAccess<'de>>(
    object: &mut A,
    parent: &Pointer<'_>,
    name: &str,
    known: &'static [&'static str],
    faults: &mut Faults,
) -> Result<(), A::Error> {
    let at = parent.field(name);
    faults.add(&at, &Flaw::Unknown { known });
    object.next_value_seed(Read::<Anything>::new(at, faults)).map(drop)
}

/// A boolean.
pub(in crate::http) struct Flag;

impl Shape for Flag {
    type Out = bool;
    const WANTED: &'static str = "a boolean";

    fn boolean(value: bool) -> Result<bool, Flaw> {
        Ok(value)
    }
}

/// A number from `LEAST` to `MOST`.
pub(in crate::http) struct Within<const LEAST: u32, const MOST: u32>;

impl<const LEAST: u32, const MOST: u32> Shape for Within<LEAST, MOST> {
    type Out = f64;
    const WANTED: &'static str = "a number";

    fn whole(number: u64) -> Result<f64, Flaw> {
        #[expect(clippy::cast_precision_loss, reason = "the bounds are far below 2^52")]
        Self::number(number as f64)
    }

    fn number(number: f64) -> Result<f64, Flaw> {
        let valid = (f64::from(LEAST)..=f64::from(MOST)).contains(&number);
        if valid { Ok(number) } else { Err(Flaw::out_of_range(LEAST, MOST)) }
    }
}

/// A whole number from `LEAST` to `MOST`.
pub(in crate::http) struct WholeWithin<const LEAST: u32, const MOST: u32>;

impl<const LEAST: u32, const MOST: u32> Shape for WholeWithin<LEAST, MOST> {
    type Out = u32;
    const WANTED: &'static str = "a whole number";

    fn whole(number: u64) -> Result<u32, Flaw> {
        let number = u32::try_from(number).ok().filter(|number| (LEAST..=MOST).contains(number));
        number.ok_or_else(|| Flaw::out_of_range(LEAST, MOST))
    }
}

/// A value that nobody wants. It is read all the same, because broken JSON and too deep a nesting are
/// faults there too.
pub(in crate::http) struct Anything;

impl Shape for Anything {
    type Out = ();
    const WANTED: &'static str = "anything";

    fn null() -> Result<(), Flaw> {
        Ok(())
    }

    fn boolean(_: bool) -> Result<(), Flaw> {
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

    fn array<'de, A: SeqAccess<'de>>(array: A, at: &Pointer<'_>, faults: &mut Faults) -> Result<Option<()>, A::Error> {
        skip_array(array, at, faults).map(Some)
    }

    fn object<'de, A: MapAccess<'de>>(
        object: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<()>, A::Error> {
        skip_object(object, at, faults).map(Some)
    }
}

/// Any value, kept as it is. A member that is given twice is a fault: nobody can know which was meant.
pub(in crate::http) struct Tree;

impl Shape for Tree {
    type Out = Value;
    const WANTED: &'static str = "anything";

    fn null() -> Result<Value, Flaw> {
        Ok(Value::Null)
    }

    fn boolean(value: bool) -> Result<Value, Flaw> {
        Ok(value.into())
    }

    fn whole(number: u64) -> Result<Value, Flaw> {
        Ok(number.into())
    }

    fn negative(number: i64) -> Result<Value, Flaw> {
        Ok(number.into())
    }

    fn number(number: f64) -> Result<Value, Flaw> {
        Ok(number.into())
    }

    fn text(text: &str) -> Result<Value, Flaw> {
        Ok(text.into())
    }

    fn array<'de, A: SeqAccess<'de>>(
        mut array: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<Value>, A::Error> {
        let (mut items, mut index) = (Vec::new(), 0);
        while let Some(item) = array.next_element_seed(Read::<Self>::new(at.item(index), faults))? {
            items.extend(item);
            index += 1;
        }
        Ok(Some(items.into()))
    }

    fn object<'de, A: MapAccess<'de>>(
        mut object: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<Value>, A::Error> {
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            let field = at.field(&name);
            if members.contains_key(&name) {
                faults.add(&field, &Flaw::Repeated);
            }
            let value = object.next_value_seed(Read::<Self>::new(field, faults))?;
            members.insert(name, value.unwrap_or_default());
        }
        Ok(Some(members.into()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_what_the_body_holds() {
        let body = r#"{"a":[1,-2,2.5,1e300,null,true,"t\u00e9"],"b":{"x":18446744073709551615,"y":{}}}"#;
        assert_eq!(read::<Tree>(body.as_bytes()).unwrap(), serde_json::from_str::<Value>(body).unwrap());
    }

    #[test]
    fn a_tree_in_which_a_field_is_given_twice_is_refused_with_its_pointer() {
        assert!(read::<Tree>(br#"{"filter":{"error":"x"},"ids":[{"a":1},{"a":2}]}"#).is_ok());
        for (body, pointer) in [
            (r#"{"filter":{"error":"x"},"filter":{}}"#, "#/filter"),
            (r#"{"ids":[1,{"a":{"b":1,"b":1}}]}"#, "#/ids/1/a/b"),
        ] {
            let Err(Unread::Invalid(faults)) = read::<Tree>(body.as_bytes()) else { panic!("{body} was taken") };
            assert_eq!(faults.listed[0].pointer.as_deref(), Some(pointer));
        }
    }
}
