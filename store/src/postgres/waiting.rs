//! Deliveries that wait in the store.

use uuid::Uuid;

use super::session::Session;
use crate::{LedgerEntry, fault::Fault, rules::Wait};

/// Of two messages of one delivery that both wait, the one with more attempts counts.
pub(super) const BEGIN: &str = "
    INSERT INTO waiting (order_id, destination, event_id, dead_letter, correlation_id, traceparent, due, spent,
        unanswered, retry_until, body)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::bigint[],
        $8::bigint[], $9::boolean[], $10::bigint[], $11::bytea[])
    ON CONFLICT (order_id, destination) DO UPDATE SET event_id = EXCLUDED.event_id,
        dead_letter = EXCLUDED.dead_letter, correlation_id = EXCLUDED.correlation_id,
        traceparent = EXCLUDED.traceparent, due = EXCLUDED.due, released_at = NULL,
        spent = greatest(waiting.spent, EXCLUDED.spent), unanswered = waiting.unanswered OR EXCLUDED.unanswered,
        retry_until = EXCLUDED.retry_until, body = EXCLUDED.body";

pub(super) const END: &str = "
    DELETE FROM waiting USING unnest($1::uuid[], $2::text[]) AS ended (order_id, destination)
    WHERE waiting.order_id = ended.order_id AND waiting.destination = ended.destination";

/// Deliveries wait from now on; each comes once, in the order of the table.
pub(super) async fn begin(session: &Session, waits: &[Wait<'_>]) -> Result<(), Fault> {
    if waits.is_empty() {
        return Ok(());
    }
    let order_ids: Vec<_> = waits.iter().map(|wait| wait.progress.order_id.0).collect();
    let destinations: Vec<_> = waits.iter().map(|wait| wait.progress.destination.as_str()).collect();
    let event_ids: Vec<_> = waits.iter().map(|wait| wait.progress.event_id.0).collect();
    let dead_letters: Vec<_> = waits.iter().map(|wait| wait.progress.dead_letter).collect();
    let correlation_ids: Vec<_> = waits.iter().map(|wait| wait.progress.correlation_id.as_str()).collect();
    let traces: Vec<_> = waits.iter().map(|wait| wait.handover.traceparent.as_deref()).collect();
    let due: Vec<_> = waits.iter().map(|wait| wait.progress.next_attempt_at.as_microsecond()).collect();
    let spent: Vec<_> = waits.iter().map(|wait| i64::from(wait.spent)).collect();
    let unanswered: Vec<_> = waits.iter().map(|wait| wait.unanswered).collect();
    let retry_until: Vec<_> = waits.iter().map(|wait| wait.handover.retry_until.as_microsecond()).collect();
    let bodies: Vec<_> = waits.iter().map(|wait| wait.handover.event.as_bytes()).collect();
    session
        .execute(
            BEGIN,
            &[
                &order_ids,
                &destinations,
                &event_ids,
                &dead_letters,
                &correlation_ids,
                &traces,
                &due,
                &spent,
                &unanswered,
                &retry_until,
                &bodies,
            ],
        )
        .await?;
    Ok(())
}

/// Deliveries have ended: they wait no longer.
pub(super) async fn end(session: &Session, ended: &[LedgerEntry]) -> Result<(), Fault> {
    let order_ids: Vec<Uuid> = ended.iter().map(|entry| entry.order_id.0).collect();
    let destinations: Vec<_> = ended.iter().map(|entry| entry.destination.as_str()).collect();
    session.execute(END, &[&order_ids, &destinations]).await?;
    Ok(())
}
