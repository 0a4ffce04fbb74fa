//! How the fake responds: by the product id, by a rule, or as a whole.

use std::{fmt, str::FromStr, time::Duration};

use anyhow::{Context, Result, bail};

use super::Api;

/// The convention of product ids, for `--help`.
pub const CONVENTION: &str = "\
The product_id of an item chooses the response (the first item that does):
  fail-2             503 to the first two calls of each idempotency key, then 200
  status-422         always this status code (200-599)
  slow-250ms         200 after this time (ms or s)
  hang               no response; hang-1: none to the first call of each key, then 200
  cut-1              connection reset before the effect, on the first call of each key, then 200
  cut-after-acting   connection reset after the effect, on the first call of each key, then 200
  retry-after-1      429 with `Retry-After: 1` to the first call of each key, then 200
  in-progress        no response to the first call of each key, 409 to the second, then 200
  redirect           always 307, to /redirected
  huge-body          200 with a body of 1 GiB
inventory-fail-2, fulfillment-status-422, ...: the same, at one of the APIs only. Anything else: 200.";

/// How often or how long a behaviour lasts, per idempotency key.
const ALWAYS: u64 = u64::MAX;

/// The responses to calls about one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// 503 to this many calls of each key, then 200.
    Fail(u64),
    /// Always this status.
    Status(u16),
    /// 200 after this time.
    Slow(Duration),
    /// No response to this many calls of each key, then 200.
    Hang(u64),
    /// The connection is reset before the effect on this many calls of each key, then 200.
    Cut(u64),
    /// The connection is reset after the effect on the first call of each key, then 200.
    CutAfterActing,
    /// 429 with this many seconds of `Retry-After` to the first call of each key, then 200.
    RetryAfter(u64),
    /// No response to the first call of each key, 409 to the second, then 200.
    InProgress,
    /// Always 307, to `/redirected` on this server.
    Redirect,
    /// 200 with a body of 1 GiB.
    HugeBody,
}

/// How the fake treats all calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As the product id of each order says.
    #[default]
    Healthy,
    /// 503 for all.
    Down,
    /// No responses.
    Hang,
    /// All connections are reset before the effect.
    Cut,
    /// This status for all.
    Status(u16),
    /// 429 with this many seconds of `Retry-After` for all.
    Throttle(u64),
    /// All responses come this late, and are otherwise as the product id of each order says.
    Slow(Duration),
    /// This percentage of calls fails: a third each by 503, by a reset before the effect and by a reset after it.
    Random(u8),
}

impl Behaviour {
    /// Hangs always.
    pub const HANG: Self = Self::Hang(ALWAYS);

    /// What a product id asks this API to do.
    #[must_use]
    pub fn of_product(product_id: &str, api: Api) -> Option<Self> {
        let (behaviour, other) = match api {
            Api::Inventory => (product_id.strip_prefix("inventory-"), product_id.starts_with("fulfillment-")),
            Api::Fulfillment => (product_id.strip_prefix("fulfillment-"), product_id.starts_with("inventory-")),
        };
        if other {
            return None;
        }
        behaviour.unwrap_or(product_id).parse().ok()
    }
}

impl FromStr for Behaviour {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "hang" => Self::HANG,
            "cut-after-acting" => Self::CutAfterActing,
            "in-progress" => Self::InProgress,
            "redirect" => Self::Redirect,
            "huge-body" => Self::HugeBody,
            _ => {
                let (name, value) = text.rsplit_once('-').context("not a behaviour")?;
                match name {
                    "fail" => Self::Fail(value.parse()?),
                    "status" => Self::Status(
                        value.parse().ok().filter(|status| (200..600).contains(status)).context("not a status")?,
                    ),
                    "slow" => Self::Slow(duration(value)?),
                    "hang" => Self::Hang(value.parse()?),
                    "cut" => Self::Cut(value.parse()?),
                    "retry-after" => Self::RetryAfter(value.parse()?),
                    _ => bail!("not a behaviour"),
                }
            }
        })
    }
}

impl FromStr for Mode {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.split_once(':') {
            None if text == "healthy" => Self::Healthy,
            None if text == "down" => Self::Down,
            None if text == "hang" => Self::Hang,
            None if text == "cut" => Self::Cut,
            Some(("status", value)) => Self::Status(
                value.parse().ok().filter(|status| (200..600).contains(status)).context("status: 200-599")?,
            ),
            Some(("throttle", value)) => Self::Throttle(value.parse()?),
            Some(("slow", value)) => Self::Slow(duration(value)?),
            Some(("random", value)) => Self::Random(
                value.parse().ok().filter(|percent| *percent <= 100).context("random: a percentage, 0-100")?,
            ),
            _ => bail!("a mode is one of healthy, down, hang, cut, status:500, throttle:2, slow:250ms, random:30"),
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::Down => f.write_str("down"),
            Self::Hang => f.write_str("hang"),
            Self::Cut => f.write_str("cut"),
            Self::Status(status) => write!(f, "status:{status}"),
            Self::Throttle(seconds) => write!(f, "throttle:{seconds}"),
            Self::Slow(delay) => write!(f, "slow:{}ms", delay.as_millis()),
            Self::Random(percent) => write!(f, "random:{percent}"),
        }
    }
}

fn duration(text: &str) -> Result<Duration> {
    if let Some(milliseconds) = text.strip_suffix("ms") {
        return Ok(Duration::from_millis(milliseconds.parse()?));
    }
    let seconds = text.strip_suffix('s').context("a time has a unit, such as 250ms or 2s")?;
    Ok(Duration::from_secs(seconds.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_id_may_address_one_api_only() {
        assert_eq!(Behaviour::of_product("fail-2", Api::Inventory), Some(Behaviour::Fail(2)));
        assert_eq!(Behaviour::of_product("fulfillment-fail-2", Api::Fulfillment), Some(Behaviour::Fail(2)));
        assert_eq!(Behaviour::of_product("fulfillment-fail-2", Api::Inventory), None);
    }

    #[test]
    fn the_help_text_names_valid_behaviours_and_other_products_have_none() {
        let named = CONVENTION.lines().skip(1).filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        assert_eq!(
            named.map(|name| name.parse::<Behaviour>().map(drop).map_err(|_| name)).filter(Result::is_err).count(),
            0
        );
        for product in ["SKU-1", "slow-boat", "status-99", "failover", "tea"] {
            assert_eq!(Behaviour::of_product(product, Api::Inventory), None, "{product}");
        }
    }

    #[test]
    fn a_mode_is_read_as_it_is_printed() {
        for text in ["healthy", "down", "hang", "cut", "status:500", "throttle:2", "slow:250ms", "random:30"] {
            assert_eq!(text.parse::<Mode>().unwrap().to_string(), text);
        }
        assert!("random:101".parse::<Mode>().is_err());
    }
}
