//! Listing a dead letter: its row, and for one that a report tells of, the message that was delivered.

use common::event::Identity;
use uuid::Uuid;

use crate::{
    Collected, StoreFault,
    fault::Fault,
    rules::{DeadLetterColumns, Died, End, Parent, Published},
    sql::{Row, Text, Value},
};

/// The message of an order that was accepted here.
pub(crate) const ACCEPTED: Text = Text::of("SELECT event, traceparent FROM orders WHERE order_id = $1");
/// The message of a dead letter that was sent again. Of its redrives one at most has sent it and not ended otherwise.
pub(crate) const SENT_AGAIN: Text = Text::of(
    "
    SELECT coalesce(job.body, letter.body), letter.headers, letter.properties, job.new_key, letter.key_used_at,
        letter.redrives
    FROM dead_letters AS letter JOIN redrive_items AS item ON item.dead_letter = letter.id
        JOIN redrives AS job ON job.id = item.redrive_id
    WHERE letter.id = $1 AND item.state IN ('sending', 'sent', 'delivered', 'dead_lettered')
    ORDER BY item.sent_at DESC LIMIT 1",
);
/// Another producer may have stored the same one at this moment: that one is waited for, and counts.
pub(crate) const INSERT: Text = Text::of(
    "
    INSERT INTO dead_letters (id, fingerprint, order_id, destination, state, reason, status_code, error, failed_at,
        key_used_at, attempts, body, headers, properties, deaths, parent, redrives, answer)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
    ON CONFLICT (fingerprint) DO NOTHING",
);

/// The row of a dead letter.
pub(crate) struct Listed {
    pub(crate) id: Uuid,
    fingerprint: Vec<u8>,
    origin: String,
    state: &'static str,
    reason: String,
    body: Vec<u8>,
    columns: DeadLetterColumns,
}

impl Listed {
    /// A row under this fingerprint.
    pub(crate) fn new(
        letter: &Collected,
        fingerprint: [u8; 32],
        end: &End,
        parent: Option<Parent>,
    ) -> Result<Self, StoreFault> {
        Ok(Self {
            id: Uuid::now_v7(),
            fingerprint: fingerprint.to_vec(),
            origin: letter.origin.to_string(),
            state: end.state.as_str(),
            reason: end.reason.to_string(),
            body: letter.content.body.clone(),
            columns: DeadLetterColumns::of(letter, end, parent)?,
        })
    }

    /// The row of a delivery that has died, given what [`Died::question`] found. `None` if its dead letter is listed
    /// when it comes from its queue.
    pub(crate) fn died(died: Died, found: Option<(Published, Option<Parent>)>) -> Result<Option<Self>, StoreFault> {
        let Some((published, parent)) = found else { return Ok(None) };
        let Some((letter, end)) = died.letter(published) else { return Ok(None) };
        Self::new(&letter, letter.fingerprint, &end, parent).map(Some)
    }

    /// The values of [`INSERT`].
    pub(crate) fn values(&self) -> [&dyn Value; 18] {
        let Self { id, fingerprint, origin, state, reason, body, columns } = self;
        let DeadLetterColumns {
            order_id,
            status_code,
            error,
            failed_at,
            key_used_at,
            attempts,
            headers,
            properties,
            deaths,
            parent,
            redrives,
            answer,
        } = columns;
        [
            id,
            fingerprint,
            order_id,
            origin,
            state,
            reason,
            status_code,
            error,
            failed_at,
            key_used_at,
            attempts,
            body,
            headers,
            properties,
            deaths,
            parent,
            redrives,
            answer,
        ]
    }
}

impl Died {
    /// Which statement finds the message that was delivered, and the id that it is asked for.
    pub(crate) fn question(&self) -> (Text, Uuid) {
        match self.parent {
            Some(parent) => (SENT_AGAIN, parent),
            None => (ACCEPTED, self.identity.order_id.0),
        }
    }

    /// What that statement found.
    pub(crate) fn read(&self, row: &Row<'_>) -> Result<(Published, Option<Parent>), Fault> {
        if self.parent.is_none() {
            let published = Published::by_relay(row.get(0)?, Some(&row.get::<String>(1)?), &self.identity);
            return Ok((published, None));
        }
        let mut published = Published { body: row.get(0)?, headers: row.json(1)?, properties: row.json(2)? };
        if row.get(3)? {
            published.takes_id(&self.identity);
        }
        Ok((published, Some(Parent { key_used_at: row.get(4)?, redrives: row.get(5)? })))
    }
}

impl Published {
    /// An edited body with a new key goes under the id of its own event.
    fn takes_id(&mut self, of: &Identity) {
        self.properties.insert("message_id".to_owned(), of.event_id.0.to_string().into());
    }
}
