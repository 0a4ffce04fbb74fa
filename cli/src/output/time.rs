//! Times, for people.

use jiff::Timestamp;

/// RFC 3339, UTC, to the millisecond.
pub(super) fn exact(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// How long before `now`, in one unit.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - at.as_second();
    match seconds {
        ..=-2 => format!("in {}", length(-seconds)),
        -1..=1 => "now".to_owned(),
        _ => format!("{} ago", length(seconds)),
    }
}

fn length(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn an_age_is_shown_in_the_unit_that_fits() {
        let now: Timestamp = "2026-11-24T06:00:00Z".parse().unwrap();
        for (seconds, wanted) in [
            (0, "now"),
            (5, "5 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7_300, "2 h ago"),
            (200_000, "2 d ago"),
            (-30, "in 30 s"),
        ] {
            assert_eq!(ago(now - SignedDuration::from_secs(seconds), now), wanted);
        }
    }

    #[test]
    fn an_exact_time_has_milliseconds_and_a_zone() {
        let at: Timestamp = "2026-11-24T06:00:00.123456Z".parse().unwrap();
        assert_eq!(exact(at), "2026-11-24T06:00:00.123Z");
    }
}
