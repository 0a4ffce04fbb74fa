//! `GET /v1/events`: what happens to all orders, in the order in which it was committed.

use std::{sync::Arc, time::Duration};

use api::{DeliveryStatus, OrderEvent};
use axum::{extract::State, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use store::{Change, Changed};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    examples,
    streams::{self, BEGIN, COMMENT, HEARTBEAT, LastEventId, Permit},
};
use crate::{
    http::{
        Api,
        edge::problem::{Problem, STORE, TOO_MANY_STREAMS, problems},
    },
    views,
};

problems!(Refusals: STORE, [&TOO_MANY_STREAMS]);

/// How many changes are read at a time.
const PAGE: u32 = 64;
/// A stream that has caught up does not look again sooner than this: under load, one look reads many
/// changes.
const PAUSE: Duration = Duration::from_millis(200);
/// How long after a change the feed is looked at once more.
const AGAIN: Duration = Duration::from_secs(1);

/// Follow all orders live
///
/// A stream of the same events as for one order, for all orders, in the order in which they were stored;
/// it does not end. Without `Last-Event-ID` it starts now. A client that is cut off continues with
/// `Last-Event-ID`, however long ago that was. Each event comes at least once; when a delivery changes
/// again, all of its attempts come again.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "orders",
    params(LastEventId),
    responses(
        (status = 200, description = "The events.", body = String, content_type = "text/event-stream",
         headers(("Cache-Control" = String, description = "`no-store`")),
         example = examples::events),
        Refusals,
    ),
)]
pub(super) async fn events(State(api): State<Arc<Api>>, LastEventId(last): LastEventId) -> Result<Response, Problem> {
    let received = last.map(|id| Cursor::parse(&id).ok_or_else(streams::not_an_id)).transpose()?;
    let permit = api.limits.streams.permit()?;
    let mut changes = api.watch.any();
    changes.mark_unchanged();
    let last = api.desk.last_change().await?;
    let cursor = match received {
        // A change that was never numbered is of another store, and nothing would ever follow it.
        Some(cursor) if cursor.change > last => return Err(streams::not_an_id()),
        Some(cursor) => cursor,
        None => Cursor { change: last, events: None },
    };
    let first = format!("{BEGIN}id: {}\n\n", cursor.id());
    let open = OpenStream { api, changes, behind: true, woken: false, again_at: None, cursor, _permit: permit };
    let rest = stream::unfold(open, OpenStream::next);
    Ok(streams::response(stream::iter([Bytes::from(first)]).chain(rest)))
}

/// An open stream.
struct OpenStream {
    api: Arc<Api>,
    changes: watch::Receiver<u64>,
    /// Whether the store may have more than the client has received.
    behind: bool,
    /// Whether that is because something was recorded.
    woken: bool,
    /// When to look once more: a transaction that began earlier may end later, and what it recorded can be
    /// read only then.
    again_at: Option<Instant>,
    cursor: Cursor,
    _permit: Permit,
}

impl OpenStream {
    /// What is sent next, as soon as there is something; `None` at the end. Cancelling it loses nothing
    /// that a client cannot get again.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if self.api.shutdown.is_cancelled() {
                return None;
            }
            if self.behind {
                let text = self.catch_up().await?;
                if !text.is_empty() {
                    return Some((text.into(), self));
                }
                continue;
            }
            let shutdown = self.api.shutdown.clone();
            let wake_at = self.again_at.unwrap_or_else(|| Instant::now() + HEARTBEAT);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                // The sender lives as long as the API does.
                _ = self.changes.changed() => self.woken = true,
                () = sleep_until(wake_at) => {
                    self.behind = true;
                    if self.again_at.take().is_none() {
                        return Some((Bytes::from_static(COMMENT.as_bytes()), self));
                    }
                    continue;
                }
            }
            self.behind = true;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                () = sleep(PAUSE) => {}
            }
        }
    }

    /// The events of the next changes; `None` if they cannot be read: the stream ends, and the client
    /// reconnects.
    async fn catch_up(&mut self) -> Option<String> {
        self.behind = false;
        self.changes.mark_unchanged();
        let changes = self.api.limits.waiting.changes(&self.api.desk, self.cursor.after(), PAGE).await;
        let changes = changes.inspect_err(|fault| tracing::error!(%fault, "cannot read changes of deliveries")).ok()?;
        if u32::try_from(changes.len()).unwrap_or(u32::MAX) >= PAGE {
            self.behind = true;
        } else if !changes.is_empty() || self.woken {
            self.again_at = Some(Instant::now() + AGAIN);
        }
        self.woken = false;
        let mut text = String::new();
        for change in changes {
            self.cursor.write_events(change, &mut text);
        }
        Some(text)
    }
}

/// How much of the feed a client has received; the id of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    /// The last change of which the client has received an event; everything before it is complete.
    change: Change,
    /// How many events of that change the client has received; `None` for all of them.
    events: Option<usize>,
}

impl Cursor {
    /// `17`, or `812-17` if the database numbers transactions; with `.2` within a change.
    fn parse(id: &str) -> Option<Self> {
        fn number(text: &str) -> Option<&str> {
            Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        }
        let (change, events) = match id.split_once('.') {
            Some((change, events)) => (change, Some(number(events)?.parse().ok()?)),
            None => (id, None),
        };
        let (commit, change) = change.split_once('-').unwrap_or(("0", change));
        let change = Change { commit: number(commit)?.parse().ok()?, number: number(change)?.parse().ok()? };
        Some(Self { change, events })
    }

    fn id(self) -> String {
        let Change { commit, number } = self.change;
        let commit = if commit == 0 { String::new() } else { format!("{commit}-") };
        let events = self.events.map(|events| format!(".{events}")).unwrap_or_default();
        format!("{commit}{number}{events}")
    }

    /// The last change that the client has received completely.
    fn after(self) -> Change {
        let Change { commit, number } = self.change;
        if self.events.is_some() { Change { commit, number: number.saturating_sub(1) } } else { self.change }
    }

    /// Writes the events of a change that the client has not received; the cursor moves beyond them.
    fn write_events(&mut self, Changed { change, delivery, settled }: Changed, text: &mut String) {
        let received = self.events.filter(|_| self.change == change).unwrap_or(0);
        let Some(delivery) = delivery else {
            *self = Self { change, events: None };
            return;
        };
        let data = OrderEvent {
            order_id: delivery.entry.order_id.to_string(),
            correlation_id: delivery.entry.correlation_id.to_string(),
            destination: Some(delivery.entry.destination.to_string()),
            ..OrderEvent::default()
        };
        let delivery = views::order::delivery(delivery);
        let mut all: Vec<_> = Vec::with_capacity(delivery.attempts.len() + 2);
        let ended = delivery.status != DeliveryStatus::Pending;
        // A delivery of which only a dead letter is being sent again has made no attempt since.
        if ended || delivery.next_attempt_at.is_some() {
            let attempts = delivery.attempts.iter().cloned();
            all.extend(attempts.map(|attempt| ("attempt", OrderEvent { attempt: Some(attempt), ..data.clone() })));
        }
        if ended {
            all.push((delivery.status.as_str(), OrderEvent { delivery: Some(delivery.clone()), ..data.clone() }));
        }
        if let Some(status) = settled {
            all.push(("settled", OrderEvent { destination: None, status: Some(status.into()), ..data }));
        }
        let count = all.len();
        for (index, (event, data)) in all.into_iter().enumerate().skip(received) {
            *self = Self { change, events: Some(index + 1).filter(|received| *received < count) };
            streams::write(text, event, &self.id(), &data);
        }
        *self = Self { change, events: None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::status::OrderStatus;
    use store::DeliveryRecord;

    fn at(number: u64) -> Change {
        Change { commit: 0, number }
    }

    fn changed(change: Change) -> Changed {
        let order = examples::shown_order();
        let attempts = [1, 2].map(|_| order.deliveries["inventory"].attempts[0].clone()).to_vec();
        let outcome = common::outcome::Outcome {
            event_id: common::event::EventId::fresh(),
            order_id: common::order::OrderId(order.order_id.parse().unwrap()),
            correlation_id: common::order::CorrelationId::parse(order.correlation_id).unwrap(),
            destination: "inventory".parse().unwrap(),
            status: common::outcome::OutcomeStatus::DeadLettered,
            reason: Some(common::outcome::Reason::Rejected.into()),
            attempts,
            dead_letter: None,
            settled_at: order.created_at,
        };
        let delivery = DeliveryRecord { entry: (&outcome).into(), pending: false };
        Changed { change, delivery: Some(delivery), settled: Some(OrderStatus::PartiallyDelivered) }
    }

    fn values<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
        text.lines().filter_map(|line| line.strip_prefix(name)).collect()
    }

    #[test]
    fn a_client_that_continues_after_any_event_receives_the_rest_once() {
        let mut all = String::new();
        let mut cursor = Cursor { change: at(16), events: None };
        cursor.write_events(changed(at(17)), &mut all);
        let kinds = values(&all, "event: ");
        assert_eq!(kinds, ["attempt", "attempt", "dead_lettered", "settled"]);
        assert_eq!(values(&all, "id: "), ["17.1", "17.2", "17.3", "17"]);
        for (index, id) in values(&all, "id: ").into_iter().enumerate() {
            let mut cursor = Cursor::parse(id).unwrap();
            assert_eq!((cursor.id().as_str(), cursor.after()), (id, at(if index == 3 { 17 } else { 16 })));
            let mut rest = String::new();
            if cursor.after() < at(17) {
                cursor.write_events(changed(at(17)), &mut rest);
            }
            assert_eq!(values(&rest, "event: "), kinds[index + 1..], "after {id}");
        }
    }

    #[test]
    fn a_change_that_was_replaced_is_sent_whole() {
        let mut text = String::new();
        Cursor::parse("17.2").unwrap().write_events(changed(at(18)), &mut text);
        assert_eq!(values(&text, "event: ").len(), 4);
    }

    #[test]
    fn a_malformed_event_id_is_refused() {
        assert_eq!(Cursor::parse("812-17.2").map(Cursor::id).as_deref(), Some("812-17.2"));
        for bad in ["x", "-1", "1-", "1-2-3", "+1", "1.", ".1", "1.2.3", "1.x", "99999999999999999999999"] {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
    }
}
