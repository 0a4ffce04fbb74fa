//! The OpenAPI document, made from the types that are read and answered and from the table of
//! problems, so that it cannot drift from them.

mod examples;

use std::collections::BTreeSet;

use common::health::HealthReport;
use utoipa::{
    OpenApi as _,
    openapi::{
        Content, HeaderBuilder, Object, OpenApi, Ref, ResponseBuilder, Type,
        example::ExampleBuilder,
        path::{HttpMethod, Operation},
    },
};

use self::examples::problem_example;
pub(super) use self::examples::*;
use super::{
    archive_dead_letter, control_redrive, create_redrive, events, group_dead_letters,
    headers::CORRELATION_ID,
    list_dead_letters, list_orders, order_events, place_batch, place_order,
    problem::{Kind, PROBLEM_JSON},
    reconciliation, redrives, show_dead_letter, show_order,
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
    components(schemas(api::Problem, api::OrderEvent)),
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

/// Alive
///
/// Whether every part of the process has shown a sign of life lately.
#[utoipa::path(get, path = "/livez", tag = "operations", responses(
    (status = 200, description = "It is alive", body = HealthReport),
    (status = 503, description = "Some part has been silent for too long; restart it", body = HealthReport),
))]
#[expect(dead_code, reason = "served by the common crate, which has no OpenAPI document")]
fn livez() {}

/// Ready
///
/// Whether the process can do its work, and for each part that is down, why.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses(
    (status = 200, description = "It is ready, or degraded: it does its work and makes up for something later",
     body = HealthReport),
    (status = 503, description = "It cannot do its work", body = HealthReport),
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
