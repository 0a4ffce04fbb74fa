//! What the documents say of metrics is compared with what processes serve.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use anyhow::{Context, Result};
use tests::{
    order::Order,
    process::Process,
    system::{Role, System},
    waiting::{PATIENCE, until},
};

use super::{page::Page, prose};
use crate::orders;

/// Metrics by name: their type, and their labels.
type Served = BTreeMap<String, (String, BTreeSet<String>)>;

/// What a process serves.
async fn served(process: &Process) -> Result<Served> {
    let text = process.get("/metrics").await?.text().await?;
    let mut served = Served::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            served.insert(name, (kind.to_owned(), BTreeSet::new()));
        } else if let Some((name, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let (labels, _) = labels.rsplit_once('}').context("a sample")?;
            let names = labels.split(',').filter_map(|label| label.split_once('=')).map(|(label, _)| label.to_owned());
            let (_, known) = served.get_mut(name).with_context(|| format!("a sample of no metric: {line}"))?;
            known.extend(names.filter(|label| label != "le"));
        }
    }
    Ok(served)
}

/// What the page says.
fn documented(marker: &str) -> Result<Served> {
    let rows = Page::read("docs/metrics.md")?.table(marker)?.into_iter().map(|row| {
        let [name, kind, labels, ..] = &row[..] else { anyhow::bail!("a short row: {row:?}") };
        let labels = labels.split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        Ok((name.clone(), (kind.clone(), labels)))
    });
    rows.collect()
}

#[tokio::test]
async fn every_metric_is_documented_and_no_other() -> Result<()> {
    let system = System::builder().env(Role::Producer, "RECONCILE_INTERVAL", "1s").start().await?;
    let order = system.place(&Order::healthy()).await?;
    orders::delivered_once(&system, &[order.order_id]).await?;
    for (role, marker) in [
        (Role::Producer, "metrics: producer"),
        (Role::Inventory, "metrics: worker"),
        (Role::Fulfillment, "metrics: worker"),
    ] {
        let (process, documented) = (system.process(role)?, documented(marker)?);
        // Some have no labels, or are not served at all, before there was something to count.
        let asked = async || match served(process).await {
            Ok(served) if served == documented => ControlFlow::Break(()),
            Ok(served) => ControlFlow::Continue(difference(&served, &documented)),
            Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
        };
        until(&format!("{} to serve what docs/metrics.md lists", process.name()), PATIENCE, asked).await?;
    }
    Ok(())
}

fn difference(served: &Served, documented: &Served) -> String {
    let only = |one: &Served, other: &Served| {
        one.iter()
            .filter(|entry| other.get(entry.0) != Some(entry.1))
            .map(|entry| format!("{entry:?}"))
            .collect::<Vec<_>>()
    };
    format!("only served: {:?}; only documented: {:?}", only(served, documented), only(documented, served))
}

#[test]
fn every_document_names_only_metrics_that_there_are() -> Result<()> {
    let mut known = documented("metrics: producer")?;
    known.extend(documented("metrics: worker")?);
    for (document, prose) in prose()? {
        for word in prose.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("tandem_") {
                assert!(known.contains_key(word), "{document} names {word}, which is no metric");
            }
        }
    }
    Ok(())
}
