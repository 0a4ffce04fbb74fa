//! The order: what a client placed, as types that cannot hold an invalid value.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest customer or product id, in Unicode characters.
pub const MAX_ID_CHARS: usize = 128;
/// Most items in one order.
pub const MAX_ITEMS: usize = 1_000;
/// Largest quantity of one item.
pub const MAX_QTY: u32 = 1_000_000;
/// Longest correlation id, in bytes; it travels as an HTTP header and as an AMQP short string.
pub const MAX_CORRELATION_ID_BYTES: usize = 128;

/// The id of an order: a version 7 UUID, so that ids sort by creation time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(pub Uuid);

impl OrderId {
    /// A new id.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl Default for OrderId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a value is refused, worded for the person who sent it.
#[expect(missing_docs, reason = "the messages say it")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most {limit} characters, has {actual}")]
    TooLong { limit: usize, actual: usize },
    #[error("must not contain control characters")]
    ControlCharacter,
    #[error("must consist of visible ASCII characters")]
    NotVisibleAscii,
    #[error("must have between 1 and {MAX_ITEMS} items, has {0}")]
    ItemCount(usize),
    #[error("must be between 1 and {MAX_QTY}")]
    QtyOutOfRange,
}

fn check_id(text: &str) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::Empty);
    }
    // The byte length bounds the character count, so most ids need no counting.
    if text.len() > MAX_ID_CHARS {
        let actual = text.chars().count();
        if actual > MAX_ID_CHARS {
            return Err(Invalid::TooLong { limit: MAX_ID_CHARS, actual });
        }
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::ControlCharacter);
    }
    Ok(())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text against the rules of this type.
            ///
            /// # Errors
            /// The first rule that it breaks.
            pub fn parse(text: String) -> Result<Self, Invalid> {
                $check(&text)?;
                Ok(Self(text))
            }

            /// The text as it was sent.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// Who placed the order: 1 to [`MAX_ID_CHARS`] characters, none of them a control character.
    CustomerId,
    check_id
);
text_id!(
    /// What was ordered: 1 to [`MAX_ID_CHARS`] characters, none of them a control character.
    ProductId,
    check_id
);
text_id!(
    /// Ties together everything that happens for one request: 1 to [`MAX_CORRELATION_ID_BYTES`] visible
    /// ASCII characters, because it travels in HTTP headers and AMQP properties.
    CorrelationId,
    check_correlation_id
);

fn check_correlation_id(text: &str) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::Empty);
    }
    if text.len() > MAX_CORRELATION_ID_BYTES {
        return Err(Invalid::TooLong { limit: MAX_CORRELATION_ID_BYTES, actual: text.chars().count() });
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Invalid::NotVisibleAscii);
    }
    Ok(())
}

impl CorrelationId {
    /// A new id, for a request without one.
    #[must_use]
    pub fn fresh() -> Self {
        Self(Uuid::now_v7().to_string())
    }
}

/// How many of a product: 1 to [`MAX_QTY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct Qty(u32);

impl Qty {
    /// The quantity as a number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Qty {
    type Error = Invalid;

    fn try_from(number: u32) -> Result<Self, Invalid> {
        if (1..=MAX_QTY).contains(&number) { Ok(Self(number)) } else { Err(Invalid::QtyOutOfRange) }
    }
}

/// One line of an order.
#[expect(missing_docs, reason = "the types say it")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub product_id: ProductId,
    pub qty: Qty,
}

/// The lines of an order: 1 to [`MAX_ITEMS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Item>")]
pub struct Items(Vec<Item>);

impl Items {
    /// The lines, in the order they were sent.
    #[must_use]
    pub fn as_slice(&self) -> &[Item] {
        &self.0
    }
}

impl TryFrom<Vec<Item>> for Items {
    type Error = Invalid;

    fn try_from(items: Vec<Item>) -> Result<Self, Invalid> {
        if (1..=MAX_ITEMS).contains(&items.len()) { Ok(Self(items)) } else { Err(Invalid::ItemCount(items.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_measured_in_characters_not_bytes() {
        assert!(CustomerId::parse("é".repeat(128)).is_ok());
        assert_eq!(CustomerId::parse("é".repeat(129)), Err(Invalid::TooLong { limit: 128, actual: 129 }));
    }

    #[test]
    fn an_empty_id_or_one_with_a_control_character_is_refused() {
        assert_eq!(ProductId::parse(String::new()), Err(Invalid::Empty));
        for bad in ["a\nb", "\0", "a\u{7f}", "\u{85}"] {
            assert_eq!(ProductId::parse(bad.into()), Err(Invalid::ControlCharacter), "{bad:?}");
        }
    }

    #[test]
    fn a_correlation_id_must_fit_a_header() {
        assert!(CorrelationId::parse("a".repeat(128)).is_ok());
        for bad in ["a b", "ü", "a\r\nX: y", ""] {
            assert!(CorrelationId::parse(bad.into()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn quantities_and_item_counts_have_a_minimum_and_a_maximum() {
        assert!(Qty::try_from(0).is_err());
        assert!(Qty::try_from(1).is_ok());
        assert!(Qty::try_from(MAX_QTY).is_ok());
        assert!(Qty::try_from(MAX_QTY + 1).is_err());
        assert!(Items::try_from(vec![]).is_err());
    }
}
