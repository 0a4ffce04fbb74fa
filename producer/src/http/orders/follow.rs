//! `GET /v1/orders/{order_id}/events`: what happens to one order, until it is settled.

use std::{collections::BTreeMap, sync::Arc};

use api::{DeliveryStatus, Order, OrderEvent};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use common::{destination::Name, order::OrderId};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::{
    examples,
    streams::{self, BEGIN, COMMENT, HEARTBEAT, LastEventId, Permit},
    unknown,
    waiting::Subscription,
};
use crate::http::{
    Api,
    edge::{
        path::PathId,
        problem::{Problem, STORE, TOO_MANY_STREAMS, UNKNOWN_ORDER, problems},
    },
};

problems!(Refusals: STORE, [&UNKNOWN_ORDER, &TOO_MANY_STREAMS]);

/// Most destinations that the id of an event may name.
const MAX_DESTINATIONS: usize = 64;

/// Follow an order live
///
/// A stream of events: `attempt` for each attempt, `delivered` or `dead_lettered` for the end of each
/// delivery, and `settled` when no delivery of the order is pending any more, which ends the stream. What
/// happened before the stream was opened comes first. The data of an event is JSON: `order_id`,
/// `correlation_id`, and `destination` with `attempt` or `delivery`, or `status` in `settled`. A client
/// that is cut off continues with `Last-Event-ID`. A stream without events has a comment every 15 seconds.
#[utoipa::path(
    get,
    path = "/v1/orders/{order_id}/events",
    tag = "orders",
    params(
        ("order_id" = Uuid, Path, description = "The id that was returned when the order was accepted."),
        LastEventId,
    ),
    responses(
        (status = 200, description = "The events.", body = String, content_type = "text/event-stream",
         headers(("Cache-Control" = String, description = "`no-store`")),
         example = examples::events),
        (status = 204, description = "The client has received `settled`, and nothing has happened since: there is \
                                      no reason to reconnect."),
        Refusals,
    ),
)]
pub(super) async fn order_events(
    State(api): State<Arc<Api>>,
    PathId(id): PathId,
    LastEventId(last): LastEventId,
) -> Result<Response, Problem> {
    let order_id = id.map(OrderId).ok_or_else(unknown)?;
    let mut cursor = match last {
        Some(id) => Cursor::parse(&id).ok_or_else(streams::not_an_id)?,
        None => Cursor::default(),
    };
    let mut subscription = Subscription::to_known(&api.watch, order_id);
    subscription.renew();
    let order = api.limits.waiting.look(&api.desk, order_id).await?;
    let first = cursor.events_of(&order.ok_or_else(unknown)?);
    if first.is_empty() && cursor.settled {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return Ok(response);
    }
    let permit = api.limits.streams.permit()?;
    let first = format!("{BEGIN}{}{first}", if first.is_empty() { "\n" } else { "" });
    let open = OpenStream { api, order_id, subscription, cursor, _permit: permit };
    let rest = stream::unfold(open, OpenStream::next);
    Ok(streams::response(stream::iter([Bytes::from(first)]).chain(rest)))
}

/// An open stream.
struct OpenStream {
    api: Arc<Api>,
    order_id: OrderId,
    subscription: Subscription,
    cursor: Cursor,
    _permit: Permit,
}

impl OpenStream {
    /// What is sent next, as soon as there is something; `None` at the end. Cancelling it loses nothing
    /// that a client cannot get again.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let shutdown = self.api.shutdown.clone();
        loop {
            if self.cursor.settled || shutdown.is_cancelled() {
                return None;
            }
            if !self.subscription.changed_before(Instant::now() + HEARTBEAT, &shutdown).await {
                let comment = Bytes::from_static(COMMENT.as_bytes());
                return (!shutdown.is_cancelled()).then_some((comment, self));
            }
            self.subscription.renew();
            let look = self.api.limits.waiting.look(&self.api.desk, self.order_id).await;
            let order_id = self.order_id;
            // If the order cannot be read the stream ends, and the client reconnects.
            let order = look.inspect_err(|fault| tracing::error!(%order_id, %fault, "cannot read an order")).ok()??;
            let text = self.cursor.events_of(&order);
            if !text.is_empty() {
                return Some((text.into(), self));
            }
        }
    }
}

/// How much of an order a client has received. As the id of an event it travels with the client, so that
/// the server need not remember it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cursor {
    deliveries: BTreeMap<String, Received>,
    settled: bool,
}

/// How much of one delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Received {
    attempts: usize,
    /// When the end that the client received was recorded, in microseconds; 0 for none. A delivery whose
    /// dead letter is sent again ends again, later.
    ended_at: i64,
}

impl Cursor {
    /// `inventory:3:1767323045678000,fulfillment:0:0`, with `;settled` at the end.
    fn parse(id: &str) -> Option<Self> {
        let (deliveries, settled) = match id.strip_suffix(";settled") {
            Some(deliveries) => (deliveries, true),
            None => (id, false),
        };
        let mut cursor = Self { deliveries: BTreeMap::new(), settled };
        for delivery in deliveries.split(',') {
            let mut parts = delivery.splitn(3, ':');
            let (name, attempts, ended_at) = (parts.next()?, parts.next()?, parts.next()?);
            let received = Received { attempts: attempts.parse().ok()?, ended_at: ended_at.parse().ok()? };
            let is_name = name.parse::<Name>().is_ok();
            if !is_name || cursor.deliveries.insert(name.to_owned(), received).is_some() {
                return None;
            }
        }
        Some(cursor).filter(|cursor| cursor.deliveries.len() <= MAX_DESTINATIONS)
    }

    fn id(&self) -> String {
        let deliveries: Vec<_> = self
            .deliveries
            .iter()
            .map(|(name, Received { attempts, ended_at })| format!("{name}:{attempts}:{ended_at}"))
            .collect();
        deliveries.join(",") + if self.settled { ";settled" } else { "" }
    }

    /// The events of the order that the client has not received; the cursor moves beyond them.
    fn events_of(&mut self, order: &Order) -> String {
        let mut text = String::new();
        let data = OrderEvent {
            order_id: order.order_id.clone(),
            correlation_id: order.correlation_id.clone(),
            ..OrderEvent::default()
        };
        for (name, delivery) in &order.deliveries {
            let mut received = self.deliveries.get(name).copied().unwrap_or_default();
            let after = received.attempts;
            for (number, attempt) in delivery.numbered_attempts().skip_while(|(number, _)| *number < after) {
                received.attempts = number + 1;
                self.advance(name, received);
                let (destination, attempt) = (Some(name.clone()), Some(attempt.clone()));
                let data = OrderEvent { destination, attempt, ..data.clone() };
                streams::write(&mut text, "attempt", &self.id(), &data);
            }
            let ended_at = delivery.settled_at.map_or(0, |at| at.as_microsecond());
            if delivery.status != DeliveryStatus::Pending && received.ended_at != ended_at {
                received.ended_at = ended_at;
                self.advance(name, received);
                let (destination, ended) = (Some(name.clone()), Some(delivery.clone()));
                let data = OrderEvent { destination, delivery: ended, ..data.clone() };
                streams::write(&mut text, delivery.status.as_str(), &self.id(), &data);
            } else {
                self.deliveries.insert(name.clone(), received);
            }
        }
        if order.is_settled() && !self.settled {
            self.settled = true;
            let data = OrderEvent { status: Some(order.status.clone()), ..data };
            streams::write(&mut text, "settled", &self.id(), &data);
        }
        self.settled &= order.is_settled();
        text
    }

    /// The client receives more of a delivery, and so the end of the order once more.
    fn advance(&mut self, name: &str, received: Received) {
        self.deliveries.insert(name.to_owned(), received);
        self.settled = false;
    }
}

#[cfg(test)]
mod tests {
    use common::outcome::{Attempt, Reason};
    use jiff::Timestamp;

    use super::*;
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
                .map(|second| Attempt {
                    at: at(second),
                    duration_ms: 1,
                    status_code: Some(503),
                    error: None,
                    answer: None,
                    spent: None,
                })
                .collect(),
            settled_at: Some(at(attempts + 1)),
            ..Delivery::pending()
        }
    }

    #[test]
    fn a_client_that_continues_after_any_event_receives_the_rest_once() {
        let order = examples::shown_order();
        let mut cursor = Cursor::default();
        let all = cursor.events_of(&order);
        assert_eq!(kinds(&all), ["attempt", "delivered", "attempt", "dead_lettered", "settled"]);
        assert_eq!(cursor.events_of(&order), "");
        for (index, id) in ids(&all).into_iter().enumerate() {
            let mut cursor = Cursor::parse(id).unwrap();
            assert_eq!(cursor.id(), id);
            assert_eq!(kinds(&cursor.events_of(&order)), kinds(&all)[index + 1..], "after {id}");
        }
    }

    #[test]
    fn a_delivery_that_is_sent_again_continues_where_it_was() {
        let mut order = examples::shown_order();
        set(&mut order, "inventory", ended(DeliveryStatus::DeadLettered, 2));
        let mut cursor = Cursor::default();
        assert_eq!(kinds(&cursor.events_of(&order)).len(), 6);
        assert!(cursor.settled);
        let again = Delivery { attempts: ended(DeliveryStatus::Delivered, 2).attempts, ..Delivery::pending() };
        set(&mut order, "inventory", again);
        assert_eq!((cursor.events_of(&order).as_str(), cursor.settled), ("", false));
        set(&mut order, "inventory", ended(DeliveryStatus::Delivered, 3));
        assert_eq!(kinds(&cursor.events_of(&order)), ["attempt", "delivered", "settled"]);
    }

    #[test]
    fn a_malformed_event_id_is_refused() {
        for bad in ["x", "a:1", "a:1:2:3", "a:-1:0", "A:1:0", "a:1:0,a:1:0", ";settled", "a:1:0;other"] {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
        let many: Vec<_> = (0..65).map(|number| format!("a{number}:0:0")).collect();
        assert_eq!(Cursor::parse(&many.join(",")), None);
    }
}
