//! Lists of orders, newest first, and the feed of their deliveries, in the order in which they changed.

use common::{destination::Name, order::OrderId, status::OrderStatus};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{DeliveryRecord, OrderRecord};

/// Identifies a change in the ledger. Changes ascend in the order in which they can be read, and leave gaps;
/// the default is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The transaction, if the database numbers them; otherwise 0.
    pub commit: u64,
    /// The number of the change, within the transaction or within all of them.
    pub number: u64,
}

/// How far the time in an order's id may lie from the time at which it was accepted: both are read
/// from one clock, one right after the other.
const ID_SLACK: SignedDuration = SignedDuration::from_secs(5);

/// Which orders are listed; all of it must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// The order's status; with a destination, the status of that delivery. `PartiallyDelivered` with a
    /// destination: the order has that status, and this delivery is one that failed.
    pub status: Option<OrderStatus>,
    /// Orders that are delivered to this destination.
    pub destination: Option<Name>,
    /// Who placed them.
    pub customer_id: Option<String>,
    /// Accepted at this time or later.
    pub from: Option<Timestamp>,
    /// Accepted before this time.
    pub to: Option<Timestamp>,
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderPage {
    /// Newest first.
    pub orders: Vec<OrderRecord>,
    /// The next page begins after this order of the list, which need not match the filter. `None` after the
    /// last page.
    pub next: Option<OrderId>,
}

/// A delivery that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Its last change.
    pub change: Change,
    /// The delivery as it is now; `None` if it cannot be read.
    pub delivery: Option<DeliveryRecord>,
    /// The status of its order, if no delivery of it is pending and this one was the last to change.
    pub settled: Option<OrderStatus>,
}

impl OrderFilter {
    /// The ids that can match: from the first, to before the second. Ids sort by time, so that a time
    /// becomes a range of the index that every list is read by.
    pub(crate) fn ids(&self, after: Option<OrderId>) -> (Uuid, Uuid) {
        let low = self.from.map_or(Uuid::nil(), |from| first_id_at(from.checked_sub(ID_SLACK).unwrap_or(from)));
        let high = self.to.map_or(Uuid::max(), |to| first_id_at(to.checked_add(ID_SLACK).unwrap_or(to)));
        (low, after.map_or(high, |after| after.0.min(high)))
    }
}

/// The lowest id that can be made at this time (version 7 begins with 48 bits of milliseconds).
fn first_id_at(time: Timestamp) -> Uuid {
    let millis = u64::try_from(time.as_millisecond()).unwrap_or(0);
    Uuid::from_u128(u128::from(millis) << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_becomes_a_range_of_ids() {
        let made = Timestamp::from_second(1_767_323_045).unwrap();
        let id = Uuid::from_u128((1_767_323_045_000 << 80) | 0x7fff_8000_0000_0000_0000);
        let filter = |from: Option<i64>, to: Option<i64>| {
            let at = |second: i64| made + SignedDuration::from_secs(second);
            OrderFilter { from: from.map(at), to: to.map(at), ..OrderFilter::default() }
        };
        let within = |filter: OrderFilter| {
            let (low, high) = filter.ids(None);
            (low..high).contains(&id)
        };
        assert!(within(filter(None, None)) && within(filter(Some(0), Some(1))));
        assert!(!within(filter(Some(6), None)) && !within(filter(None, Some(-6))));
        assert_eq!(filter(None, None).ids(Some(OrderId(id))), (Uuid::nil(), id));
        let early = OrderFilter { from: Some(Timestamp::MIN), to: Some(Timestamp::MIN), ..OrderFilter::default() };
        assert_eq!(early.ids(None), (Uuid::nil(), Uuid::nil()));
    }
}
