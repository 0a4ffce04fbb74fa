//! The query of a request, read strictly: a parameter that is unknown, repeated or not valid is refused
//! by name, because a filter that was misunderstood would show or send the wrong things.

use std::{convert::Infallible, fmt::Display, str::FromStr};

use api::Fault;
use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
};
use jiff::Timestamp;

use super::{faults::shorten, problem::Problem};

/// The parameters of one request, and what is wrong with them.
pub(in crate::http) struct Query {
    given: Vec<(String, String)>,
    faults: Vec<Fault>,
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.uri))
    }
}

impl Query {
    /// The parameters of this URI.
    pub(in crate::http) fn of(uri: &Uri) -> Self {
        let given = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        Self { given, faults: Vec::new() }
    }

    /// Takes a parameter as `parse` reads it. A fault is noted for [`Query::finish`].
    pub(in crate::http) fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let at = self.given.iter().position(|(given, _)| given == name)?;
        let (_, text) = self.given.swap_remove(at);
        if self.given.iter().any(|(given, _)| given == name) {
            self.given.retain(|(given, _)| given != name);
            self.fault(name, "must be given once".to_owned());
            return None;
        }
        match parse(&text) {
            Ok(value) => Some(value),
            Err(detail) => {
                self.fault(name, detail);
                None
            }
        }
    }

    /// A text of at most `max_chars` characters.
    pub(in crate::http) fn text(&mut self, name: &'static str, max_chars: usize) -> Option<String> {
        self.parsed(name, |text| valid_text(text, max_chars))
    }

    /// A whole number within a range.
    pub(in crate::http) fn number<T: FromStr + PartialOrd + Display>(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<T>,
    ) -> Option<T> {
        self.parsed(name, |text| match text.parse::<T>() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(format!("must be a whole number from {} to {}", range.start(), range.end())),
        })
    }

    /// A time (RFC 3339).
    pub(in crate::http) fn time(&mut self, name: &'static str) -> Option<Timestamp> {
        self.parsed(name, |text| {
            text.parse()
                .map_err(|_| "must be a time such as 2026-01-02T03:04:05Z (RFC 3339; + is written %2B)".to_owned())
        })
    }

    /// `true` or `false`.
    pub(in crate::http) fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.parsed(name, |text| text.parse().map_err(|_| "must be true or false".to_owned()))
    }

    /// Notes a fault of several parameters together, such as an end before its beginning.
    pub(in crate::http) fn fault(&mut self, name: &'static str, detail: String) {
        self.faults.push(fault(name.to_owned(), detail));
    }

    /// Ends the reading: a parameter that was not taken is unknown.
    ///
    /// # Errors
    /// Every fault found.
    pub(in crate::http) fn finish(mut self) -> Result<(), Problem> {
        let unknown = |(name, _): &(String, String)| fault(shorten(name), "is not a known parameter".to_owned());
        self.faults.extend(self.given.iter().map(unknown));
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::query(self.faults)) }
    }
}

fn fault(parameter: String, detail: String) -> Fault {
    Fault { parameter: Some(parameter), detail, ..Fault::default() }
}

/// Checks a text to look for, of at most `max_chars` characters.
///
/// # Errors
/// The rule that it breaks.
pub(in crate::http) fn valid_text(text: &str, max_chars: usize) -> Result<String, String> {
    if text.is_empty() {
        Err("must not be empty".to_owned())
    } else if text.chars().count() > max_chars {
        Err(format!("must have at most {max_chars} characters"))
    } else if text.contains('\0') {
        // Not every database can look for it.
        Err("must not contain U+0000".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type All = (Option<String>, Option<u32>, Option<Timestamp>, Option<bool>);

    fn read(uri: &str) -> Result<All, Problem> {
        let uri: Uri = uri.parse().unwrap();
        let mut query = Query::of(&uri);
        let read = (query.text("error", 8), query.number("limit", 1..=500), query.time("from"), query.flag("archived"));
        query.finish().map(|()| read)
    }

    #[test]
    fn parameters_are_read_by_their_name_in_any_order() {
        assert_eq!(read("/x").unwrap(), (None, None, None, None));
        let (error, limit, from, archived) =
            read("/x?limit=7&archived=true&from=2026-01-02T03:04:05Z&error=a%20b").unwrap();
        assert_eq!((error.as_deref(), limit, archived), (Some("a b"), Some(7), Some(true)));
        assert_eq!(from.map(Timestamp::as_second), Some(1_767_323_045));
    }

    #[test]
    fn what_is_not_valid_unknown_or_repeated_is_refused() {
        for bad in [
            "limit=0",
            "limit=501",
            "limit=",
            "limit=x",
            "from=yesterday",
            "archived=1",
            "error=",
            "error=123456789",
            "error=a%00",
            "other=1",
            "limit=1&limit=2",
            "Limit=1",
        ] {
            assert!(read(&format!("/x?{bad}")).is_err(), "{bad}");
        }
    }
}
