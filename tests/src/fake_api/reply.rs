//! The reply to one call, decided before anything is sent.

use std::time::Duration;

use super::{Behaviour, Mode};

/// What is sent, and after which delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) delay: Duration,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Status(u16),
    TooManyRequests { retry_after: u64 },
    Redirect,
    HugeBody,
    Hang,
    Cut { acted: bool },
}

impl Kind {
    /// Whether the API has its effect.
    pub(super) fn acts(self) -> bool {
        match self {
            Self::Status(status) => (200..300).contains(&status),
            Self::HugeBody => true,
            Self::Cut { acted } => acted,
            Self::TooManyRequests { .. } | Self::Redirect | Self::Hang => false,
        }
    }

    /// The status that is sent, if any is.
    pub(super) fn status(self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status),
            Self::TooManyRequests { .. } => Some(429),
            Self::Redirect => Some(307),
            Self::HugeBody => Some(200),
            Self::Hang | Self::Cut { .. } => None,
        }
    }
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self { delay: Duration::ZERO, kind: Kind::Status(status) }
    }

    /// The reply to a call that keeps to the contract.
    ///
    /// `earlier` counts the calls with its key before it; `lot` is drawn for each call.
    pub(super) fn choose(mode: Mode, behaviour: Option<Behaviour>, earlier: u64, lot: u64) -> Self {
        let by_order = Self::by_order(behaviour, earlier);
        match mode {
            Mode::Healthy => by_order,
            Mode::Down => Self::status(503),
            Mode::Hang => Self { kind: Kind::Hang, ..by_order },
            Mode::Cut => Self { kind: Kind::Cut { acted: false }, ..by_order },
            Mode::Status(status) => Self::status(status),
            Mode::Throttle(retry_after) => Self { kind: Kind::TooManyRequests { retry_after }, ..by_order },
            Mode::Slow(delay) => Self { delay: delay + by_order.delay, ..by_order },
            Mode::Random(percent) if lot % 100 < u64::from(percent) => Self { kind: failure(lot / 100), ..by_order },
            Mode::Random(_) => by_order,
        }
    }

    fn by_order(behaviour: Option<Behaviour>, earlier: u64) -> Self {
        let kind = match behaviour {
            Some(Behaviour::Fail(times)) if earlier < times => Kind::Status(503),
            Some(Behaviour::Status(status)) => Kind::Status(status),
            Some(Behaviour::Hang(times)) if earlier < times => Kind::Hang,
            Some(Behaviour::Cut(times)) if earlier < times => Kind::Cut { acted: false },
            Some(Behaviour::CutAfterActing) if earlier == 0 => Kind::Cut { acted: true },
            Some(Behaviour::RetryAfter(retry_after)) if earlier == 0 => Kind::TooManyRequests { retry_after },
            Some(Behaviour::InProgress) if earlier == 0 => Kind::Hang,
            Some(Behaviour::InProgress) if earlier == 1 => Kind::Status(409),
            Some(Behaviour::Redirect) => Kind::Redirect,
            Some(Behaviour::HugeBody) => Kind::HugeBody,
            _ => Kind::Status(200),
        };
        let delay = if let Some(Behaviour::Slow(delay)) = behaviour { delay } else { Duration::ZERO };
        Self { delay, kind }
    }
}

fn failure(lot: u64) -> Kind {
    match lot % 3 {
        0 => Kind::Status(503),
        1 => Kind::Cut { acted: false },
        _ => Kind::Cut { acted: true },
    }
}
