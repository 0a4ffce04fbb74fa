//! Lists of orders, newest first, and the feed of what became of their deliveries, in the order in
//! which it was committed.

use common::{destination::Name, order::OrderId, status::OrderStatus};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Answer, Known, Recorded};

/// The place of a change in the ledger: places ascend in the order in which changes can be read, and
/// leave gaps. The default is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The transaction, where the database numbers them; else 0.
    pub commit: u64,
    /// The number of the change, in one transaction or in all of them.
    pub number: u64,
}

/// How far the time in an order's id may lie from the time at which it was accepted: both are read
/// from one clock, one right after the other.
const ID_SLACK: SignedDuration = SignedDuration::from_secs(5);

/// Which orders are wanted; all of it must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// The order's status; with a destination the status of that delivery. `PartiallyDelivered` with a
    /// destination: the order is that, and this delivery is one that failed.
    pub status: Option<OrderStatus>,
    /// Orders that are to be told to this destination.
    pub destination: Option<Name>,
    /// Who placed them.
    pub customer_id: Option<String>,
    /// Accepted at this time or later.
    pub from: Option<Timestamp>,
    /// Accepted before this time.
    pub to: Option<Timestamp>,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderPage {
    /// The orders, newest first.
    pub orders: Vec<Known>,
    /// Where the next page begins: after this order of the list, which need not fit the filter. None
    /// after the last page.
    pub next: Option<OrderId>,
}

/// A delivery that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The place of its last change.
    pub change: Change,
    /// The delivery as it is now.
    pub recorded: Recorded,
    /// The status of its order, where no delivery of it is pending, and this one was the last to change.
    pub settled: Option<OrderStatus>,
}

/// What is asked for lists of orders.
pub trait OrderLists {
    /// Orders that fit the filter, newest first, beyond `after`: at most `limit`. A page also ends where
    /// so many orders were looked at, or so many bytes gathered, that the next ones have to wait for
    /// the next page; so it may have fewer orders, or none, and still a next one.
    fn orders(&self, filter: OrderFilter, after: Option<OrderId>, limit: u32) -> Answer<'_, OrderPage>;

    /// Where the feed stands: everything that is recorded from now on comes beyond it.
    fn last_change(&self) -> Answer<'_, Change>;

    /// Deliveries that changed beyond `after`, in the order of their changes: at most `limit`. A delivery
    /// that has changed several times comes once, with the last of them.
    fn changes(&self, after: Change, limit: u32) -> Answer<'_, Vec<Changed>>;
}

impl OrderFilter {
    /// The ids that can fit: from the first, to before the second. Ids sort by time, so that a time
    /// becomes a range of the index that every list is read by.
    pub(super) fn ids(&self, after: Option<OrderId>) -> (Uuid, Uuid) {
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
