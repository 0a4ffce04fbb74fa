//! `GET /v1/events`: what becomes of all orders, in the order in which it was committed.

use std::{sync::Arc, time::Duration};

use api::OrderEvent;
use axum::{
    extract::{Request, State},
    http::request::Parts,
    response::Response,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Accept, Api, Show,
    call::Call,
    openapi,
    problem::{BUSY, INTERNAL, INVALID_HEADER, Kind, Problem, STORE_UNAVAILABLE, TOO_MANY_STREAMS},
    streams::{self, BEGIN, COMMENT, HEARTBEAT},
};
use crate::views;
use common::status::DeliveryStatus;
use store::{Change, Changed, StoreFault};

/// How long after news the feed is looked at once more.
const AGAIN: Duration = Duration::from_secs(1);

/// Every way to refuse.
pub(super) static PROBLEMS: [&Kind; 5] = [&INVALID_HEADER, &BUSY, &TOO_MANY_STREAMS, &STORE_UNAVAILABLE, &INTERNAL];

/// How many changes are read at a time.
const PAGE: u32 = 64;
/// A stream that has caught up does not look again sooner than this: under load, many changes are
/// read by one look.
const PAUSE: Duration = Duration::from_millis(200);

/// Follow all orders live
///
/// A stream of the same events as that of one order, for all orders, in the order in which they were
/// stored; it does not end. Without `Last-Event-ID` it begins now. A client that is cut off goes on
/// where it was by `Last-Event-ID`, however long ago that was. Each event comes at least once; when a
/// delivery changes again, all of its attempts come again with its new end.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "orders",
    params(
        ("Last-Event-ID" = Option<String>, Header, nullable = false,
         description = "The id of the last event that the client has seen; `0` for everything there is."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "The events.", body = String, content_type = "text/event-stream",
         headers(
             ("X-Correlation-ID" = String, description = "The correlation id of this request."),
             ("Cache-Control" = String, description = "`no-store`")
         ),
         example = openapi::events_example),
    ),
)]
pub(super) async fn events<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let metrics = api.metrics.events.clone();
    let (head, _) = request.into_parts();
    let (call, sound) = Call::begin(&head.headers, &metrics);
    let answer = match sound {
        Ok(()) => begin(api, &head).await,
        Err(problem) => Err(problem),
    };
    call.end(answer)
}

async fn begin<A: Accept, S: Show>(api: Arc<Api<A, S>>, head: &Parts) -> Result<Response, Problem> {
    let seen = streams::last_event_id(&head.headers)?;
    let seen = seen.map(|id| Told::parse(id).ok_or_else(streams::not_an_id)).transpose()?;
    let place = api.streams.place()?;
    let mut news = api.watch.any();
    news.mark_unchanged();
    let last = api.desk.last_change().await.map_err(unreadable)?;
    let told = match seen {
        // Numbers that were never given out are of another store: from there nothing would ever come.
        Some(told) if told.change > last => return Err(streams::not_an_id()),
        Some(told) => told,
        None => Told { change: last, events: None },
    };
    let first = format!("{BEGIN}id: {}\n\n", told.id());
    let following = Following { api, news, behind: true, woken: false, again_at: None, told, _place: place };
    let rest = stream::unfold(following, Following::next);
    Ok(streams::answer(stream::iter([Bytes::from(first)]).chain(rest)))
}

fn unreadable(fault: StoreFault) -> Problem {
    match fault {
        StoreFault::Busy => Problem::new(&BUSY, "too many requests are waiting"),
        fault => {
            tracing::error!(%fault, "the changes of deliveries could not be read");
            Problem::new(&STORE_UNAVAILABLE, "the events could not be read")
        }
    }
}

/// An open stream.
struct Following<A, S> {
    api: Arc<Api<A, S>>,
    news: watch::Receiver<u64>,
    /// Whether there may be more in the store than was told.
    behind: bool,
    /// Whether somebody said so.
    woken: bool,
    /// When to look once more: a transaction that began earlier may end later, and what it has recorded
    /// is readable only then.
    again_at: Option<Instant>,
    told: Told,
    _place: streams::Place,
}

impl<A: Accept, S: Show> Following<A, S> {
    /// What is told next, when there is something; none at the end. Cancelling it loses nothing that a
    /// client cannot have again.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if self.api.shutdown.is_cancelled() {
                return None;
            }
            if self.behind {
                self.behind = false;
                self.news.mark_unchanged();
                let look = self.api.waiting.changes(&*self.api.desk, self.told.after(), PAGE).await;
                // Where they cannot be read the stream ends, and the client comes again.
                let changes = look.inspect_err(|fault| drop(unreadable(fault.clone()))).ok()?;
                if u32::try_from(changes.len()).unwrap_or(u32::MAX) >= PAGE {
                    self.behind = true;
                } else if !changes.is_empty() || self.woken {
                    self.again_at = Some(Instant::now() + AGAIN);
                }
                self.woken = false;
                let mut text = String::new();
                for change in changes {
                    self.told.tell(change, &mut text);
                }
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
                _ = self.news.changed() => self.woken = true,
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
}

/// How much of the feed a client was told; the id of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    /// Everything up to this change,
    change: Change,
    /// where of the last one only so many events were told; all of them where it is none.
    events: Option<usize>,
}

impl Told {
    /// `17`, or `812-17` where the database numbers transactions; with `.2` in the middle of a change.
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

    /// The change beyond which there is something to tell.
    fn after(self) -> Change {
        let Change { commit, number } = self.change;
        if self.events.is_some() { Change { commit, number: number.saturating_sub(1) } } else { self.change }
    }

    /// Writes the events of a change that were not told yet.
    fn tell(&mut self, Changed { change, recorded, settled }: Changed, text: &mut String) {
        let seen = self.events.filter(|_| self.change == change).unwrap_or(0);
        let data = OrderEvent {
            order_id: recorded.outcome.order_id.to_string(),
            correlation_id: recorded.outcome.correlation_id.to_string(),
            destination: Some(recorded.outcome.destination.to_string()),
            ..OrderEvent::default()
        };
        let delivery = views::order::delivery(recorded);
        let mut all: Vec<_> = Vec::with_capacity(delivery.attempts.len() + 2);
        // One that is pending is being sent again: its attempts were told with its end.
        if delivery.status != DeliveryStatus::Pending {
            let attempts = delivery.attempts.iter().cloned();
            all.extend(attempts.map(|attempt| ("attempt", OrderEvent { attempt: Some(attempt), ..data.clone() })));
            all.push((delivery.status.as_str(), OrderEvent { delivery: Some(delivery.clone()), ..data.clone() }));
        }
        if let Some(status) = settled {
            all.push(("settled", OrderEvent { destination: None, status: Some(status.into()), ..data }));
        }
        let count = all.len();
        for (place, (event, data)) in all.into_iter().enumerate().skip(seen) {
            *self = Self { change, events: Some(place + 1).filter(|told| *told < count) };
            streams::write(text, event, &self.id(), &data);
        }
        *self = Self { change, events: None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::openapi::shown_sample;
    use common::status::OrderStatus;
    use store::Recorded;

    fn at(number: u64) -> Change {
        Change { commit: 0, number }
    }

    fn changed(change: Change) -> Changed {
        let order = shown_sample();
        let attempts = [1, 2].map(|_| order.deliveries["inventory"].attempts[0].clone()).to_vec();
        let outcome = common::outcome::Outcome {
            event_id: common::event::EventId::fresh(),
            order_id: common::order::OrderId(order.order_id.parse().unwrap()),
            correlation_id: common::order::CorrelationId::parse(order.correlation_id).unwrap(),
            destination: "inventory".parse().unwrap(),
            status: common::outcome::OutcomeStatus::DeadLettered,
            reason: Some(common::outcome::Reason::Rejected),
            attempts,
            dead_letter: None,
            settled_at: order.created_at,
        };
        let recorded = Recorded { outcome, redriving: false };
        Changed { change, recorded, settled: Some(OrderStatus::PartiallyDelivered) }
    }

    fn values<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
        text.lines().filter_map(|line| line.strip_prefix(name)).collect()
    }

    #[test]
    fn from_whichever_event_a_client_goes_on_it_hears_the_rest_once() {
        let mut all = String::new();
        let mut told = Told { change: at(16), events: None };
        told.tell(changed(at(17)), &mut all);
        let kinds = values(&all, "event: ");
        assert_eq!(kinds, ["attempt", "attempt", "dead_lettered", "settled"]);
        assert_eq!(values(&all, "id: "), ["17.1", "17.2", "17.3", "17"]);
        for (place, id) in values(&all, "id: ").into_iter().enumerate() {
            let mut told = Told::parse(id).unwrap();
            assert_eq!((told.id().as_str(), told.after()), (id, at(if place == 3 { 17 } else { 16 })));
            let mut rest = String::new();
            if told.after() < at(17) {
                told.tell(changed(at(17)), &mut rest);
            }
            assert_eq!(values(&rest, "event: "), kinds[place + 1..], "after {id}");
        }
    }

    #[test]
    fn a_change_that_has_moved_on_is_told_whole() {
        let mut text = String::new();
        Told::parse("17.2").unwrap().tell(changed(at(18)), &mut text);
        assert_eq!(values(&text, "event: ").len(), 4);
    }

    #[test]
    fn what_is_no_id_of_an_event_is_none() {
        assert_eq!(Told::parse("812-17.2").map(Told::id).as_deref(), Some("812-17.2"));
        for bad in ["x", "-1", "1-", "1-2-3", "+1", "1.", ".1", "1.2.3", "1.x", "99999999999999999999999"] {
            assert_eq!(Told::parse(bad), None, "{bad}");
        }
    }
}
