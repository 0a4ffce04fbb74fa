//! Members of a JSON object, laid out without knowing what they mean.

use std::io;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Screen, clean};

/// A document of the API with the members that only a newer version knows.
#[derive(Debug, Deserialize)]
pub(crate) struct Shown<T> {
    #[serde(flatten)]
    pub(crate) known: T,
    #[serde(flatten)]
    pub(crate) more: Map<String, Value>,
}

/// Prints members by their names.
///
/// # Errors
/// As [`Screen::line`].
pub(crate) fn members(members: &Map<String, Value>, screen: Screen) -> io::Result<()> {
    members.iter().try_for_each(|(name, value)| screen.member(name, value))
}

impl Screen {
    /// A member by its name, over several lines if it has members itself. An empty one is left out.
    ///
    /// # Errors
    /// As [`Screen::line`].
    pub(crate) fn member(self, name: &str, value: &Value) -> io::Result<()> {
        let name = clean(name);
        match value {
            Value::Null => Ok(()),
            Value::Array(items) if items.is_empty() => Ok(()),
            Value::Object(members) if members.is_empty() => Ok(()),
            Value::Array(_) | Value::Object(_) => {
                self.field(&name, "")?;
                let text = serde_json::to_string_pretty(value)?;
                text.lines().try_for_each(|line| self.line(format_args!("  {}", clean(line))))
            }
            Value::String(text) => self.field(&name, clean(text)),
            other => self.field(&name, other),
        }
    }
}
