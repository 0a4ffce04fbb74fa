//! The form in which events, outcomes and numbers stand in a database, whichever it is.

use common::{
    destination::Name,
    event::{self, Decoded, OrderCreated},
    origin::Origin,
    outcome::Outcome,
};

use super::StoreFault;

pub(super) fn parse_event(body: &[u8]) -> Result<OrderCreated, StoreFault> {
    match event::decode(body) {
        Ok(Decoded::OrderCreated(event)) => Ok(*event),
        Ok(Decoded::Unknown { event_type }) => Err(StoreFault::Database(format!("a stored event is a {event_type}"))),
        Err(fault) => Err(StoreFault::Database(format!("a stored event is {fault}"))),
    }
}

pub(super) fn parse_outcome(json: &str) -> Result<Outcome, StoreFault> {
    serde_json::from_str(json)
        .map_err(|fault| StoreFault::Database(format!("a stored outcome cannot be read: {fault}")))
}

pub(super) fn to_json(outcome: &Outcome) -> Result<String, StoreFault> {
    serde_json::to_string(outcome).map_err(|fault| StoreFault::Database(format!("cannot encode an outcome: {fault}")))
}

pub(super) fn parse_name(text: &str) -> Result<Name, StoreFault> {
    text.parse().map_err(|_| StoreFault::Database("a stored destination has a name that none can have".to_owned()))
}

pub(super) fn parse_names<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<Name>, StoreFault> {
    texts.into_iter().map(parse_name).collect()
}

pub(super) fn parse_origin(text: &str) -> Result<Origin, StoreFault> {
    text.parse().map_err(|_| StoreFault::Database("a stored dead letter is from a queue that cannot be".to_owned()))
}

/// Databases count in signed integers, from 1.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
