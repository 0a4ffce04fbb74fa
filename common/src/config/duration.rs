//! Durations with their unit in the value.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Far beyond any wait in the system.
const LONGEST_WAIT_DAYS: u32 = 7;
/// Far beyond any age in the system, and far below any overflow.
const LONGEST_AGE_DAYS: u32 = 3_650;

/// Reads `250ms`, `5s`, `10m`, `2h` or `3d`: a whole number and a unit, up to a week.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    up_to(LONGEST_WAIT_DAYS, text)
}

/// Reads a duration of up to ten years, such as `720h`.
///
/// # Errors
/// What is wrong with it.
pub fn long_duration(text: &str) -> Result<Duration, String> {
    up_to(LONGEST_AGE_DAYS, text)
}

/// Reads a duration of up to ten years that is not zero.
///
/// # Errors
/// What is wrong with it.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = long_duration(text)?;
    if duration.is_zero() { Err("must be greater than zero".to_owned()) } else { Ok(duration) }
}

fn up_to(days: u32, text: &str) -> Result<Duration, String> {
    let fault = || "must be a whole number with a unit (ms, s, m, h, d), such as 250ms or 5s".to_owned();
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().map_err(|_| fault())?;
    let millis_each = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(fault()),
    };
    match number.checked_mul(millis_each).map(Duration::from_millis) {
        Some(duration) if duration <= DAY * days => Ok(duration),
        _ => Err(format!("must be at most {days}d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        assert_eq!(duration("3d"), Ok(Duration::from_secs(259_200)));
        for bad in ["5", "", "s", "-1s", "1.5s", "5 s", "5w", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_long_duration_may_exceed_a_week() {
        assert_eq!(long_duration("720h"), Ok(Duration::from_secs(720 * 3_600)));
        assert_eq!(duration("720h"), Err("must be at most 7d".to_owned()));
        assert_eq!(long_duration("87601h"), Err("must be at most 3650d".to_owned()));
        assert_eq!((long_duration("0s"), positive_duration("0s").is_err()), (Ok(Duration::ZERO), true));
    }
}
