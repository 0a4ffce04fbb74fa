//! The OpenAPI document, made from the types that are read and answered and from the table of
//! problems, so that it cannot drift from them.

use std::collections::{BTreeMap, BTreeSet};

use common::{
    order::{CorrelationId, OrderId},
    outcome::{Attempt, Reason},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{
    OpenApi as _,
    openapi::{
        Content, HeaderBuilder, Object, OpenApi, Ref, ResponseBuilder, Type,
        example::ExampleBuilder,
        path::{HttpMethod, Operation},
    },
};
use uuid::Uuid;

use super::{
    archive_dead_letter, control_redrive, create_redrive,
    create_redrive::PlanView,
    events,
    faults::{Fault, Faults, Flaw, Place},
    group_dead_letters,
    group_dead_letters::DeadLetterGroup,
    headers::CORRELATION_ID,
    list_dead_letters, list_orders,
    new_order::NewOrder,
    order_events, place_batch,
    place_batch::{BatchResult, ItemResult},
    place_order, problem,
    problem::{Kind, PROBLEM_JSON, Problem, ProblemBody},
    reconciliation,
    reconciliation::ReconciliationView,
    redrives,
    redrives::RedriveView,
    schema::{Accepted, Health},
    show_dead_letter,
    show_dead_letter::DeadLetterView,
    show_order,
    streams::{self, EventData},
};
use crate::{
    reconcile::{Finding, Seen},
    status::{DeliveryStatus, DeliveryView, OrderStatus, OrderView},
    store::{self, DeadLetter, Filter, Link, Opened, RedriveStatus, Refusal, Refused, State},
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Tandem",
        description = "One order in, every destination told, nothing lost. An order is on disk when it is accepted; \
                       each destination is then told independently, as often as it takes, under one idempotency key. \
                       Whatever cannot be delivered is shown as dead-lettered, with its reason.\n\n\
                       Every answer bears X-Correlation-ID. Every refusal is a problem (RFC 9457), also where a path \
                       (404) or a method (405) is unknown.",
        license(name = "MIT", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        place_order::place_order,
        place_batch::place_batch,
        list_orders::list_orders,
        show_order::show_order,
        order_events::order_events,
        events::events,
        list_dead_letters::list_dead_letters,
        group_dead_letters::group_dead_letters,
        show_dead_letter::show_dead_letter,
        archive_dead_letter::archive_dead_letter,
        archive_dead_letter::unarchive_dead_letter,
        create_redrive::create,
        redrives::list,
        redrives::show,
        control_redrive::pause,
        control_redrive::resume,
        control_redrive::cancel,
        reconciliation::reconciliation,
        livez,
        readyz,
        metrics,
        doctor,
    ),
    components(schemas(ProblemBody<'_>, EventData<'_>)),
    tags(
        (name = "orders", description = "Placing and following orders"),
        (name = "dead letters", description = "What could not be delivered, and why"),
        (name = "redrives", description = "Sending dead letters again"),
        (name = "operations", description = "For the people who run it"),
    ),
)]
struct Document;

/// The document.
pub(super) fn document() -> OpenApi {
    let mut document = Document::openapi();
    let problems: [(&str, HttpMethod, &[&'static Kind]); 18] = [
        ("/v1/orders", HttpMethod::Post, &place_order::PROBLEMS),
        ("/v1/orders:batch", HttpMethod::Post, &place_batch::PROBLEMS),
        ("/v1/orders", HttpMethod::Get, &list_orders::PROBLEMS),
        ("/v1/orders/{order_id}", HttpMethod::Get, &show_order::PROBLEMS),
        ("/v1/dead-letters", HttpMethod::Get, &list_dead_letters::PROBLEMS),
        ("/v1/dead-letters:groups", HttpMethod::Get, &group_dead_letters::PROBLEMS),
        ("/v1/dead-letters/{id}", HttpMethod::Get, &show_dead_letter::PROBLEMS),
        ("/v1/dead-letters/{id}/archive", HttpMethod::Post, &archive_dead_letter::PROBLEMS),
        ("/v1/dead-letters/{id}/unarchive", HttpMethod::Post, &archive_dead_letter::PROBLEMS),
        ("/v1/redrives", HttpMethod::Post, &create_redrive::CREATE_PROBLEMS),
        ("/v1/redrives", HttpMethod::Get, &redrives::LIST_PROBLEMS),
        ("/v1/redrives/{redrive_id}", HttpMethod::Get, &redrives::SHOW_PROBLEMS),
        ("/v1/redrives/{redrive_id}/pause", HttpMethod::Post, &control_redrive::CONTROL_PROBLEMS),
        ("/v1/redrives/{redrive_id}/resume", HttpMethod::Post, &control_redrive::CONTROL_PROBLEMS),
        ("/v1/redrives/{redrive_id}/cancel", HttpMethod::Post, &control_redrive::CONTROL_PROBLEMS),
        ("/v1/reconciliation", HttpMethod::Get, &reconciliation::PROBLEMS),
        ("/v1/orders/{order_id}/events", HttpMethod::Get, &order_events::PROBLEMS),
        ("/v1/events", HttpMethod::Get, &events::PROBLEMS),
    ];
    for (path, method, kinds) in problems {
        let item = document.paths.paths.get_mut(path);
        let operation = item.and_then(|item| match method {
            HttpMethod::Post => item.post.as_mut(),
            _ => item.get.as_mut(),
        });
        if let Some(operation) = operation {
            add_problems(operation, kinds);
        }
    }
    document
}

/// Adds one answer per status, with one example per type of problem.
fn add_problems(operation: &mut Operation, kinds: &[&'static Kind]) {
    let statuses: BTreeSet<_> = kinds.iter().map(|kind| kind.status).collect();
    for status in statuses {
        let kinds: Vec<_> = kinds.iter().filter(|kind| kind.status == status).collect();
        let titles: Vec<_> = kinds.iter().map(|kind| kind.title).collect();
        let examples = kinds.iter().map(|kind| {
            let example = ExampleBuilder::new().summary(kind.title).value(Some(problem_example(kind)));
            (kind.name, example.build())
        });
        let content =
            Content::builder().schema(Some(Ref::from_schema_name("Problem"))).examples_from_iter(examples).build();
        let mut response = ResponseBuilder::new()
            .description(titles.join("; "))
            .content(PROBLEM_JSON, content)
            .header(CORRELATION_ID, text_header("The correlation id of the request, or a fresh one."));
        if kinds.iter().any(|kind| kind.retry_after.is_some()) {
            response = response.header("Retry-After", text_header("When to try again, in seconds."));
        }
        operation.responses.responses.insert(status.as_u16().to_string(), response.build().into());
    }
}

fn text_header(description: &str) -> utoipa::openapi::Header {
    HeaderBuilder::new().schema(Some(Object::with_type(Type::String))).description(Some(description)).build()
}

fn problem_example(kind: &'static Kind) -> Value {
    let problem = if kind.name == problem::INVALID_ORDER.name {
        let mut faults = Faults::default();
        let body = Place::BODY;
        let items = body.field("items");
        let item = items.item(0);
        faults.add(&body.field("customer_id"), &Flaw::Missing);
        faults.add(&item.field("qty"), &common::order::Invalid::QtyOutOfRange.into());
        Problem::invalid(faults)
    } else if kind.name == problem::INVALID_HEADER.name {
        Problem::header(CORRELATION_ID, "must consist of visible ASCII characters")
    } else if kind.name == problem::INVALID_QUERY.name {
        Problem::query(vec![Fault::parameter("limit", "must be a whole number from 1 to 500".to_owned())])
    } else if kind.name == problem::INVALID_BATCH.name {
        let mut faults = Faults::default();
        faults.add(&Place::BODY.field("orders"), &Flaw::Missing);
        Problem::invalid_batch(faults)
    } else {
        Problem::new(kind, kind.help)
    };
    value(&problem.body(&sample().1))
}

/// An order to place.
pub(super) fn new_order_example() -> Value {
    json!({"customer_id": "c-42", "items": [{"product_id": "p-7", "qty": 2}]})
}

/// The answer to it.
pub(super) fn accepted_example() -> Value {
    let (order_id, correlation_id) = sample();
    let deliveries = ["fulfillment", "inventory"].map(|name| (name.to_owned(), DeliveryView::pending())).into();
    value(&Accepted {
        order_id,
        correlation_id: &correlation_id,
        status: OrderStatus::Pending,
        deliveries: &deliveries,
    })
}

/// The same order, after one destination was told and the other has refused.
pub(super) fn shown_example() -> Value {
    shown_sample().map(|shown| value(&shown)).unwrap_or_default()
}

/// A page with it.
pub(super) fn listed_example() -> Value {
    json!({"items": [shown_example()], "next_cursor": "AZt8sk1eejGfbiyNWxp-QA"})
}

/// Two orders to place, the second under the key of the first.
pub(super) fn new_batch_example() -> Value {
    let mut keyed = new_order_example();
    keyed["idempotency_key"] = json!("order-8e03978e");
    let mut reused = keyed.clone();
    reused["customer_id"] = json!("c-43");
    json!({"orders": [keyed, reused]})
}

/// The answer to them.
pub(super) fn batch_example() -> Value {
    let (order_id, correlation_id) = sample();
    let deliveries = ["fulfillment", "inventory"].map(|name| (name.to_owned(), DeliveryView::pending())).into();
    let order =
        Accepted { order_id, correlation_id: &correlation_id, status: OrderStatus::Pending, deliveries: &deliveries };
    let problem = Problem::new(&problem::IDEMPOTENCY_KEY_REUSED, "idempotency_key stands for another order");
    let items = vec![
        ItemResult { status: 202, order: Some(order), replayed: false, problem: None },
        ItemResult { status: 422, order: None, replayed: false, problem: Some(problem.body(&correlation_id)) },
    ];
    value(&BatchResult { items })
}

/// The events at the end of an order.
pub(super) fn events_example() -> Value {
    let mut text = String::new();
    if let Some(order) = shown_sample() {
        let data = EventData {
            order_id: order.order_id,
            correlation_id: &order.correlation_id,
            destination: None,
            attempt: None,
            delivery: None,
            status: None,
        };
        let delivery = order.deliveries.get("fulfillment");
        let ended = EventData { destination: Some("fulfillment"), delivery, ..data };
        streams::write(&mut text, "delivered", "17.2", &ended);
        streams::write(&mut text, "settled", "17", &EventData { status: Some(order.status), ..data });
    }
    Value::String(text)
}

/// The order that the examples show.
pub(super) fn shown_sample() -> Option<OrderView> {
    let (order_id, correlation_id) = sample();
    // 2026-01-02T03:04:05.678Z
    let created_at = Timestamp::UNIX_EPOCH + SignedDuration::from_millis(1_767_323_045_678);
    let settled = |status, reason, status_code| {
        let at = created_at + SignedDuration::from_millis(3);
        let attempts = vec![Attempt { at, duration_ms: 12, status_code: Some(status_code), error: None }];
        let settled_at = Some(at + SignedDuration::from_millis(12));
        DeliveryView { status, reason, attempts, settled_at }
    };
    let deliveries = BTreeMap::from([
        ("fulfillment".to_owned(), settled(DeliveryStatus::Delivered, None, 200)),
        ("inventory".to_owned(), settled(DeliveryStatus::DeadLettered, Some(Reason::Rejected), 422)),
    ]);
    let order = NewOrder::read(new_order_example().to_string().as_bytes());
    order.ok().map(|order| OrderView {
        order_id,
        correlation_id,
        customer_id: order.customer_id,
        items: order.items,
        status: OrderStatus::PartiallyDelivered,
        created_at,
        deliveries,
    })
}

/// A page with one dead letter.
pub(super) fn dead_letters_example() -> Value {
    json!({"items": [dead_letter_item_example()], "next_cursor": null})
}

/// A dead letter as it is listed.
pub(super) fn dead_letter_item_example() -> Value {
    let (order_id, _) = sample();
    value(&list_dead_letters::example(sample_letter(), order_id.0, sample_time()))
}

/// The same after it was archived.
pub(super) fn archived_example() -> Value {
    let mut example = dead_letter_item_example();
    example["archived"] = true.into();
    example
}

/// A note.
pub(super) fn note_example() -> Value {
    json!({"note": "sold out; the customer was told"})
}

/// A page with one group.
pub(super) fn dead_letter_groups_example() -> Value {
    let group = DeadLetterGroup {
        destination: "inventory".to_owned(),
        reason: Reason::Rejected,
        status_code: Some(422),
        error: None,
        count: 17,
        first_failed_at: sample_time(),
        last_failed_at: sample_time() + SignedDuration::from_secs(60),
        sample_id: sample_letter(),
    };
    json!({"items": [value(&group)], "next_cursor": null})
}

/// A dead letter with everything.
pub(super) fn dead_letter_example() -> Value {
    let (order_id, correlation_id) = sample();
    let (id, failed_at) = (sample_letter(), sample_time());
    let properties = json!({"message_id": Uuid::nil(), "type": "OrderCreated", "content_type": "application/json",
        "correlation_id": correlation_id, "delivery_mode": 2});
    let death = json!({"reason": "rejected", "queue": "orders.inventory", "exchange": "orders", "routing-keys": [""],
        "count": 1, "time": "2026-01-02T03:04:05Z"});
    let (state, reason, status_code, error) = (State::Dead, Reason::Rejected, Some(422), None);
    value(&DeadLetterView::from(Opened {
        letter: DeadLetter {
            id,
            order_id: Some(order_id),
            destination: "inventory".to_owned(),
            state,
            reason,
            status_code,
            error: error.clone(),
            failed_at,
            key_used_at: None,
            attempts: vec![Attempt { at: failed_at, duration_ms: 12, status_code, error: None }],
            parent: None,
            redrives: 0,
            archived_at: None,
            note: None,
        },
        content: store::Content {
            body: br#"{"event_type":"OrderCreated"}"#.to_vec(),
            headers: serde_json::Map::new(),
            properties: properties.as_object().cloned().unwrap_or_default(),
            deaths: vec![death],
        },
        lineage: vec![Link { id, state, reason, status_code, error, failed_at }],
    }))
}

fn sample_letter() -> Uuid {
    Uuid::from_u128(0x019b_7cb2_4d5e_7a31_9f6e_2c8d_5b1a_7e42)
}

/// 2026-01-02T03:04:05.678Z
fn sample_time() -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_millis(1_767_323_045_678)
}

/// Every dead letter that one destination has refused, at the usual rate.
pub(super) fn new_redrive_example() -> Value {
    json!({"filter": {"destination": "inventory", "status_code": 422}, "rate": 50, "concurrency": 100})
}

/// What that would send.
pub(super) fn plan_example() -> Value {
    let letter = list_dead_letters::example(sample_letter(), sample().0.0, sample_time());
    let refused = vec![Refused { reason: Refusal::KeyExpired, count: 3 }];
    value(&PlanView { matched: 1, sample: vec![letter], refused })
}

/// A redrive on its way.
pub(super) fn redrive_example() -> Value {
    let at = Timestamp::UNIX_EPOCH + SignedDuration::from_millis(1_767_323_045_678);
    value(&RedriveView {
        id: sample_redrive_id(),
        status: RedriveStatus::Running,
        detail: None,
        filter: Some(Filter { destination: Some("inventory".to_owned()), status_code: Some(422), ..Filter::default() }),
        rate: 50.0,
        concurrency: 100,
        stop_after_failed_share: 0.5,
        edited: false,
        new_key: false,
        matched: 1_200,
        sent: 800,
        delivered: 730,
        dead_lettered: 4,
        cancelled: 0,
        remaining: 466,
        refused: vec![Refused { reason: Refusal::KeyExpired, count: 3 }],
        created_at: at,
        updated_at: at,
    })
}

/// A page with it.
pub(super) fn redrives_example() -> Value {
    json!({"items": [redrive_example()], "next_cursor": null})
}

/// What a sweep found after a queue was emptied by hand.
pub(super) fn reconciliation_example() -> Value {
    // 2026-01-02T03:04:05.678Z
    let since = Timestamp::UNIX_EPOCH + SignedDuration::from_millis(1_767_323_045_678);
    let destination = "inventory".to_owned();
    let overdue = vec![Finding { order_id: Some(sample().0), destination, since, seen: Seen::Published }];
    let checked_at = Some(since + SignedDuration::from_mins(16));
    value(&ReconciliationView { checked_at, overdue, overdue_total: 1, detail: None })
}

fn sample_redrive_id() -> Uuid {
    Uuid::from_u128(0x019b_7cb2_4d5e_7a31_9f6e_2c8d_5b1a_7e41)
}

fn sample() -> (OrderId, CorrelationId) {
    let correlation_id = CorrelationId::parse("checkout-8e03978e".to_owned());
    let order_id = Uuid::from_u128(0x019b_7cb2_4d5e_7a31_9f6e_2c8d_5b1a_7e40);
    (OrderId(order_id), correlation_id.unwrap_or_else(|_| CorrelationId::fresh()))
}

fn value(body: &impl Serialize) -> Value {
    serde_json::to_value(body).unwrap_or_default()
}

/// Alive
///
/// Whether every part of the process has shown a sign of life lately.
#[utoipa::path(get, path = "/livez", tag = "operations", responses(
    (status = 200, description = "It is alive", body = Health),
    (status = 503, description = "Some part has been silent for too long; restart it", body = Health),
))]
#[expect(dead_code, reason = "served by the common crate, which has no OpenAPI document")]
fn livez() {}

/// Ready
///
/// Whether the process can do its work, and for each part that is down, why.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses(
    (status = 200, description = "It is ready, or degraded: it does its work and makes up for something later",
     body = Health),
    (status = 503, description = "It cannot do its work", body = Health),
))]
#[expect(dead_code, reason = "served by the common crate, which has no OpenAPI document")]
fn readyz() {}

/// Doctor
///
/// Examines the store, the broker and what else this process depends on, and says of each fault what to do about it.
/// Declares what is missing on the broker; takes no message and sends none. Repeated once a second at most.
#[utoipa::path(get, path = "/v1/doctor", tag = "operations", responses(
    (status = 200, description = "What was found, good or bad", body = common::doctor::Examination),
))]
#[expect(dead_code, reason = "served by the common crate, which has no OpenAPI document")]
fn doctor() {}

/// Metrics
///
/// What the process counts, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses(
    (status = 200, description = "The metrics, in the OpenMetrics text format", body = String,
     content_type = "application/openmetrics-text"),
))]
#[expect(dead_code, reason = "served by the common crate, which has no OpenAPI document")]
fn metrics() {}
