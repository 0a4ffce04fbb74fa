//! The header `Prefer` (RFC 7240). `wait` is the only preference known here; others are ignored, as is
//! one that cannot be read: a preference is never a reason to refuse.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
};
use utoipa::IntoParams;

pub(in crate::http) static PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// How long the client would wait for the result: the first `wait` of all headers `Prefer`.
#[derive(Clone, Copy, Debug, IntoParams)]
#[into_params(parameter_in = Header, names("Prefer"))]
pub(in crate::http) struct PreferWait(
    /// `wait=N` (RFC 7240): wait up to N seconds until no delivery of the order is pending. Other
    /// preferences are ignored.
    #[param(value_type = Option<String>, nullable = false)]
    pub(in crate::http) Option<Duration>,
);

impl<S: Sync> FromRequestParts<S> for PreferWait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(wait(&parts.headers)))
    }
}

fn wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let first = values.flat_map(|value| split(value, ',')).find_map(|preference| {
        // Parameters after a semicolon say nothing about a wait.
        let preference = split(preference, ';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim())
    })?;
    let digits = first.strip_prefix('"').map_or(Some(first), |quoted| quoted.strip_suffix('"'))?;
    let digits =
        Some(digits).filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    // A number that is beyond 64 bits is beyond every cap.
    Some(Duration::from_secs(digits.parse().unwrap_or(u64::MAX)))
}

/// The preference as it was applied.
pub(in crate::http) fn applied(wait: Duration) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("wait={}", wait.as_secs())).ok()
}

/// Splits at separators outside of quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return c == separator && !quoted,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(values: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("prefer", HeaderValue::from_str(value).unwrap());
        }
        wait(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_is_found_among_other_preferences() {
        for (values, wanted) in [
            (&["wait=10"][..], 10),
            (&["Wait = 10"], 10),
            (&["wait=\"10\""], 10),
            (&["respond-async, wait=10"], 10),
            (&["respond-async,wait=10;foo=bar, return=minimal"], 10),
            (&["return=\"a, wait=3\", wait=4"], 4),
            (&["x=\"\\\", wait=3\", wait=5"], 5),
            (&["handling=lenient", "wait=7"], 7),
            (&["wait=1, wait=2"], 1),
            (&["wait=0"], 0),
            (&["wait=99999999999999999999999"], u64::MAX),
        ] {
            assert_eq!(seconds(values), Some(wanted), "{values:?}");
        }
    }

    #[test]
    fn what_is_no_wait_is_ignored() {
        for values in [
            &[][..],
            &["respond-async"],
            &["waiting=3"],
            &["wait"],
            &["wait="],
            &["wait=soon"],
            &["wait=-1"],
            &["wait=1.5"],
            &["wait=\"1"],
            &["x=\"wait=3\""],
            &[""],
        ] {
            assert_eq!(seconds(values), None, "{values:?}");
        }
    }
}
