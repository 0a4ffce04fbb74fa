//! Shapes that bodies of several kinds are made of.

use serde::de::{MapAccess, SeqAccess};
use serde_json::{Map, Value};

use super::{Read, Shape, skip_array, skip_object};
use crate::http::edge::faults::{Faults, Flaw, Pointer};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::edge::json::{Unread, read};

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
