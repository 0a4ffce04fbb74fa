//! The steps of a redrive: what stands, what is taken, what is confirmed.

use common::{event, order::OrderId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use serde_json::Value;
use uuid::Uuid;

use super::super::line::Numbers;
use crate::{Sending, Standing, StoreFault, columns::parse_origin, dead_letters::stored::parse};

/// What is taken at a time ends after so many bytes, whatever was asked for.
const BYTES: usize = 4 * 1_024 * 1_024;

pub(super) fn running(transaction: &Transaction<'_>) -> Result<Vec<Standing>, StoreFault> {
    let mut statement = transaction.prepare_cached(
        "SELECT id, rate, concurrency, stop_after_failed_share,
             EXISTS (SELECT 1 FROM redrive_items WHERE redrive_id = job.id AND state = 'queued'),
             (SELECT count(*) FROM redrive_items WHERE redrive_id = job.id AND state IN ('sending', 'sent')),
             (SELECT count(*) FROM (
                 SELECT state FROM redrive_items WHERE redrive_id = job.id AND ended_at >= job.judged_from
                 ORDER BY ended_at DESC LIMIT ?1) WHERE state = 'dead_lettered')
         FROM redrives AS job WHERE status = 'running' ORDER BY id",
    )?;
    let rows = statement.query_map(params![Standing::LAST], |row| {
        Ok(Standing {
            id: row.get(0)?,
            rate: row.get(1)?,
            concurrency: row.get(2)?,
            stop_after_failed_share: row.get(3)?,
            queued: row.get(4)?,
            under_way: row.get(5)?,
            failed_of_last: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A dead letter with what is published of it. An edited body stands with its redrive.
const SENDING: &str =
    "dead_letter, order_id, destination, ifnull(redrives.body, dead_letters.body), headers, properties, new_key
     FROM redrive_items JOIN dead_letters ON dead_letters.id = dead_letter JOIN redrives ON redrives.id = redrive_id";

struct SendingRow {
    dead_letter: Uuid,
    order_id: Option<Uuid>,
    destination: String,
    body: Vec<u8>,
    headers: String,
    properties: String,
    new_key: bool,
}

impl SendingRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            dead_letter: row.get(0)?,
            order_id: row.get(1)?,
            destination: row.get(2)?,
            body: row.get(3)?,
            headers: row.get(4)?,
            properties: row.get(5)?,
            new_key: row.get(6)?,
        })
    }

    fn sending(self) -> Result<Sending, StoreFault> {
        let mut sending = Sending {
            dead_letter: self.dead_letter,
            order_id: self.order_id.map(OrderId),
            origin: parse_origin(&self.destination)?,
            body: self.body.into(),
            headers: parse(&self.headers)?,
            properties: parse(&self.properties)?,
        };
        if self.new_key
            && let Some(identity) = event::identity(&sending.body)
        {
            sending.properties.insert("message_id".to_owned(), Value::String(identity.event_id.0.to_string()));
        }
        Ok(sending)
    }
}

/// As many as fit, at least one if there is one.
fn page(rows: impl Iterator<Item = rusqlite::Result<SendingRow>>) -> Result<Vec<Sending>, StoreFault> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    for row in rows {
        let sending = row?.sending()?;
        bytes += sending.body.len();
        page.push(sending);
        if bytes >= BYTES {
            break;
        }
    }
    Ok(page)
}

pub(super) fn take(connection: &mut Connection, id: Uuid, limit: u32) -> Result<Vec<Sending>, StoreFault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let taken = {
        let sql = format!(
            "SELECT {SENDING} WHERE redrive_id = ?1 AND redrive_items.state = 'queued' AND redrives.status = 'running'
             ORDER BY dead_letter LIMIT ?2"
        );
        let mut statement = transaction.prepare_cached(&sql)?;
        page(statement.query_map(params![id, limit], SendingRow::read)?)?
    };
    let mut numbers = Numbers::reserve(&transaction, 0, taken.len(), 0)?;
    let mut publishing = Vec::with_capacity(taken.len());
    for sending in taken {
        let delivered: bool = transaction
            .prepare_cached("SELECT state = 'delivered' FROM dead_letters WHERE id = ?1")?
            .query_row(params![sending.dead_letter], |row| row.get(0))?;
        let state = if delivered { "delivered" } else { "sending" };
        transaction
            .prepare_cached("UPDATE redrive_items SET state = ?3 WHERE redrive_id = ?1 AND dead_letter = ?2")?
            .execute(params![id, sending.dead_letter, state])?;
        if delivered {
            // Its destination has accepted it meanwhile.
            continue;
        }
        transaction
            .prepare_cached("UPDATE dead_letters SET state = 'redriving' WHERE id = ?1 AND state = 'dead'")?
            .execute(params![sending.dead_letter])?;
        reopen(&transaction, &sending, &mut numbers)?;
        publishing.push(sending);
    }
    transaction.commit()?;
    Ok(publishing)
}

/// The delivery of a dead letter is pending again, and so is its order.
fn reopen(transaction: &Transaction<'_>, sending: &Sending, numbers: &mut Numbers) -> Result<(), StoreFault> {
    let change = numbers.next_change();
    let Some(order_id) = sending.order_id else { return Ok(()) };
    let reopened = transaction
        .prepare_cached(
            "UPDATE deliveries SET status = 'pending', dead_letter = ?3, change = ?4
             WHERE order_id = ?1 AND destination = ?2 AND status <> 'delivered'",
        )?
        .execute(params![order_id.0, sending.origin.as_str(), sending.dead_letter, change])?;
    if reopened == 0 {
        return Ok(());
    }
    let open: Option<String> = transaction
        .prepare_cached("SELECT open FROM pending WHERE order_id = ?1")?
        .query_row(params![order_id.0], |row| row.get(0))
        .optional()?;
    match open {
        Some(open) if open.split(',').any(|name| name == sending.origin.as_str()) => {}
        Some(open) => {
            transaction
                .prepare_cached("UPDATE pending SET open = ?2 WHERE order_id = ?1")?
                .execute(params![order_id.0, format!("{open},{}", sending.origin)])?;
        }
        // A stranger's event may name an order that is none of ours.
        None => {
            transaction
                .prepare_cached(
                    "INSERT INTO pending (order_id, open, place) SELECT order_id, ?2, NULL FROM orders WHERE order_id = ?1",
                )?
                .execute(params![order_id.0, sending.origin.as_str()])?;
        }
    }
    Ok(())
}

pub(super) fn unconfirmed(
    connection: &mut Connection,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Sending>, StoreFault> {
    let sql = format!(
        "SELECT {SENDING} WHERE redrive_items.state = 'sending' AND dead_letter > ifnull(?1, x'') ORDER BY dead_letter LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    page(statement.query_map(params![after, limit], SendingRow::read)?)
}

pub(super) fn sent(connection: &mut Connection, dead_letters: &[Uuid], at: Timestamp) -> Result<(), StoreFault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut mark = transaction.prepare_cached(
            "UPDATE redrive_items SET state = 'sent', sent_at = ?2 WHERE dead_letter = ?1 AND state = 'sending'",
        )?;
        for dead_letter in dead_letters {
            mark.execute(params![dead_letter, at.as_microsecond()])?;
        }
    }
    Ok(transaction.commit()?)
}
