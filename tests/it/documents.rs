//! The documents: what they say of the code is compared with the code.

mod api;
mod logs;
mod messages;
mod metrics;
mod page;

use std::fs;

use anyhow::{Context, Result, ensure};
use common::{
    config::{Setting, markdown_table},
    worker::worker_settings,
};
use worker_fulfillment::Fulfillment;
use worker_inventory::Inventory;

use self::page::Page;
use crate::checkout::{files, root};

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
    tables.iter().try_for_each(|(marker, table)| Page::read("docs/settings.md")?.is_up_to_date(marker, table))
}

#[test]
fn each_promise_names_a_test_that_exists() -> Result<()> {
    let page = Page::read("docs/promises.md")?;
    let rows: Vec<_> = page.section("promises")?.lines().skip(2).collect();
    assert!(rows.len() >= 8, "{rows:?}");
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

/// The prose of every document, by its path from the root: without code blocks, which are every other part between fences.
fn prose() -> Result<Vec<(String, String)>> {
    let read = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path)?;
        let name = path.strip_prefix(root()?)?.display().to_string();
        Ok((name, text.split("```").step_by(2).collect()))
    };
    files(".", ".md")?.into_iter().map(read).collect()
}

#[test]
fn every_link_leads_to_a_file_and_every_fragment_to_a_heading() -> Result<()> {
    for (name, prose) in prose()? {
        for link in prose.split("](").skip(1) {
            let target = link.split([')', ' ']).next().unwrap_or_default();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let here = root()?.join(&name);
            let path = if file.is_empty() { here } else { here.parent().context("a directory")?.join(file) };
            assert!(path.exists(), "{name} links to {file}, which is not there");
            if !fragment.is_empty() {
                let headings = fs::read_to_string(&path)?;
                let mut headings = headings.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
                assert!(headings.any(|heading| anchor(heading) == fragment), "{name} links to #{fragment} of {file}");
            }
        }
    }
    Ok(())
}

/// The fragment by which a heading is found.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Where the paths that a document names may begin; a page about an example speaks of its files.
const BEGINNINGS: [&str; 2] = ["", "examples/worker-billing"];

#[test]
fn every_path_that_a_document_names_exists() -> Result<()> {
    for (name, prose) in prose()? {
        for code in prose.split('`').skip(1).step_by(2) {
            let of_a_file = [".rs", ".md", ".sql", ".sh", ".yml", ".json", "/"].iter().any(|end| code.ends_with(end));
            let elsewhere = code.starts_with(['/', '~']) || code.starts_with("target/") || code.contains("://");
            if !code.contains('/') || !of_a_file || elsewhere || code.contains(char::is_whitespace) {
                continue;
            }
            let root = root()?;
            let exists = BEGINNINGS.iter().any(|beginning| root.join(beginning).join(code).exists());
            assert!(exists, "{name} names {code}, which is not there");
        }
    }
    Ok(())
}
