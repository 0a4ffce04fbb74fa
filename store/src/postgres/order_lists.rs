//! Lists of orders in Postgres. Each list is read along an index, newest first, until the page is full;
//! what an order's status is shows in looks by key, which the planner can neither join nor hash.

use std::{collections::HashMap, sync::LazyLock};

use common::{destination::Name, order::OrderId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{PostgresDesk, fault::Fault, session::Session};
use crate::{
    Answer, Known, Recorded,
    columns::{parse_event, parse_names, parse_outcome, signed, unsigned},
    order_lists::{Change, Changed, OrderFilter, OrderLists, OrderPage},
};
use common::status::{DeliveryStatus, OrderStatus, fold};

/// A page ends after so many orders were looked at, whether they fit or not.
const LOOKED_AT: i64 = 10_000;
/// The same where each of them lies elsewhere on the disk.
const LOOKED_AT_SCATTERED: i64 = 2_000;
/// A page ends after so many bytes of orders.
const PAGE_BYTES: i64 = 4 * 1_024 * 1_024;
/// With fewer orders than this, a customer's are looked through one by one, whatever else is asked.
const FEW_ORDERS: i64 = 1_000;

impl OrderLists for PostgresDesk {
    fn orders(&self, filter: OrderFilter, after: Option<OrderId>, limit: u32) -> Answer<'_, OrderPage> {
        self.ask(move |session| {
            let filter = filter.clone();
            Box::pin(page(session, filter, after, limit))
        })
    }

    fn last_change(&self) -> Answer<'_, Change> {
        self.ask(|session| {
            Box::pin(async move {
                let row = session.query_first(HORIZON, &[]).await?;
                let commit = row.map(|row| row.try_get::<_, i64>(0)).transpose()?.unwrap_or(0);
                Ok(Change { commit: unsigned(commit), number: 0 })
            })
        })
    }

    fn changes(&self, after: Change, limit: u32) -> Answer<'_, Vec<Changed>> {
        self.ask(move |session| {
            Box::pin(async move {
                let (commit, number, limit) = (signed(after.commit), signed(after.number), i64::from(limit));
                let rows = session.query(CHANGES, &[&commit, &number, &limit]).await?;
                rows.iter().map(changed).collect()
            })
        })
    }
}

/// What is recorded by transactions that begin now comes at or beyond it.
const HORIZON: &str = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint";

/// As far as no running transaction can come before.
const CHANGES: &str = "
    SELECT recorded::text::bigint, change, outcome, status = 'pending',
        NOT EXISTS (SELECT FROM pending WHERE pending.order_id = it.order_id)
            AND NOT EXISTS (SELECT FROM deliveries AS other WHERE other.order_id = it.order_id
                AND (other.recorded, other.change) > (it.recorded, it.change)),
        EXISTS (SELECT FROM deliveries AS other WHERE other.order_id = it.order_id AND other.status = 'delivered'),
        EXISTS (SELECT FROM deliveries AS other WHERE other.order_id = it.order_id AND other.status = 'dead_lettered')
    FROM (
        SELECT * FROM deliveries
        WHERE (recorded, change) > ($1::bigint::text::xid8, $2)
            AND recorded < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY recorded, change LIMIT $3
    ) AS it
    ORDER BY recorded, change";

fn changed(row: &Row) -> Result<Changed, Fault> {
    let (commit, number): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let (settled, delivered, dead): (bool, bool, bool) = (row.try_get(4)?, row.try_get(5)?, row.try_get(6)?);
    let statuses = [(delivered, DeliveryStatus::Delivered), (dead, DeliveryStatus::DeadLettered)];
    let status = fold(statuses.into_iter().filter_map(|(there, status)| there.then_some(status)));
    Ok(Changed {
        change: Change { commit: unsigned(commit), number: unsigned(number) },
        recorded: Recorded { outcome: parse_outcome(row.try_get(2)?)?, redriving: row.try_get(3)? },
        settled: settled.then_some(status),
    })
}

/// The index that a list is read along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Along {
    Orders,
    Customer,
    Pending,
    Dead,
}

const ALONG: [Along; 4] = [Along::Orders, Along::Customer, Along::Pending, Along::Dead];

const FEW: &str = "
    SELECT count(*) < $4 FROM (
        SELECT FROM orders WHERE customer_id = $1 AND order_id >= $2 AND order_id < $3 LIMIT $4
    ) AS few";

impl Along {
    async fn choose(session: &Session, filter: &OrderFilter, low: Uuid, high: Uuid) -> Result<Self, Fault> {
        let by_status = match filter.status {
            Some(OrderStatus::Pending) => Some(Self::Pending),
            Some(OrderStatus::DeadLettered | OrderStatus::PartiallyDelivered) => Some(Self::Dead),
            Some(OrderStatus::Delivered) | None => None,
        };
        Ok(match (&filter.customer_id, by_status) {
            (None, by_status) => by_status.unwrap_or(Self::Orders),
            (Some(_), None) => Self::Customer,
            (Some(customer_id), Some(by_status)) => {
                let row = session.query_first(FEW, &[customer_id, &low, &high, &FEW_ORDERS]).await?;
                let few: bool = row.map(|row| row.try_get(0)).transpose()?.unwrap_or(true);
                if few { Self::Customer } else { by_status }
            }
        })
    }

    fn looked_at(self) -> i64 {
        if self == Self::Customer { LOOKED_AT_SCATTERED } else { LOOKED_AT }
    }

    /// The ids along the index, newest first.
    fn ids(self) -> &'static str {
        match self {
            Self::Orders => "SELECT order_id FROM orders WHERE order_id >= $1 AND order_id < $2",
            Self::Customer => "SELECT order_id FROM orders WHERE customer_id = $4 AND order_id >= $1 AND order_id < $2",
            Self::Pending => "SELECT order_id FROM pending WHERE order_id >= $1 AND order_id < $2",
            Self::Dead => {
                "SELECT DISTINCT order_id FROM deliveries
                 WHERE status = 'dead_lettered' AND order_id >= $1 AND order_id < $2"
            }
        }
    }
}

/// What the statements are made for: one for each way, status and whether there is a destination.
type Shape = (Along, Option<OrderStatus>, bool);

/// The statement of a page, and the one that tells where the looking ended.
struct Texts {
    page: String,
    end: String,
}

static TEXTS: LazyLock<HashMap<Shape, Texts>> = LazyLock::new(|| {
    let statuses = || OrderStatus::ALL.into_iter().map(Some).chain([None]);
    let shapes = ALONG.into_iter().flat_map(|along| {
        statuses().flat_map(move |status| [false, true].map(|destination| (along, status, destination)))
    });
    shapes.map(|shape| (shape, Texts::of(shape))).collect()
});

impl Texts {
    fn of((along, status, destination): Shape) -> Self {
        let ids = along.ids();
        let fits = fits(status, destination);
        let customer = match along {
            Along::Customer => "",
            _ => " AND ($4::text IS NULL OR o.customer_id = $4)",
        };
        let page = format!(
            "SELECT order_id, event, destinations, found FROM (
                SELECT order_id, event, destinations, count(*) OVER () AS found,
                    sum(octet_length(event)) OVER (ORDER BY order_id DESC ROWS UNBOUNDED PRECEDING)
                        - octet_length(event) AS before
                FROM (
                    SELECT o.order_id, o.event, o.destinations
                    FROM ({ids} ORDER BY order_id DESC LIMIT $7) AS along
                    CROSS JOIN LATERAL (SELECT * FROM orders WHERE orders.order_id = along.order_id OFFSET 0) AS o
                    WHERE ($5::bigint IS NULL OR o.created_at >= $5) AND ($6::bigint IS NULL OR o.created_at < $6)
                        AND ($3::text IS NULL OR true){customer} AND {fits}
                    ORDER BY along.order_id DESC LIMIT $8
                ) AS page
            ) AS measured
            WHERE before < $9 ORDER BY order_id DESC"
        );
        let end = format!(
            "SELECT order_id FROM ({ids}) AS along WHERE $4::text IS NULL OR true
             ORDER BY order_id DESC LIMIT 1 OFFSET $3"
        );
        Self { page, end }
    }
}

/// Whether an order has the status that is asked for.
fn fits(status: Option<OrderStatus>, destination: bool) -> String {
    const PENDING: &str = "(SELECT true FROM pending WHERE pending.order_id = o.order_id LIMIT 1)";
    let delivery = |condition: &str| {
        format!("(SELECT true FROM deliveries AS d WHERE d.order_id = o.order_id AND {condition} LIMIT 1) IS NOT NULL")
    };
    let (delivered, dead) = (delivery("d.status = 'delivered'"), delivery("d.status = 'dead_lettered'"));
    let dead_there = delivery("d.destination = $3 AND d.status = 'dead_lettered'");
    match (status, destination) {
        (None, false) => "true".to_owned(),
        (None, true) => format!("($3 = ANY(o.destinations) OR {})", delivery("d.destination = $3")),
        (Some(OrderStatus::Pending), false) => format!("{PENDING} IS NOT NULL"),
        (Some(OrderStatus::Pending), true) => {
            "(SELECT $3 = ANY(open) FROM pending WHERE pending.order_id = o.order_id) IS TRUE".to_owned()
        }
        (Some(OrderStatus::Delivered), false) => format!("{PENDING} IS NULL AND NOT ({dead})"),
        (Some(OrderStatus::Delivered), true) => delivery("d.destination = $3 AND d.status = 'delivered'"),
        (Some(OrderStatus::DeadLettered), false) => format!("{PENDING} IS NULL AND {dead} AND NOT ({delivered})"),
        (Some(OrderStatus::DeadLettered), true) => dead_there,
        (Some(OrderStatus::PartiallyDelivered), false) => format!("{PENDING} IS NULL AND {delivered} AND {dead}"),
        (Some(OrderStatus::PartiallyDelivered), true) => {
            format!("{PENDING} IS NULL AND {delivered} AND {dead_there}")
        }
    }
}

const OUTCOMES: &str = "
    SELECT order_id, outcome, status = 'pending' FROM deliveries WHERE order_id = ANY($1::uuid[])";

/// One page, with at most four statements, however many orders it has.
async fn page(session: &Session, filter: OrderFilter, after: Option<OrderId>, limit: u32) -> Result<OrderPage, Fault> {
    let (low, high) = filter.ids(after);
    let along = Along::choose(session, &filter, low, high).await?;
    let Some(texts) = TEXTS.get(&(along, filter.status, filter.destination.is_some())) else {
        return Ok(OrderPage::default());
    };
    let micros = |time: Option<jiff::Timestamp>| time.map(|time| time.as_microsecond());
    let (from, to) = (micros(filter.from), micros(filter.to));
    let limit = i64::from(limit);
    // One more than is wanted, to see whether there is one.
    let most = limit + 1;
    let (destination, customer_id) = (filter.destination.as_ref().map(Name::as_str), &filter.customer_id);
    let rows = session
        .query(
            &texts.page,
            &[&low, &high, &destination, customer_id, &from, &to, &along.looked_at(), &most, &PAGE_BYTES],
        )
        .await?;
    let mut page = OrderPage::default();
    for row in rows.iter().take(usize::try_from(limit).unwrap_or(usize::MAX)) {
        let event = parse_event(row.try_get(1)?)?;
        page.orders.push(Known {
            event,
            destinations: parse_names(row.try_get::<_, Vec<&str>>(2)?)?,
            outcomes: Vec::new(),
        });
    }
    let found: i64 = rows.first().map(|row| row.try_get(3)).transpose()?.unwrap_or(0);
    let shown = i64::try_from(page.orders.len()).unwrap_or(i64::MAX);
    page.next = if found > shown {
        page.orders.last().map(|last| last.event.order_id)
    } else {
        session
            .query_first(&texts.end, &[&low, &high, &(along.looked_at() - 1), customer_id])
            .await?
            .map(|row| row.try_get(0).map(OrderId))
            .transpose()?
    };
    add_outcomes(session, &mut page.orders).await?;
    Ok(page)
}

/// The outcomes of all these orders, by one statement.
async fn add_outcomes(session: &Session, orders: &mut [Known]) -> Result<(), Fault> {
    if orders.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = orders.iter().map(|known| known.event.order_id.0).collect();
    let places: HashMap<_, _> = ids.iter().copied().enumerate().map(|(place, id)| (id, place)).collect();
    for row in session.query(OUTCOMES, &[&ids]).await? {
        if let Some(known) = places.get(&row.try_get::<_, Uuid>(0)?).and_then(|place| orders.get_mut(*place)) {
            let outcome = parse_outcome(row.try_get(1)?)?;
            known.outcomes.push(Recorded { outcome, redriving: row.try_get(2)? });
        }
    }
    Ok(())
}
