//! The documents: what they say of the code is compared with the code.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use common::{
    config::{Setting, markdown_table},
    worker::worker_settings,
};
use worker_fulfillment::Fulfillment;
use worker_inventory::Inventory;

use crate::checkout::{files, root};

/// The text of a document after `<!-- marker -->`, up to the next empty line.
fn section(document: &str, marker: &str) -> Result<String> {
    let text = fs::read_to_string(root()?.join(document)).with_context(|| document.to_owned())?;
    let (_, after) =
        text.split_once(&format!("<!-- {marker} -->\n\n")).with_context(|| format!("no {marker} in {document}"))?;
    Ok(after.split("\n\n").next().unwrap_or_default().trim_end().to_owned())
}

/// Fails unless the section is exactly `generated`; then it also brings the document up to date.
fn is_up_to_date(document: &str, marker: &str, generated: &str) -> Result<()> {
    let (written, generated) = (section(document, marker)?, generated.trim_end());
    if written != generated {
        let path = root()?.join(document);
        let marker = format!("<!-- {marker} -->\n\n");
        let text = fs::read_to_string(&path)?;
        fs::write(&path, text.replacen(&format!("{marker}{written}"), &format!("{marker}{generated}"), 1))?;
        bail!("{document} was out of date. It has been rewritten: look at the difference and commit it");
    }
    Ok(())
}

#[test]
fn every_setting_is_documented_as_it_is() -> Result<()> {
    let inventory = worker_settings::<Inventory>();
    let same = |one: &Setting| inventory.iter().any(|other| (one.name, one.default) == (other.name, other.default));
    let mut fulfillment = worker_settings::<Fulfillment>();
    fulfillment.retain(|setting| !same(setting));
    let tables = [
        ("settings: producer", markdown_table(&producer::config::settings())),
        ("settings: worker-inventory", markdown_table(&inventory)),
        ("settings: worker-fulfillment", markdown_table(&fulfillment)),
    ];
    tables.iter().try_for_each(|(marker, table)| is_up_to_date("docs/settings.md", marker, table))
}

#[test]
fn each_promise_names_a_test_that_exists() -> Result<()> {
    let table = section("docs/promises.md", "promises")?;
    let rows: Vec<_> = table.lines().skip(2).collect();
    assert!(rows.len() >= 8, "{table}");
    for row in rows {
        let mut tests = 0;
        for link in row.split("[`").skip(1) {
            let (name, rest) = link.split_once("`](../").with_context(|| row.to_owned())?;
            let (path, _) = rest.split_once(')').with_context(|| row.to_owned())?;
            let file = fs::read_to_string(root()?.join(path)).with_context(|| path.to_owned())?;
            let one = format!("#[tokio::test]\nasync fn {name}()");
            let listed = format!("\n    {name},\n");
            let over_both = file.contains("over_both_stores!(") && file.contains(&listed);
            assert!(over_both || file.contains(&one), "there is no test {name} in {path}");
            tests += 1;
        }
        ensure!(tests > 0, "without a test: {row}");
    }
    Ok(())
}

#[test]
fn every_link_in_a_document_leads_to_a_file() -> Result<()> {
    for document in files(".", ".md")? {
        let text = fs::read_to_string(&document)?;
        // Every other part between fences is code.
        let prose: String = text.split("```").step_by(2).collect();
        for link in prose.split("](").skip(1) {
            let target = link.split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let path = document.parent().context("a directory")?.join(target);
            assert!(path.exists(), "{} links to {target}, which is not there", document.display());
        }
    }
    Ok(())
}
