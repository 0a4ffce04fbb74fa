//! What tests need of a store: a scratch database, and orders to put into it.

use std::path::{Path, PathBuf};

use common::{
    destination::Name,
    event::{EventId, OrderCreated, OrderCreatedType, now},
    order::{CorrelationId, CustomerId, OrderId},
    outcome::{Attempt, Outcome, OutcomeStatus, Reason},
    trace_context::TraceParent,
};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{Backend, Desk, Placed, sqlite::Sqlite};

/// An SQLite file, removed at the end.
pub struct Scratch(PathBuf);

impl Default for Scratch {
    fn default() -> Self {
        Self(std::env::temp_dir().join(format!("tandem-store-{}.db", Uuid::new_v4())))
    }
}

/// The names of destinations.
#[must_use]
pub fn names<const N: usize>(texts: [&str; N]) -> [Name; N] {
    texts.map(|text| text.parse().unwrap())
}

impl Scratch {
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A writer for orders that are delivered to north and south.
    #[must_use]
    pub fn writer(&self) -> impl Backend {
        Sqlite::open(&self.0, &names(["north", "south"])).unwrap()
    }

    /// Puts a dead letter into this state.
    pub fn set_state(&self, id: Uuid, state: &str) {
        let connection = rusqlite::Connection::open(&self.0).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        connection.execute("UPDATE dead_letters SET state = ?2 WHERE id = ?1", (id, state)).unwrap();
    }

    /// Damages the database, so that orders can be neither read nor written.
    pub fn damage(&self) {
        let connection = rusqlite::Connection::open(&self.0).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        connection.execute_batch("PRAGMA foreign_keys = OFF; DROP TABLE orders").unwrap();
    }

    #[must_use]
    pub fn desk(&self) -> Desk {
        Desk::sqlite(&self.0).now_or_never().unwrap().unwrap().0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", self.0.display()));
        }
    }
}

/// 2026-01-02T03:04:05Z
const EPOCH: i64 = 1_767_323_045;

#[must_use]
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(EPOCH + second).unwrap()
}

/// An order that was accepted at that second.
#[must_use]
pub fn order(customer_id: &str, second: i64) -> Placed {
    let millis = u128::try_from(at(second).as_millisecond()).unwrap();
    let random = Uuid::new_v4().as_u128() & 0x0fff_3fff_ffff_ffff_ffff;
    let event = OrderCreated {
        event_type: OrderCreatedType,
        event_id: EventId::fresh(),
        order_id: OrderId(Uuid::from_u128((millis << 80) | 0x7000_8000_0000_0000_0000 | random)),
        customer_id: CustomerId::parse(customer_id.to_owned()).unwrap(),
        items: serde_json::from_str(r#"[{"product_id":"p","qty":2}]"#).unwrap(),
        correlation_id: CorrelationId::fresh(),
        occurred_at: at(second),
    };
    Placed::new(event, TraceParent::root(), None).unwrap()
}

impl Placed {
    /// The event that it holds in encoded form.
    #[must_use]
    pub fn event(&self) -> OrderCreated {
        crate::columns::parse_event(&self.body).unwrap()
    }
}

/// The outcome of a delivery of the order.
#[must_use]
pub fn ended(order: &OrderCreated, destination: &str, delivered: bool) -> Outcome {
    Outcome {
        event_id: order.event_id,
        order_id: order.order_id,
        correlation_id: order.correlation_id.clone(),
        destination: destination.parse().unwrap(),
        status: if delivered { OutcomeStatus::Delivered } else { OutcomeStatus::DeadLettered },
        reason: (!delivered).then_some(Reason::Rejected.into()),
        attempts: vec![Attempt {
            at: now(),
            duration_ms: 3,
            status_code: Some(422),
            error: None,
            answer: None,
            spent: None,
        }],
        dead_letter: None,
        settled_at: now(),
    }
}
