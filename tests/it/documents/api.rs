//! States and problems in the documents are compared with their types, and with the responses of a producer.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use common::{
    outcome::Reason,
    status::{DeadLetterState, DeliveryStatus, OrderStatus, RedriveStatus, Refusal},
};
use serde_json::{Value, json};
use tests::{process::Process, system::System};

use super::page::Page;
use crate::checkout::root;

#[test]
fn every_state_and_every_reason_is_documented_and_no_other() -> Result<()> {
    let states = Page::read("docs/states.md")?;
    for (name, words) in [
        ("DeliveryStatus", DeliveryStatus::ALL.map(DeliveryStatus::as_str).to_vec()),
        ("OrderStatus", OrderStatus::ALL.map(OrderStatus::as_str).to_vec()),
        ("DeadLetterState", DeadLetterState::ALL.map(DeadLetterState::as_str).to_vec()),
        ("RedriveStatus", RedriveStatus::ALL.map(RedriveStatus::as_str).to_vec()),
    ] {
        let marker = format!("states: {name}");
        assert_eq!(states.column(&marker, 0)?, words);
        assert_eq!(drawn(&states, &marker)?, words.into_iter().map(str::to_owned).collect(), "{name} as drawn");
    }
    assert_eq!(Page::read("docs/errors.md")?.column("reasons", 0)?, Reason::ALL.map(Reason::as_str));
    assert_eq!(Page::read("docs/operations.md")?.column("refusals", 0)?, Refusal::ALL.map(Refusal::as_str));
    Ok(())
}

/// The states in the diagram before the marker.
fn drawn(page: &Page, marker: &str) -> Result<BTreeSet<String>> {
    let arrows = page.block_before(marker)?.lines().filter_map(|line| line.split_once("-->"));
    let ends = arrows.flat_map(|(from, to)| [from, to.split(':').next().unwrap_or_default()]);
    Ok(ends.map(|state| state.trim().to_owned()).filter(|state| state != "[*]").collect())
}

#[test]
fn every_state_of_an_item_is_documented_as_the_schemas_have_it() -> Result<()> {
    let states = Page::read("docs/states.md")?;
    for schema in ["store/src/sqlite/0001_orders.sql", "store/src/postgres/0001_orders.sql"] {
        let schema = std::fs::read_to_string(root()?.join(schema))?;
        let (_, items) = schema.split_once("CREATE TABLE redrive_items").context("no table of items")?;
        let column = items.lines().find(|line| line.trim_start().starts_with("state ")).context("no state")?;
        let (_, words) = column.split_once("-- ").context("no words")?;
        let words: Vec<_> = words.split(", ").map(str::to_owned).collect();
        assert_eq!(states.column("states: redrive_items", 0)?, words);
        assert_eq!(drawn(&states, "states: redrive_items")?, words.into_iter().collect());
    }
    Ok(())
}

#[tokio::test]
async fn every_problem_is_documented_as_it_is() -> Result<()> {
    let system = System::builder().without_workers().start().await?;
    let producer = system.producer()?;
    let document: Value = producer.get("/openapi.json").await?.json().await?;
    let mut names = BTreeSet::new();
    for operation in document["paths"].as_object().context("paths")?.values().filter_map(Value::as_object) {
        for response in operation.values().filter_map(|operation| operation["responses"].as_object()) {
            for shown in response.values() {
                let examples = shown["content"]["application/problem+json"]["examples"].as_object();
                names.extend(examples.into_iter().flat_map(|examples| examples.keys().cloned()));
            }
        }
    }
    // No operation has these.
    names.extend(["unknown-path".to_owned(), "method-not-allowed".to_owned()]);
    let mut problems = Vec::new();
    for name in names {
        problems.push(row(producer, &name).await?);
    }
    problems.sort_unstable();
    let rows: String = problems.into_iter().map(|(_, row)| row).collect();
    let table = format!("| Type | Status | Title | Meaning and remedy |\n|---|---|---|---|\n{rows}");
    let page = Page::read("docs/errors.md")?;
    page.is_up_to_date("problems", &table)?;

    let order = json!({"customer_id": "c-1", "items": [{"product_id": "sku-1", "qty": 0}]}).to_string();
    let shown: Value = serde_json::from_str(page.block("problem")?)?;
    let id = shown["correlation_id"].as_str().context("correlation_id")?;
    assert_eq!(system.post(order.as_bytes(), &[("x-correlation-id", id)]).await?.body, shown);
    Ok(())
}

/// A problem's status, and its row, from the page at its URI.
async fn row(producer: &Process, name: &str) -> Result<(String, String)> {
    let page = producer.get(&format!("/problems/{name}")).await?;
    ensure!(page.status().is_success(), "no page about {name}");
    let text = page.text().await?;
    let [title, status, help] = text.trim_end().split("\n\n").collect::<Vec<_>>()[..] else {
        anyhow::bail!("a page of another form: {text}")
    };
    let status = status.trim_start_matches("Status: ");
    Ok((format!("{status} {name}"), format!("| `{name}` | {status} | {title} | {help} |\n")))
}
