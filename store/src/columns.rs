//! The form in which values are stored, in every database.

use common::{
    destination::Name,
    event::{self, Decoded, OrderCreated},
    order::OrderId,
    origin::Origin,
    outcome::Attempt,
    word::Word,
};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::{DeliveryRecord, LedgerEntry, StoreFault, StoredOrder, fault::Fault, sql::Row};

fn unreadable(text: impl Into<String>) -> StoreFault {
    StoreFault::Database(text.into())
}

pub(crate) fn parse_event(body: &[u8]) -> Result<OrderCreated, StoreFault> {
    match event::decode(body) {
        Ok(Decoded::OrderCreated(event)) => Ok(*event),
        Ok(Decoded::Unknown { event_type }) => Err(unreadable(format!("a stored event is a {event_type}"))),
        Err(fault) => Err(unreadable(format!("a stored event is {fault}"))),
    }
}

pub(crate) fn parse_entry(json: &str) -> Result<LedgerEntry, StoreFault> {
    // The parser's own message quotes what is stored.
    serde_json::from_str(json)
        .map_err(|fault| unreadable(format!("a stored outcome is {}", event::Unreadable::from(fault))))
}

/// Any other part that is stored as JSON.
fn parse<T: DeserializeOwned>(json: &str) -> Result<T, StoreFault> {
    // The parser's own message quotes what is stored.
    serde_json::from_str(json).map_err(|_| unreadable("a part of a stored dead letter or redrive cannot be read"))
}

pub(crate) fn json(part: &(impl Serialize + ?Sized)) -> Result<String, StoreFault> {
    serde_json::to_string(part).map_err(|fault| StoreFault::Database(format!("cannot encode what is stored: {fault}")))
}

pub(crate) fn parse_name(text: &str) -> Result<Name, StoreFault> {
    text.parse().map_err(|_| unreadable("a stored destination has a name that none can have"))
}

/// Names with commas between them: a name holds no comma.
pub(crate) fn parse_names(list: &str) -> Result<Vec<Name>, StoreFault> {
    list.split(',').map(parse_name).collect()
}

fn parse_origin(text: &str) -> Result<Origin, StoreFault> {
    text.parse().map_err(|_| unreadable("a stored dead letter is from a queue that cannot be"))
}

fn parse_time(micros: i64) -> Result<Timestamp, StoreFault> {
    Timestamp::from_microsecond(micros).map_err(|_| unreadable(format!("a stored time, {micros}, is out of range")))
}

/// Numbers are signed in databases, and count from 1.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Columns in their stored form.
impl Row<'_> {
    pub(crate) fn origin(&self, index: usize) -> Result<Origin, Fault> {
        Ok(parse_origin(&self.get::<String>(index)?)?)
    }

    /// One of these words.
    pub(crate) fn word<T: Copy + AsRef<str>>(&self, index: usize, words: &[T]) -> Result<T, Fault> {
        let stored: String = self.get(index)?;
        let known = words.iter().find(|word| word.as_ref() == stored);
        Ok(*known.ok_or_else(|| unreadable(format!("a stored word, {stored}, is not known here")))?)
    }

    /// One of these words, or one of a newer version.
    pub(crate) fn open_word<T: Copy + AsRef<str>>(&self, index: usize, words: &[T]) -> Result<Word<T>, Fault> {
        Ok(Word::of(self.get(index)?, words))
    }

    pub(crate) fn time(&self, index: usize) -> Result<Timestamp, Fault> {
        Ok(parse_time(self.get(index)?)?)
    }

    pub(crate) fn time_if_any(&self, index: usize) -> Result<Option<Timestamp>, Fault> {
        Ok(self.get::<Option<i64>>(index)?.map(parse_time).transpose()?)
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, index: usize) -> Result<T, Fault> {
        Ok(parse(&self.get::<String>(index)?)?)
    }

    /// What is published of an order: its id, time, event and trace context, in four columns.
    pub(crate) fn stored_order(&self, index: usize) -> Result<StoredOrder, Fault> {
        Ok(StoredOrder {
            order_id: OrderId(self.get(index)?),
            accepted_at: self.time(index + 1)?,
            body: self.get(index + 2)?,
            traceparent: self.get(index + 3)?,
        })
    }

    /// A delivery: what the ledger has of it, followed by whether it is pending.
    pub(crate) fn delivery(&self, index: usize) -> Result<DeliveryRecord, Fault> {
        Ok(DeliveryRecord { entry: parse_entry(&self.get::<String>(index)?)?, pending: self.get(index + 1)? })
    }

    /// Attempts: those that can be read.
    pub(crate) fn attempts(&self, index: usize) -> Result<Vec<Attempt>, Fault> {
        let json: String = self.get(index)?;
        Ok(serde_json::from_str(&json).unwrap_or_else(|_| {
            let attempts: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap_or_default();
            attempts.into_iter().filter_map(|attempt| serde_json::from_value(attempt).ok()).collect()
        }))
    }

    pub(crate) fn count(&self, index: usize) -> Result<u64, Fault> {
        Ok(unsigned(self.get(index)?))
    }

    /// The status of an HTTP response.
    pub(crate) fn status_code(&self, index: usize) -> Result<Option<u16>, Fault> {
        Ok(self.get::<Option<i32>>(index)?.and_then(|code| u16::try_from(code).ok()))
    }
}
