use super::*;
use crate::store::{Backend as _, Batch, Scratch, conformance_lists};

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let scratch = Scratch::new();
                conformance_lists::$name(&mut scratch.open(), &*scratch.desk()).await;
            }
        )*
    };
}

conforms!(
    every_combination_of_filters_lists_what_fits,
    pages_are_stable_while_orders_come,
    the_feed_is_in_the_order_of_commits,
    an_expired_key_is_as_good_as_new,
    only_old_orders_that_are_delivered_everywhere_are_removed,
);

fn plan(connection: &Connection, statement: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
    // Whatever the values are, the plan is the same.
    let nothing = vec![rusqlite::types::Null; statement.parameter_count()];
    statement.query_map(rusqlite::params_from_iter(nothing), |row| row.get(3)).unwrap().map(Result::unwrap).collect()
}

/// The statements that are asked, and how each may go over each table: along an index, from a place
/// in it, in its order.
#[test]
fn no_list_is_read_from_end_to_end_or_sorted() {
    let scratch = Scratch::new();
    drop(scratch.open());
    let connection = super::super::connect(scratch.path()).unwrap();
    let mut plans = Vec::new();
    for along in [Along::Orders, Along::Customer, Along::Pending, Along::Dead] {
        for status in OrderStatus::ALL.into_iter().map(Some).chain([None]) {
            for destination in [None, Some("north".to_owned())] {
                let filter = OrderFilter { status, destination, ..OrderFilter::default() };
                plans.push(plan(&connection, &statement(&filter, along)));
            }
        }
    }
    plans.push(plan(&connection, CHANGES));
    plans.push(plan(&connection, OUTCOMES));
    for step in plans.iter().flatten() {
        let whole = step.starts_with("SCAN") && !step.starts_with("SCAN wanted VIRTUAL TABLE");
        assert!(!whole && !step.contains("TEMP B-TREE"), "{plans:#?}");
    }
}

#[tokio::test]
async fn a_page_ends_where_much_was_looked_through_and_the_next_goes_on() {
    let scratch = Scratch::new();
    let orders: Vec<_> = (0..40).map(|second| conformance_lists::order("c-1", second)).collect();
    let oldest = orders[0].event.order_id;
    scratch.open().commit(&Batch { orders, ..Batch::default() }).await.unwrap();
    let mut connection = super::super::connect(scratch.path()).unwrap();
    let filter = OrderFilter { destination: Some("nowhere".to_owned()), ..OrderFilter::default() };
    let (mut after, mut pages) = (None, 0);
    loop {
        let found = page(&mut connection, &filter, after, 50, 16).unwrap();
        assert_eq!(found.orders, []);
        (after, pages) = (found.next, pages + 1);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, 3);
    let last = page(&mut connection, &OrderFilter::default(), Some(oldest), 50, 16).unwrap();
    assert_eq!(last, OrderPage::default());
}

/// How long the first and a later page of each list take, with a million orders: run by hand.
#[tokio::test]
#[ignore = "takes minutes and half a gigabyte of disk; it measures"]
async fn a_million_orders() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    let mut number = 0_i64;
    while number < 1_000_000 {
        let (mut orders, mut outcomes) = (Vec::new(), Vec::new());
        for _ in 0..5_000 {
            // One in 1,000 customers is large; one order in 500 is dead, one in 5,000 pending.
            let customer = if number % 10 == 0 { "large".to_owned() } else { format!("c-{}", number % 100_000) };
            let placed = conformance_lists::order(&customer, number / 10);
            if number % 5_000 != 7 {
                outcomes.push(conformance_lists::ended(&placed.event, "north", number % 500 != 3));
                outcomes.push(conformance_lists::ended(&placed.event, "south", number % 1_000 != 3));
            }
            orders.push(placed);
            number += 1;
        }
        store.commit(&Batch { orders, ..Batch::default() }).await.unwrap();
        store.commit(&Batch { outcomes, ..Batch::default() }).await.unwrap();
    }
    let mut connection = super::super::connect(scratch.path()).unwrap();
    for status in OrderStatus::ALL.into_iter().map(Some).chain([None]) {
        for destination in [None, Some("north".to_owned()), Some("nowhere".to_owned())] {
            for customer_id in [None, Some("large".to_owned()), Some("c-77".to_owned())] {
                let from = Some(jiff::Timestamp::from_second(1_767_323_045 + 30_000).unwrap());
                for from in [None, from] {
                    let filter = OrderFilter {
                        status,
                        destination: destination.clone(),
                        customer_id: customer_id.clone(),
                        from,
                        to: None,
                    };
                    let began = std::time::Instant::now();
                    let first = page(&mut connection, &filter, None, 50, LOOKED_AT).unwrap();
                    let first_ms = began.elapsed().as_secs_f64() * 1e3;
                    let began = std::time::Instant::now();
                    page(&mut connection, &filter, first.next, 50, LOOKED_AT).unwrap();
                    let second_ms = began.elapsed().as_secs_f64() * 1e3;
                    println!(
                        "{:6.1} ms {:6.1} ms, {:2} orders: {status:?} {destination:?} {customer_id:?} from {}",
                        first_ms,
                        second_ms,
                        first.orders.len(),
                        from.is_some()
                    );
                }
            }
        }
    }
}
