//! The call that a destination makes for an order.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::Barrier;

use super::{
    Request,
    api::Reply,
    orders::{awkward_order, largest_order, sample_order},
    report::{ConformanceReport, equal, holds},
    subject::{Subject, a_call, attempt, describe},
};
use crate::{
    destination::{Call, Destination},
    event::OrderCreated,
};

/// How many orders are delivered at the same time.
const TOGETHER: usize = 16;

/// Returns whether the destination makes a call at all.
pub(super) async fn check<D: Destination>(subject: &Subject<'_, D>, report: &mut ConformanceReport) -> bool {
    subject.api.reply_with(Reply::status(200));
    let (order, call) = (sample_order(), a_call());
    let destination = match subject.made(subject.api.base()) {
        Ok(destination) => destination,
        Err(fault) => return report.note("it is made from its configuration", Err(fault)),
    };
    report.note("making it calls nothing", equal(subject.api.take_requests(), Vec::<Request>::new()));
    let request = match subject.one_call(&destination, &order, &call).await {
        Ok((_, request)) => request,
        Err(fault) => return report.note("an attempt makes one call", Err(fault)),
    };
    report.note("an attempt makes one call", Ok(()));
    report.note("the call is a POST", equal(request.method.as_str(), "POST"));
    report.note("its Content-Type is JSON", content_type(&request));
    report.note("its body has the order's id and each item's product and quantity", has_content(&request, &order));
    report.note("its path and query show no secret", subject.hides_secrets(&request.target));

    for (name, value) in carried(&order, &call) {
        let found = equal(request.header(name), vec![value.as_str()]);
        let found = found.map_err(|found| format!("{found}\n`Call::headers` adds it to the request"));
        report.note(format!("it carries {name}, once, as given"), found);
    }
    report.note("texts arrive unchanged, whatever their characters", whole(subject, &awkward_order()).await);
    report.note("the largest order arrives whole", whole(subject, &largest_order()).await);
    report.note("every attempt has the same body and key, and its own traceparent", again(subject, &order).await);
    report.note("every order goes to the same path", same_path(subject, &request).await);
    report.note("the path is below the base address, which may have a path too", below(subject, &request).await);
    report.note("orders delivered one after the other share a connection", one_connection(subject).await);
    report.note("many orders are delivered at the same time", together(subject).await);
    true
}

fn content_type(request: &Request) -> Result<(), String> {
    let found = request.header("Content-Type");
    let json = |text: &str| {
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
    };
    holds(matches!(found.as_slice(), [one] if json(one)), || format!("found {found:?}"))
}

/// The headers that every call carries.
fn carried(order: &OrderCreated, call: &Call) -> [(&'static str, String); 3] {
    [
        ("Idempotency-Key", call.idempotency_key.to_string()),
        ("X-Correlation-ID", order.correlation_id.to_string()),
        ("traceparent", call.trace.to_string()),
    ]
}

/// Whether a body is JSON and has the content of the order, under whatever names.
fn has_content(request: &Request, order: &OrderCreated) -> Result<(), String> {
    let body: Value =
        serde_json::from_slice(&request.body).map_err(|fault| format!("the body is not JSON: {fault}"))?;
    let mut found = HashSet::new();
    collect(&body, &mut found);
    let has = |part: &str| found.iter().any(|text| text.contains(part));
    let missing = |what: &str| {
        let body: String = request.text().chars().take(400).collect();
        Err(format!("{what} is missing in a body of {} bytes: {body}", request.body.len()))
    };
    if !has(&order.order_id.to_string()) {
        return missing("the order's id");
    }
    for item in order.items.as_slice() {
        if !has(item.product_id.as_str()) {
            return missing(&format!("the product {:?}", item.product_id.as_str()));
        }
        if !has(&item.qty.get().to_string()) {
            return missing(&format!("the quantity of {:?}", item.product_id.as_str()));
        }
    }
    Ok(())
}

/// Every text and number in a value.
fn collect(value: &Value, found: &mut HashSet<String>) {
    match value {
        Value::String(text) => drop(found.insert(text.clone())),
        Value::Number(number) => drop(found.insert(number.to_string())),
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

async fn whole<D: Destination>(subject: &Subject<'_, D>, order: &OrderCreated) -> Result<(), String> {
    let destination = subject.made(subject.api.base())?;
    let (_, request) = subject.one_call(&destination, order, &a_call()).await?;
    has_content(&request, order)
}

async fn again<D: Destination>(subject: &Subject<'_, D>, order: &OrderCreated) -> Result<(), String> {
    let (one, other) = (subject.made(subject.api.base())?, subject.made(subject.api.base())?);
    let first_call = a_call();
    let (_, first) = subject.one_call(&one, order, &first_call).await?;
    // Another process may make the second attempt.
    for destination in [&one, &other] {
        let call = Call { trace: first_call.trace.child(), ..first_call.clone() };
        let (_, request) = subject.one_call(destination, order, &call).await?;
        equal(request.text(), first.text())?;
        for (name, value) in carried(order, &call) {
            equal(request.header(name), vec![value.as_str()])?;
        }
    }
    Ok(())
}

async fn same_path<D: Destination>(subject: &Subject<'_, D>, first: &Request) -> Result<(), String> {
    let destination = subject.made(subject.api.base())?;
    let (_, other) = subject.one_call(&destination, &awkward_order(), &a_call()).await?;
    equal(&other.target, &first.target)
}

async fn below<D: Destination>(subject: &Subject<'_, D>, first: &Request) -> Result<(), String> {
    for (suffix, prefix) in [("/", ""), ("/some/path", "/some/path"), ("/some/path/", "/some/path")] {
        let destination = subject.made(&format!("{}{suffix}", subject.api.base()))?;
        let (_, request) = subject.one_call(&destination, &sample_order(), &a_call()).await?;
        equal(request.target.as_str(), format!("{prefix}{}", first.target)).map_err(|found| {
            format!("with {suffix} at the end of the address\n{found}\n`http_client::below` builds such addresses")
        })?;
    }
    Ok(())
}

async fn one_connection<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    let destination = subject.made(subject.api.base())?;
    let before = subject.api.connections();
    for _ in 0..3 {
        subject
            .one_call(&destination, &sample_order(), &a_call())
            .await?
            .0
            .map_err(|fault| format!("found {fault:?}"))?;
    }
    let made = subject.api.connections() - before;
    holds(made == 1, || format!("three orders took {made} connections; `HttpClient::send` reuses them"))
}

async fn together<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    let destination = subject.made(subject.api.base())?;
    subject.api.reply_with(Reply::Together(Arc::new(Barrier::new(TOGETHER))));
    let attempts = (0..TOGETHER).map(|_| async { attempt(&destination, &sample_order(), &a_call()).await });
    let ended = join_all(attempts).await;
    let arrived = subject.api.take_requests().len();
    subject.api.reply_with(Reply::status(200));
    match ended.iter().find(|ended| !matches!(ended, Ok(Ok(_)))) {
        Some(ended) => {
            let found = ended.as_ref().map_or_else(Clone::clone, describe);
            Err(format!("of {TOGETHER}, {arrived} arrived at the same time; one was {found}"))
        }
        None => Ok(()),
    }
}
