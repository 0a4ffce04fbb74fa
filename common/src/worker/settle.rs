//! Settle: the only place that decides how a delivery leaves its queue.

use crate::{broker::delivery::Settlement, outcome::OutcomeStatus};

/// What is known of a delivery that has to leave its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its outcome has been reported.
    Reported(OutcomeStatus),
    /// It has been handed over, and waits in the store.
    HandedOver,
    /// It is an event of a type that this version does not know.
    UnknownEvent,
    /// It is not an event, and does not name an order.
    Unreadable,
}

/// How the delivery is settled.
pub(super) fn settlement(end: End) -> Settlement {
    match end {
        End::Reported(OutcomeStatus::Delivered) | End::HandedOver | End::UnknownEvent => Settlement::Ack,
        End::Reported(OutcomeStatus::DeadLettered) | End::Unreadable => Settlement::DeadLetter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_settlement() {
        let table = [
            (End::Reported(OutcomeStatus::Delivered), Settlement::Ack),
            (End::Reported(OutcomeStatus::DeadLettered), Settlement::DeadLetter),
            (End::HandedOver, Settlement::Ack),
            (End::UnknownEvent, Settlement::Ack),
            (End::Unreadable, Settlement::DeadLetter),
        ];
        for (end, expected) in table {
            assert_eq!(settlement(end), expected, "{end:?}");
        }
    }
}
