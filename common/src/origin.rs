//! The origin of a dead letter: the queue in which it died.

use std::{fmt, str::FromStr};

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::destination::{Name, NotAName};

/// The queue of reports in JSON, the database, metrics and logs. No destination can have this name.
const REPORTS: &str = "outcomes";

/// The queue in which a dead letter died.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The queue of a destination.
    Destination(Name),
    /// The queue of reports, written as `outcomes`.
    Reports,
}

impl Origin {
    /// The word used in JSON, the database, metrics and logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Destination(name) => name.as_str(),
            Self::Reports => REPORTS,
        }
    }

    /// The destination, unless it is the queue of reports.
    #[must_use]
    pub fn destination(&self) -> Option<&Name> {
        match self {
            Self::Destination(name) => Some(name),
            Self::Reports => None,
        }
    }
}

impl From<Name> for Origin {
    fn from(name: Name) -> Self {
        Self::Destination(name)
    }
}

impl FromStr for Origin {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        if text == REPORTS { Ok(Self::Reports) } else { text.parse().map(Self::Destination) }
    }
}

/// By the word.
impl Ord for Origin {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for Origin {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// As a text.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl EncodeLabelValue for Origin {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_destination_or_the_queue_of_reports() -> Result<(), NotAName> {
        assert_eq!("north".parse(), Ok(Origin::Destination("north".parse()?)));
        assert_eq!("outcomes".parse(), Ok(Origin::Reports));
        assert_eq!("dlx".parse::<Origin>(), Err(NotAName));
        for word in ["north", "outcomes"] {
            assert_eq!(word.parse::<Origin>()?.to_string(), word);
        }
        Ok(())
    }
}
