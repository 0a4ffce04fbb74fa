//! What the documents say of messages and calls is compared with those that are sent.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use common::{
    broker::{
        dead_letter::REDRIVEN,
        topology::{Names, dead_letter_queue},
    },
    destination::Destination,
    event::{Decoded, OrderCreated, decode},
    idempotency,
    outcome::Report,
    testing::{Env, call_for},
};
use lapin::BasicProperties;
use serde_json::Value;
use tests::{order::Order, system::System};
use worker_fulfillment::Fulfillment;
use worker_inventory::Inventory;

use super::page::Page;
use crate::probe::Probe;

fn page() -> Result<Page> {
    Page::read("docs/messages.md")
}

/// The event of the page, read as a worker reads it.
fn event() -> Result<OrderCreated> {
    match decode(page()?.block("event")?.as_bytes())? {
        Decoded::OrderCreated(event) => Ok(*event),
        Decoded::Unknown { event_type } => bail!("docs/messages.md shows the unknown event {event_type}"),
    }
}

#[test]
fn every_name_on_the_broker_is_documented() -> Result<()> {
    let names = Names::new("orders".into());
    let queues = [names.queue(&Inventory::NAME.parse()?), names.queue(&Fulfillment::NAME.parse()?), names.outcomes()];
    let mut all = vec![names.exchange().to_owned()];
    all.extend(queues.iter().cloned());
    all.push(names.dead_letter_exchange());
    all.extend(queues.iter().map(|queue| dead_letter_queue(queue)));
    assert_eq!(page()?.column("names", 0)?, all);
    Ok(())
}

#[test]
fn the_event_and_the_report_that_are_shown_are_complete_and_valid() -> Result<()> {
    let page = page()?;
    let shown: Value = serde_json::from_str(page.block("event")?)?;
    assert_eq!(serde_json::from_slice::<Value>(&event()?.encode()?)?, shown);

    let shown: Value = serde_json::from_str(page.block("report")?)?;
    let report: Report = serde_json::from_value(shown.clone())?;
    assert_eq!(serde_json::to_value(&report)?, shown);
    // Every field that may be absent is there at least once.
    let outcomes = &report.outcomes;
    assert!(outcomes.iter().any(|outcome| outcome.reason.is_some() && outcome.dead_letter.is_some()));
    let waits = &report.progress[0];
    assert!(waits.dead_letter.is_some());
    assert!(
        waits.handover.as_ref().is_some_and(|handover| {
            handover.traceparent.is_some() && handover.spent.is_some() && handover.unanswered
        })
    );
    let attempts = || outcomes.iter().flat_map(|outcome| &outcome.attempts).chain(&waits.attempts);
    assert!(attempts().any(|attempt| attempt.status_code.is_some()));
    assert!(attempts().any(|attempt| attempt.error.is_some()));
    assert!(attempts().any(|attempt| attempt.answer.is_some()));
    assert!(attempts().any(|attempt| attempt.spent == Some(false)));
    Ok(())
}

#[test]
fn the_calls_that_are_shown_are_those_that_destinations_see() -> Result<()> {
    call::<Inventory>(|url| vec![("INVENTORY_API_URL", url.to_owned())])?;
    call::<Fulfillment>(|url| {
        vec![("FULFILLMENT_API_URL", url.to_owned()), ("FULFILLMENT_API_TOKEN", "a-token-of-the-partner".to_owned())]
    })?;
    let key = idempotency::key(event()?.event_id, &Inventory::NAME.parse()?);
    assert_eq!(page()?.block("key")?, key.to_string());
    Ok(())
}

fn call<D: Destination>(env: impl Fn(&str) -> Env) -> Result<()> {
    let (page, call) = (page()?, call_for::<D>(&event()?, env));
    let shown = page.block(&format!("call: {}", D::NAME))?;
    assert_eq!(serde_json::from_slice::<Value>(&call.body)?, serde_json::from_str::<Value>(shown)?);
    let before = page.text_before(&format!("call: {}", D::NAME))?;
    assert!(before.ends_with(&format!("`POST {}`:\n\n", call.target)), "{before}");
    for (header, meaning) in page.column("call headers", 0)?.iter().zip(page.column("call headers", 1)?) {
        let only = meaning.split_once(" only:").map(|(name, _)| name.to_owned());
        let wanted = usize::from(only.is_none_or(|name| name == D::NAME));
        assert_eq!(call.header(header).len(), wanted, "{header} to {}", D::NAME);
    }
    Ok(())
}

#[tokio::test]
async fn the_properties_of_an_event_are_those_that_are_documented() -> Result<()> {
    let system = System::builder().without_workers().start().await?;
    let probe = Probe::on(&system).await?;
    system.place(&Order::healthy()).await?;
    let mut found = names(&probe.next(&system).await?.properties);
    found.insert(format!("header {REDRIVEN}"));
    found.extend(["spent", "unanswered", "retry-until"].map(|name| format!("header x-tandem-{name}")));
    let documented: BTreeSet<_> = page()?.column("properties", 0)?.into_iter().collect();
    assert_eq!(found, documented);
    Ok(())
}

/// The names of those that are set.
fn names(properties: &BasicProperties) -> BTreeSet<String> {
    let set = [
        ("content_type", properties.content_type().is_some()),
        ("content_encoding", properties.content_encoding().is_some()),
        ("delivery_mode", properties.delivery_mode().is_some()),
        ("priority", properties.priority().is_some()),
        ("correlation_id", properties.correlation_id().is_some()),
        ("reply_to", properties.reply_to().is_some()),
        ("expiration", properties.expiration().is_some()),
        ("message_id", properties.message_id().is_some()),
        ("timestamp", properties.timestamp().is_some()),
        ("type", properties.kind().is_some()),
        ("user_id", properties.user_id().is_some()),
        ("app_id", properties.app_id().is_some()),
    ];
    let set = set.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name.to_owned());
    let headers = properties.headers().iter().flat_map(|headers| headers.inner().keys());
    set.chain(headers.map(|name| format!("header {name}"))).collect()
}
