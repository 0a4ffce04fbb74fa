//! `GET /v1/orders/{order_id}/events`: an order as it goes, until it is settled.

use std::{collections::BTreeMap, sync::Arc};

use api::{Order, OrderEvent};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use common::{destination::Name, order::OrderId};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::{
    Accept, Api, Show,
    call::Call,
    openapi,
    problem::{BUSY, INTERNAL, INVALID_HEADER, Kind, Problem, STORE_UNAVAILABLE, TOO_MANY_STREAMS, UNKNOWN_ORDER},
    show_order::{order_id, unknown, unreadable},
    streams::{self, BEGIN, COMMENT, HEARTBEAT},
    waiting::News,
};
use common::status::DeliveryStatus;

/// Every way to refuse.
pub(super) static PROBLEMS: [&Kind; 6] =
    [&INVALID_HEADER, &UNKNOWN_ORDER, &BUSY, &TOO_MANY_STREAMS, &STORE_UNAVAILABLE, &INTERNAL];

/// Most destinations that an id of an event may name.
const MOST_NAMES: usize = 64;

/// Follow an order live
///
/// A stream of events: `attempt` for each attempt, `delivered` or `dead_lettered` for the end of each
/// delivery, and `settled` when the order has no pending delivery any more, with which the stream ends.
/// What happened before the stream was opened comes first. The data of an event is JSON: `order_id`,
/// `correlation_id`, and `destination` with `attempt` or `delivery`, or `status` in `settled`. A client
/// that is cut off goes on where it was by `Last-Event-ID`. Without news there is a comment every 15
/// seconds.
#[utoipa::path(
    get,
    path = "/v1/orders/{order_id}/events",
    tag = "orders",
    params(
        ("order_id" = Uuid, Path, description = "The id that was answered when the order was accepted."),
        ("Last-Event-ID" = Option<String>, Header, nullable = false,
         description = "The id of the last event that the client has seen."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    responses(
        (status = 200, description = "The events.", body = String, content_type = "text/event-stream",
         headers(
             ("X-Correlation-ID" = String, description = "The correlation id of this request, not the order's."),
             ("Cache-Control" = String, description = "`no-store`")
         ),
         example = openapi::events_example),
        (status = 204, description = "The client has seen `settled`, and nothing has happened since: there is no \
                                      reason to come again.",
         headers(("X-Correlation-ID" = String, description = "The correlation id of this request, not the order's."))),
    ),
)]
pub(super) async fn order_events<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let metrics = api.metrics.order_events.clone();
    let (head, _) = request.into_parts();
    let (call, sound) = Call::begin(&head.headers, &metrics);
    let answer = match sound {
        Ok(()) => begin(api, &head).await,
        Err(problem) => Err(problem),
    };
    call.end(answer)
}

async fn begin<A: Accept, S: Show>(api: Arc<Api<A, S>>, head: &Parts) -> Result<Response, Problem> {
    let path = head.uri.path();
    let order_id = path.strip_suffix("/events").and_then(order_id).ok_or_else(unknown)?;
    let mut told = match streams::last_event_id(&head.headers)? {
        Some(id) => Told::parse(id).ok_or_else(streams::not_an_id)?,
        None => Told::default(),
    };
    let mut news = News::of_known(&api.watch, order_id);
    news.heard();
    let shown = api.waiting.look(&api.orders, order_id).await.map_err(|fault| unreadable(order_id, &fault))?;
    let first = told.tell(&shown.ok_or_else(unknown)?);
    if first.is_empty() && told.settled {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return Ok(response);
    }
    let place = api.streams.place()?;
    let first = format!("{BEGIN}{}{first}", if first.is_empty() { "\n" } else { "" });
    let following = Following { api, order_id, news, told, _place: place };
    let rest = stream::unfold(following, Following::next);
    Ok(streams::answer(stream::iter([Bytes::from(first)]).chain(rest)))
}

/// An open stream.
struct Following<A, S> {
    api: Arc<Api<A, S>>,
    order_id: OrderId,
    news: News,
    told: Told,
    _place: streams::Place,
}

impl<A: Accept, S: Show> Following<A, S> {
    /// What is told next, when there is something; none at the end. Cancelling it loses nothing that a
    /// client cannot have again.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if self.told.settled || self.api.shutdown.is_cancelled() {
                return None;
            }
            if !self.news.wait_until(Instant::now() + HEARTBEAT, &self.api.shutdown).await {
                let alive = (Bytes::from_static(COMMENT.as_bytes()), self);
                return Some(alive).filter(|(_, this)| !this.api.shutdown.is_cancelled());
            }
            self.news.heard();
            // Where it cannot be read the stream ends, and the client comes again.
            let look = self.api.waiting.look(&self.api.orders, self.order_id).await;
            let order = look.inspect_err(|fault| drop(unreadable(self.order_id, fault))).ok()??;
            let text = self.told.tell(&order);
            if !text.is_empty() {
                return Some((text.into(), self));
            }
        }
    }
}

/// What of an order a client was told. As the id of an event it travels with the client, so that the
/// server need not remember it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    deliveries: BTreeMap<String, ToldOf>,
    settled: bool,
}

/// What of one delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ToldOf {
    attempts: usize,
    /// When the end that was told was known, in microseconds; 0 for none. A delivery whose dead letter
    /// is sent again ends again, later.
    ended_at: i64,
}

impl Told {
    /// `inventory:3:1767323045678000,fulfillment:0:0`, with `;settled` at the end.
    fn parse(id: &str) -> Option<Self> {
        let (deliveries, settled) = match id.strip_suffix(";settled") {
            Some(deliveries) => (deliveries, true),
            None => (id, false),
        };
        let mut told = Self { deliveries: BTreeMap::new(), settled };
        for delivery in deliveries.split(',') {
            let mut parts = delivery.splitn(3, ':');
            let (name, attempts, ended_at) = (parts.next()?.parse::<Name>().ok()?, parts.next()?, parts.next()?);
            let told_of = ToldOf { attempts: attempts.parse().ok()?, ended_at: ended_at.parse().ok()? };
            if told.deliveries.insert(name.to_string(), told_of).is_some() {
                return None;
            }
        }
        Some(told).filter(|told| told.deliveries.len() <= MOST_NAMES)
    }

    fn id(&self) -> String {
        let deliveries: Vec<_> = self
            .deliveries
            .iter()
            .map(|(name, ToldOf { attempts, ended_at })| format!("{name}:{attempts}:{ended_at}"))
            .collect();
        deliveries.join(",") + if self.settled { ";settled" } else { "" }
    }

    /// The events that were not told yet.
    fn tell(&mut self, order: &Order) -> String {
        let mut text = String::new();
        let data = OrderEvent {
            order_id: order.order_id.clone(),
            correlation_id: order.correlation_id.clone(),
            ..OrderEvent::default()
        };
        for (name, delivery) in &order.deliveries {
            let mut told = self.deliveries.get(name).copied().unwrap_or_default();
            for attempt in delivery.attempts.iter().skip(told.attempts) {
                told.attempts += 1;
                self.now(name, told);
                let (destination, attempt) = (Some(name.clone()), Some(attempt.clone()));
                let data = OrderEvent { destination, attempt, ..data.clone() };
                streams::write(&mut text, "attempt", &self.id(), &data);
            }
            let ended_at = delivery.settled_at.map_or(0, |at| at.as_microsecond());
            if delivery.status != DeliveryStatus::Pending && told.ended_at != ended_at {
                told.ended_at = ended_at;
                self.now(name, told);
                let (destination, ended) = (Some(name.clone()), Some(delivery.clone()));
                let data = OrderEvent { destination, delivery: ended, ..data.clone() };
                streams::write(&mut text, delivery.status.as_str(), &self.id(), &data);
            } else {
                self.deliveries.insert(name.clone(), told);
            }
        }
        let pending = !order.is_settled();
        if !pending && !self.settled {
            self.settled = true;
            streams::write(
                &mut text,
                "settled",
                &self.id(),
                &OrderEvent { status: Some(order.status.clone()), ..data },
            );
        }
        self.settled &= !pending;
        text
    }

    /// Something is told of a delivery, so that the order's end is to be told anew.
    fn now(&mut self, name: &str, told: ToldOf) {
        self.deliveries.insert(name.to_owned(), told);
        self.settled = false;
    }
}

#[cfg(test)]
mod tests {
    use common::outcome::{Attempt, Reason};
    use jiff::Timestamp;

    use super::*;
    use crate::http::openapi::shown_sample;
    use api::Delivery;
    use common::status::fold;

    fn kinds(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("event: ")).collect()
    }

    fn ids(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
    }

    fn set(order: &mut Order, name: &str, delivery: Delivery) {
        order.deliveries.insert(name.to_owned(), delivery);
        order.status = fold(order.deliveries.values().filter_map(|delivery| delivery.status.known())).into();
    }

    fn ended(status: DeliveryStatus, attempts: i64) -> Delivery {
        let at = |second| Timestamp::from_second(second).unwrap();
        Delivery {
            status: status.into(),
            reason: (status == DeliveryStatus::DeadLettered).then_some(Reason::Rejected.into()),
            attempts: (1..=attempts)
                .map(|second| Attempt { at: at(second), duration_ms: 1, status_code: Some(503), error: None })
                .collect(),
            settled_at: Some(at(attempts + 1)),
        }
    }

    #[test]
    fn from_whichever_event_a_client_goes_on_it_hears_the_rest_once() {
        let order = shown_sample();
        let mut told = Told::default();
        let all = told.tell(&order);
        assert_eq!(kinds(&all), ["attempt", "delivered", "attempt", "dead_lettered", "settled"]);
        assert_eq!(told.tell(&order), "");
        for (place, id) in ids(&all).into_iter().enumerate() {
            let mut told = Told::parse(id).unwrap();
            assert_eq!(told.id(), id);
            assert_eq!(kinds(&told.tell(&order)), kinds(&all)[place + 1..], "after {id}");
        }
    }

    #[test]
    fn a_delivery_that_is_sent_again_goes_on_where_it_was() {
        let mut order = shown_sample();
        set(&mut order, "inventory", ended(DeliveryStatus::DeadLettered, 2));
        let mut told = Told::default();
        assert_eq!(kinds(&told.tell(&order)).len(), 6);
        assert!(told.settled);
        let again = Delivery { attempts: ended(DeliveryStatus::Delivered, 2).attempts, ..Delivery::pending() };
        set(&mut order, "inventory", again);
        assert_eq!((told.tell(&order).as_str(), told.settled), ("", false));
        set(&mut order, "inventory", ended(DeliveryStatus::Delivered, 3));
        assert_eq!(kinds(&told.tell(&order)), ["attempt", "delivered", "settled"]);
    }

    #[test]
    fn what_is_no_id_of_an_event_is_none() {
        for bad in ["x", "a:1", "a:1:2:3", "a:-1:0", "A:1:0", "a:1:0,a:1:0", ";settled", "a:1:0;other"] {
            assert_eq!(Told::parse(bad), None, "{bad}");
        }
        let many: Vec<_> = (0..65).map(|number| format!("a{number}:0:0")).collect();
        assert_eq!(Told::parse(&many.join(",")), None);
    }
}
