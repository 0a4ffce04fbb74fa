use futures_util::FutureExt as _;
use rusqlite::StatementStatus;

use super::*;
use crate::{
    Backend as _, Batch,
    desk::{CHANGES, LOOKED_AT, OUTCOMES},
    sql::Sql,
    testing::{self, Scratch},
};

fn plan(connection: &rusqlite::Connection, statement: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
    // The plan does not depend on the values.
    let nothing = vec![rusqlite::types::Null; statement.parameter_count()];
    statement.query_map(rusqlite::params_from_iter(nothing), |row| row.get(3)).unwrap().map(Result::unwrap).collect()
}

/// Every statement reads each table along an index, from a position in it, in its order.
#[test]
fn no_list_is_read_from_end_to_end_or_sorted() {
    let scratch = Scratch::default();
    drop(scratch.writer());
    let connection = crate::sqlite::open(scratch.path()).unwrap();
    let mut plans = Vec::new();
    for along in Along::ALL {
        for status in OrderStatus::ALL.into_iter().map(Some).chain([None]) {
            for destination in [None, Some("north".parse().unwrap())] {
                let filter = OrderFilter { status, destination, ..OrderFilter::default() };
                plans.push(plan(&connection, &statement(&filter, along)));
            }
        }
    }
    plans.push(plan(&connection, CHANGES.sqlite));
    plans.push(plan(&connection, OUTCOMES.sqlite));
    for step in plans.iter().flatten() {
        let whole = step.starts_with("SCAN") && !step.starts_with("SCAN wanted VIRTUAL TABLE");
        assert!(!whole && !step.contains("TEMP B-TREE"), "{plans:#?}");
    }
}

#[tokio::test]
async fn a_page_ends_after_many_orders_were_looked_at_and_the_next_continues() {
    let scratch = Scratch::default();
    let orders: Vec<_> = (0..40).map(|second| testing::order("c-1", second)).collect();
    let oldest = orders[0].order_id;
    scratch.writer().commit(&Batch { orders, ..Batch::default() }).await.unwrap();
    let connection = Connection::open(scratch.path()).unwrap();
    let filter = OrderFilter { destination: Some("nowhere".parse().unwrap()), ..OrderFilter::default() };
    let (mut after, mut pages) = (None, 0);
    loop {
        let found =
            page(&connection, &filter, Along::Orders, filter.ids(after), 50, 16, &Unreadable::default()).unwrap();
        assert_eq!(found.orders, []);
        (after, pages) = (found.next, pages + 1);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, 3);
    let all = OrderFilter::default();
    let last = page(&connection, &all, Along::Orders, all.ids(Some(oldest)), 50, 16, &Unreadable::default()).unwrap();
    assert_eq!(last, OrderPage::default());
}

/// The cost of a page does not rise with the number of orders. It is counted in steps of the database's virtual
/// machine, which no other load can change.
#[tokio::test]
async fn a_page_costs_the_same_however_many_orders_there_are() {
    let scratch = Scratch::default();
    let mut store = scratch.writer();
    let mut few = Vec::new();
    for many in [false, true] {
        let (from, to) = if many { (2_000, 20_000) } else { (0, 2_000) };
        let (mut orders, mut outcomes) = (Vec::new(), Vec::new());
        for number in from..to {
            // One order in 500 is dead, one in 100 pending.
            let placed = testing::order(if number % 10 == 0 { "large" } else { "other" }, number / 10);
            if number % 100 != 7 {
                outcomes.push(testing::ended(&placed.event(), "north", number % 500 != 3));
                outcomes.push(testing::ended(&placed.event(), "south", number % 1_000 != 3));
            }
            orders.push(placed);
        }
        store.commit(&Batch { orders, ..Batch::default() }).await.unwrap();
        store.commit(&Batch { outcomes, ..Batch::default() }).await.unwrap();
        let connection = Connection::open(scratch.path()).unwrap();
        let mut costs = Vec::new();
        for status in OrderStatus::ALL.into_iter().map(Some).chain([None]) {
            for destination in [None, Some("north".parse().unwrap())] {
                for customer_id in [None, Some("large".to_owned())] {
                    let (destination, from) = (destination.clone(), None);
                    let filter = OrderFilter { status, destination, customer_id, from, to: None };
                    let (low, high) = filter.ids(None);
                    let chosen = Along::choose(Sql::Sqlite(&connection), &filter, low, high).now_or_never();
                    let along = chosen.unwrap().unwrap();
                    let first =
                        page(&connection, &filter, along, (low, high), 2, LOOKED_AT, &Unreadable::default()).unwrap();
                    page(&connection, &filter, along, filter.ids(first.next), 2, LOOKED_AT, &Unreadable::default())
                        .unwrap();
                    let connection = connection.inner();
                    let statement = connection.prepare_cached(&statement(&filter, along)).unwrap();
                    costs.push((filter, statement.get_status(StatementStatus::VmStep)));
                }
            }
        }
        if many {
            for ((filter, few), (_, many)) in few.into_iter().zip(costs) {
                assert!(many <= 2 * few + 1_000, "{few} steps among few orders, {many} among many: {filter:?}");
            }
            return;
        }
        few = costs;
    }
}
