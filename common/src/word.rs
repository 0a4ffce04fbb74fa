//! The words of the contract: lists that may grow without breaking readers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares an enum whose variants stand for words: as JSON, as text and in the OpenAPI document they are the same.
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:tt,)+ }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        #[cfg_attr(feature = "openapi", derive(::utoipa::ToSchema))]
        $(#[$meta])*
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every word of the list.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word, as it is in JSON, in the database, in metrics and in logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }
    };
}

/// A word as a reader takes it: one that this version knows, or the text of a newer one.
///
/// It compares with `T` directly: `order.status == OrderStatus::Pending`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Word<T> {
    /// A word that this version knows.
    Known(T),
    /// A word from a newer version, as it was sent.
    Other(String),
}

impl<T: Copy + AsRef<str>> Word<T> {
    /// The word with this text, which may be one of `known`.
    #[must_use]
    pub fn of(text: String, known: &[T]) -> Self {
        known.iter().find(|word| word.as_ref() == text).map_or(Self::Other(text), |word| Self::Known(*word))
    }
}

impl<T: Copy> Word<T> {
    /// The word, if this version knows it.
    #[must_use]
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(word) => Some(*word),
            Self::Other(_) => None,
        }
    }
}

impl<T: AsRef<str>> Word<T> {
    /// The word as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(word) => word.as_ref(),
            Self::Other(word) => word,
        }
    }
}

impl<T: AsRef<str>> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<T> From<T> for Word<T> {
    fn from(word: T) -> Self {
        Self::Known(word)
    }
}

impl<T: PartialEq> PartialEq<T> for Word<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(word) if word == other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::OrderStatus;

    #[test]
    fn a_new_word_is_kept_as_it_was_sent() {
        let read = |json: &str| serde_json::from_str::<Word<OrderStatus>>(json).unwrap();
        assert_eq!(read(r#""partially_delivered""#), OrderStatus::PartiallyDelivered);
        let new = read(r#""on_hold""#);
        assert_eq!(new, Word::Other("on_hold".to_owned()));
        assert_eq!(
            (new.to_string().as_str(), serde_json::to_string(&new).unwrap().as_str()),
            ("on_hold", r#""on_hold""#)
        );
    }

    #[test]
    fn a_word_is_the_same_in_json_and_as_text() {
        for status in OrderStatus::ALL {
            assert_eq!(serde_json::to_value(Word::from(status)).unwrap(), status.as_str());
        }
    }
}
