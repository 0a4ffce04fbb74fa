//! Values of flags.

use std::{fs, io::Read as _};

use common::config::positive_duration;
use jiff::{SignedDuration, Timestamp};
use reqwest::Url;

use crate::exit::Failure;

/// Where a producer listens by default.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// The address of a process. An empty value counts as absent, as it does in every other setting.
pub(crate) fn url(text: &str) -> Result<Url, String> {
    let text = if text.is_empty() { DEFAULT_URL } else { text };
    let url: Url = text.parse().map_err(|_| format!("must be a URL such as {DEFAULT_URL}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with http:// or https://".to_owned());
    }
    Ok(url)
}

/// A point in time: RFC 3339, or how long ago.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago = positive_duration(text).ok().and_then(|ago| SignedDuration::try_from(ago).ok());
    ago.and_then(|ago| Timestamp::now().checked_sub(ago).ok())
        .ok_or_else(|| "must be a time such as 2026-11-24T06:00:00Z, or how long ago, such as 90m or 2d".to_owned())
}

/// The text of a file, or of standard input for `-`.
///
/// # Errors
/// It cannot be read.
pub(crate) fn file(name: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match name {
        "-" => std::io::stdin().lock().read_to_string(&mut text).map(|_| text),
        name => fs::read_to_string(name),
    };
    let name = if name == "-" { "standard input" } else { name };
    read.map_err(|fault| Failure::Usage(format!("cannot read {name}: {fault}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_or_https_and_defaults_when_empty() {
        assert_eq!(url("").unwrap().as_str(), "http://127.0.0.1:8080/");
        assert!(url("https://h/tandem").is_ok());
        for bad in ["h", "h:1", "ftp://h", "http://"] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_is_a_date_or_how_long_ago() {
        assert_eq!(time("2026-11-24T06:00:00Z").unwrap().to_string(), "2026-11-24T06:00:00Z");
        let hour_ago = time("1h").unwrap().as_second();
        assert!((3_599..=3_601).contains(&(Timestamp::now().as_second() - hour_ago)));
        for bad in ["", "now", "5", "-1h", "2026-11-24"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
