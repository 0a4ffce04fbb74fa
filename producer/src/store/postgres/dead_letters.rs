//! Dead letters in Postgres.

use std::sync::Arc;

use common::outcome::{Outcome, OutcomeStatus, Reason};
use jiff::Timestamp;
use uuid::Uuid;

use super::{PostgresDesk, fault::Fault, session::Session};
use crate::store::{
    Answer, Archiving, Collected, Collection, DeadLetter, DeadLetters, Filter, Group, Opened, State, StoreFault,
};

/// By the index of an order's dead letters; few orders have any.
pub(super) const CORRECT: &str = "
    UPDATE dead_letters
    SET state = new.state, reason = coalesce(new.reason, dead_letters.reason), status_code = new.status_code,
        error = coalesce(new.error, dead_letters.error), failed_at = new.failed_at, attempts = new.attempts
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[], $7::bigint[], $8::text[])
        AS new (order_id, destination, state, reason, status_code, error, failed_at, attempts)
    WHERE dead_letters.order_id = new.order_id AND dead_letters.destination = new.destination
        AND dead_letters.state = 'dead' AND dead_letters.reason <> 'unreadable'";

/// A report that came after its dead letter tells more than could be known then.
pub(super) async fn correct(session: &Session, truths: &[Outcome]) -> Result<(), Fault> {
    let last = |truth: &Outcome| truth.attempts.last().cloned();
    let state = |truth: &Outcome| match truth.status {
        OutcomeStatus::Delivered => State::Delivered.as_str(),
        OutcomeStatus::DeadLettered => State::Dead.as_str(),
    };
    let attempts = |truth: &Outcome| {
        serde_json::to_string(&truth.attempts)
            .map_err(|fault| StoreFault::Database(format!("cannot encode a part of a dead letter: {fault}")))
    };
    let order_ids: Vec<_> = truths.iter().map(|truth| truth.order_id.0).collect();
    let destinations: Vec<_> = truths.iter().map(|truth| truth.destination.as_str()).collect();
    let states: Vec<_> = truths.iter().map(state).collect();
    let reasons: Vec<_> = truths.iter().map(|truth| truth.reason.map(Reason::as_str)).collect();
    let codes: Vec<_> = truths.iter().map(|truth| last(truth)?.status_code.map(i32::from)).collect();
    let errors: Vec<_> = truths.iter().map(|truth| last(truth)?.error).collect();
    let times: Vec<_> = truths.iter().map(|truth| truth.settled_at.as_microsecond()).collect();
    let attempts: Vec<_> = truths.iter().map(attempts).collect::<Result<_, _>>()?;
    session
        .execute(CORRECT, &[&order_ids, &destinations, &states, &reasons, &codes, &errors, &times, &attempts])
        .await?;
    Ok(())
}

/// The desk's part follows; until then it says so.
fn absent<T: Send + 'static>() -> Answer<'static, T> {
    Box::pin(std::future::ready(Err(StoreFault::Database("dead letters are not kept in Postgres yet".to_owned()))))
}

impl DeadLetters for PostgresDesk {
    fn collect(&self, _: Vec<Arc<Collected>>, _: Timestamp) -> Answer<'_, Vec<Collection>> {
        absent()
    }

    fn dead_letters(&self, _: Filter, _: Option<Uuid>, _: u32) -> Answer<'_, Vec<DeadLetter>> {
        absent()
    }

    fn dead_letter_groups(&self, _: Filter, _: Option<Uuid>, _: u32) -> Answer<'_, Vec<Group>> {
        absent()
    }

    fn dead_letter(&self, _: Uuid) -> Answer<'_, Option<Opened>> {
        absent()
    }

    fn archive(&self, _: Uuid, _: Option<String>) -> Answer<'_, Archiving> {
        absent()
    }

    fn unarchive(&self, _: Uuid) -> Answer<'_, Archiving> {
        absent()
    }
}
