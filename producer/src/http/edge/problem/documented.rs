//! Problems in the OpenAPI document: for each status a response, with an example of each type.

use std::collections::{BTreeMap, BTreeSet};

use api::Fault;
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder, example::ExampleBuilder};

use super::{
    INTERNAL, INVALID_BATCH, INVALID_HEADER, INVALID_ORDER, INVALID_QUERY, PROBLEM_JSON, Problem, ProblemType,
};
use crate::http::edge::{
    correlation::CORRELATION_ID,
    faults::{Faults, Flaw, Pointer},
    openapi::text_header,
    sample,
};

/// Declares the problems of an operation, for its `responses(...)`.
///
/// `problems!(Refusals: STORE, [&UNKNOWN_ORDER]);` Each operation also has [`INVALID_HEADER`] and
/// [`INTERNAL`].
macro_rules! problems {
    ($name:ident: $($types:expr),* $(,)?) => {
        struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                $crate::http::edge::problem::documented(&[$(&$types[..]),*])
            }
        }
    };
}
pub(in crate::http) use problems;

/// The responses for these types of problems, by status.
pub(in crate::http) fn documented(groups: &[&[&'static ProblemType]]) -> BTreeMap<String, RefOr<Response>> {
    let kinds: Vec<_> = [&INVALID_HEADER].into_iter().chain(groups.concat()).chain([&INTERNAL]).collect();
    let statuses: BTreeSet<_> = kinds.iter().map(|kind| kind.status).collect();
    let response = |status| {
        let kinds: Vec<_> = kinds.iter().filter(|kind| kind.status == status).collect();
        let titles: Vec<_> = kinds.iter().map(|kind| kind.title).collect();
        let examples = kinds.iter().map(|kind| {
            let example = ExampleBuilder::new().summary(kind.title).value(Some(example(kind)));
            (kind.name, example.build())
        });
        let schema = Ref::from_schema_name("Problem");
        let content = Content::builder().schema(Some(schema)).examples_from_iter(examples).build();
        let response = ResponseBuilder::new().description(titles.join("; ")).content(PROBLEM_JSON, content);
        if kinds.iter().any(|kind| kind.retry_after.is_some()) {
            response.header("Retry-After", text_header("When to try again, in seconds.")).build()
        } else {
            response.build()
        }
    };
    statuses.into_iter().map(|status| (status.as_u16().to_string(), response(status).into())).collect()
}

/// The body of a problem of this type.
fn example(kind: &'static ProblemType) -> serde_json::Value {
    let body = Pointer::BODY;
    let mut faults = Faults::default();
    let problem = if kind.name == INVALID_ORDER.name {
        faults.add(&body.field("customer_id"), &Flaw::Missing);
        faults.add(&body.field("items").item(0).field("qty"), &common::order::Invalid::QtyOutOfRange.into());
        Problem::invalid_order(faults)
    } else if kind.name == INVALID_BATCH.name {
        faults.add(&body.field("orders"), &Flaw::Missing);
        Problem::invalid(kind, "batch", faults)
    } else if kind.name == INVALID_HEADER.name {
        Problem::header(CORRELATION_ID, "must consist of visible ASCII characters")
    } else if kind.name == INVALID_QUERY.name {
        let detail = "must be a whole number from 1 to 500".to_owned();
        Problem::query(vec![Fault { parameter: Some("limit".to_owned()), detail, ..Fault::default() }])
    } else {
        Problem::new(kind, kind.help)
    };
    sample::json(&problem.body(&sample::correlation_id()))
}
