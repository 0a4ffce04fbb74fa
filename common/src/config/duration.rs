//! Durations with their unit in the value.

use std::time::Duration;

/// Far beyond every bound on waiting in the system.
const WEEK_MILLIS: u64 = 7 * 24 * 3_600_000;
/// Far beyond every age in the system, and far below every overflow.
const TEN_YEARS_MILLIS: u64 = 3_650 * 24 * 3_600_000;

/// Reads `250ms`, `5s`, `10m` or `2h`: a whole number and a unit.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    parse_up_to(text, WEEK_MILLIS, "a week")
}

/// Reads an age such as `720h`: a duration as any other, that may be up to ten years.
///
/// # Errors
/// What is wrong with it.
pub fn age(text: &str) -> Result<Duration, String> {
    parse_up_to(text, TEN_YEARS_MILLIS, "ten years")
}

fn parse_up_to(text: &str, most_millis: u64, most: &str) -> Result<Duration, String> {
    let fault = || "must be a whole number with a unit (ms, s, m, h), such as 250ms or 5s".to_owned();
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().map_err(|_| fault())?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(fault()),
    };
    match millis {
        Some(millis) if millis <= most_millis => Ok(Duration::from_millis(millis)),
        _ => Err(format!("must be at most {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_names_its_unit() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["5", "", "s", "-1s", "1.5s", "5 s", "5d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_age_may_be_longer_than_a_wait() {
        assert_eq!(age("720h"), Ok(Duration::from_secs(720 * 3600)));
        assert_eq!(parse("720h"), Err("must be at most a week".to_owned()));
        assert_eq!(age("87601h"), Err("must be at most ten years".to_owned()));
    }
}
