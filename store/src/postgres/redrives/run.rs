//! The steps of a redrive: what stands, what is taken, what is confirmed.

use common::{event, event::now, order::OrderId};
use serde_json::Value;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    super::{fault::Fault, session::Session},
    bytes,
};
use crate::{Sending, Standing, columns::parse_origin, dead_letters::stored::parse};

/// What is taken at a time ends after so many bytes, whatever was asked for.
const BYTES: usize = 4 * 1_024 * 1_024;

const RUNNING: &str = "
    SELECT id, rate, concurrency, stop_after_failed_share,
        EXISTS (SELECT FROM redrive_items WHERE redrive_id = job.id AND state = 'queued'),
        (SELECT count(*) FROM redrive_items WHERE redrive_id = job.id AND state IN ('sending', 'sent')),
        (SELECT count(*) FROM (
            SELECT state FROM redrive_items WHERE redrive_id = job.id AND ended_at >= job.judged_from
            ORDER BY ended_at DESC LIMIT $1) AS last WHERE state = 'dead_lettered')
    FROM redrives AS job WHERE status = 'running' ORDER BY id";

/// A dead letter with what is published of it. An edited body stands with its redrive.
const TAKE: &str = "
    SELECT dead_letter, order_id, destination, coalesce(redrives.body, dead_letters.body), headers, properties, new_key,
        dead_letters.state
    FROM redrive_items JOIN dead_letters ON dead_letters.id = dead_letter JOIN redrives ON redrives.id = redrive_id
    WHERE redrive_id = $1 AND redrive_items.state = 'queued' AND redrives.status = 'running'
    ORDER BY dead_letter LIMIT $2 FOR UPDATE OF redrive_items";
const UNCONFIRMED: &str = "
    SELECT dead_letter, order_id, destination, coalesce(redrives.body, dead_letters.body), headers, properties, new_key,
        dead_letters.state
    FROM redrive_items JOIN dead_letters ON dead_letters.id = dead_letter JOIN redrives ON redrives.id = redrive_id
    WHERE redrive_items.state = 'sending' AND ($1::uuid IS NULL OR dead_letter > $1) ORDER BY dead_letter LIMIT $2";
const MARK: &str = "UPDATE redrive_items SET state = $3 WHERE redrive_id = $1 AND dead_letter = ANY($2::uuid[])";
const REDRIVING: &str = "UPDATE dead_letters SET state = 'redriving' WHERE id = ANY($1::uuid[]) AND state = 'dead'";
const REOPEN: &str = "
    UPDATE deliveries
    SET status = 'pending', dead_letter = taken.dead_letter, recorded = pg_current_xact_id(), change = nextval('changes')
    FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS taken (order_id, destination, dead_letter)
    WHERE deliveries.order_id = taken.order_id AND deliveries.destination = taken.destination AND status <> 'delivered'
    RETURNING deliveries.order_id, deliveries.destination";
/// A stranger's event may name an order that is none of ours.
const PENDING: &str = "
    INSERT INTO pending (order_id, open)
    SELECT order_id, array_agg(DISTINCT destination)
    FROM unnest($1::uuid[], $2::text[]) AS reopened (order_id, destination) JOIN orders USING (order_id)
    GROUP BY order_id ORDER BY order_id
    ON CONFLICT (order_id) DO UPDATE SET open = ARRAY(SELECT DISTINCT unnest(pending.open || EXCLUDED.open))";
const SENT: &str =
    "UPDATE redrive_items SET state = 'sent', sent_at = $2 WHERE dead_letter = ANY($1::uuid[]) AND state = 'sending'";

pub(super) async fn running(session: &Session) -> Result<Vec<Standing>, Fault> {
    let mut jobs = Vec::new();
    for row in session.query(RUNNING, &[&i64::from(Standing::LAST)]).await? {
        let number = |index| Ok::<_, Fault>(u32::try_from(row.try_get::<_, i64>(index)?).unwrap_or(u32::MAX));
        jobs.push(Standing {
            id: row.try_get(0)?,
            rate: row.try_get(1)?,
            concurrency: number(2)?,
            stop_after_failed_share: row.try_get(3)?,
            queued: row.try_get(4)?,
            under_way: number(5)?,
            failed_of_last: number(6)?,
        });
    }
    Ok(jobs)
}

/// As many as fit, at least one if there is one, and whether each is delivered by now.
fn page(rows: &[Row]) -> Result<Vec<(Sending, bool)>, Fault> {
    let (mut page, mut size) = (Vec::new(), 0);
    for row in rows {
        let body = bytes(row.try_get(3)?);
        let (new_key, state): (bool, &str) = (row.try_get(6)?, row.try_get(7)?);
        let mut sending = Sending {
            dead_letter: row.try_get(0)?,
            order_id: row.try_get::<_, Option<Uuid>>(1)?.map(OrderId),
            origin: parse_origin(row.try_get(2)?)?,
            headers: parse(row.try_get(4)?)?,
            properties: parse(row.try_get(5)?)?,
            body,
        };
        if new_key && let Some(identity) = event::identity(&sending.body) {
            sending.properties.insert("message_id".to_owned(), Value::String(identity.event_id.0.to_string()));
        }
        size += sending.body.len();
        page.push((sending, state == "delivered"));
        if size >= BYTES {
            break;
        }
    }
    Ok(page)
}

pub(super) async fn take(session: &Session, id: Uuid, limit: u32) -> Result<Vec<Sending>, Fault> {
    let rows = session.query(TAKE, &[&id, &i64::from(limit)]).await?;
    let (delivered, taken): (Vec<_>, Vec<_>) = page(&rows)?.into_iter().partition(|(_, delivered)| *delivered);
    let ids = |part: &[(Sending, bool)]| part.iter().map(|(sending, _)| sending.dead_letter).collect::<Vec<_>>();
    if !delivered.is_empty() {
        // Their destination has accepted them meanwhile.
        session.execute(MARK, &[&id, &ids(&delivered), &"delivered"]).await?;
    }
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    session.execute(MARK, &[&id, &ids(&taken), &"sending"]).await?;
    session.execute(REDRIVING, &[&ids(&taken)]).await?;
    let taken: Vec<_> = taken.into_iter().map(|(sending, _)| sending).collect();
    let mut of_orders: Vec<_> = taken
        .iter()
        .filter_map(|sending| Some((sending.order_id?.0, sending.origin.as_str(), sending.dead_letter)))
        .collect();
    of_orders.sort_unstable();
    let orders: Vec<Uuid> = of_orders.iter().map(|(order_id, _, _)| *order_id).collect();
    let destinations: Vec<&str> = of_orders.iter().map(|(_, destination, _)| *destination).collect();
    let letters: Vec<Uuid> = of_orders.iter().map(|(_, _, dead_letter)| *dead_letter).collect();
    let (mut reopened, mut of): (Vec<Uuid>, Vec<String>) = (Vec::new(), Vec::new());
    for row in session.query(REOPEN, &[&orders, &destinations, &letters]).await? {
        reopened.push(row.try_get(0)?);
        of.push(row.try_get(1)?);
    }
    session.execute(PENDING, &[&reopened, &of]).await?;
    Ok(taken)
}

pub(super) async fn unconfirmed(session: &Session, after: Option<Uuid>, limit: u32) -> Result<Vec<Sending>, Fault> {
    let rows = session.query(UNCONFIRMED, &[&after, &i64::from(limit)]).await?;
    Ok(page(&rows)?.into_iter().map(|(sending, _)| sending).collect())
}

pub(super) async fn sent(session: &Session, dead_letters: &[Uuid]) -> Result<(), Fault> {
    session.execute(SENT, &[&dead_letters, &now().as_microsecond()]).await?;
    Ok(())
}
