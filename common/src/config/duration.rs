//! Durations with their unit in the value.

use std::time::Duration;

/// Reads `250ms`, `5s`, `10m` or `2h`: a whole number and a unit.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
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
    // A week is far beyond every bound in the system, and far below every overflow.
    match millis {
        Some(millis) if millis <= 7 * 24 * 3_600_000 => Ok(Duration::from_millis(millis)),
        _ => Err("must be at most a week".to_owned()),
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
}
