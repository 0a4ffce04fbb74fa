//! The members of an object.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::{Anything, Read, Shape};
use crate::http::edge::faults::{Faults, Flaw, Pointer, shorten};

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
