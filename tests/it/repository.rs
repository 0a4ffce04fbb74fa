//! The repository itself: what is deliberately absent from it, and whether its documents tell the truth.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use common::{
    config::{Setting, markdown_table},
    worker::worker_settings,
};
use serde_json::Value;
use worker_fulfillment::Fulfillment;
use worker_inventory::Inventory;

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace is not found")
}

/// The files below a directory of the repository whose names end so. What is hidden or was built is no part of it.
fn files(directory: &str, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![root()?.join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            let name = name.to_string_lossy();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    ensure!(!found.is_empty(), "nothing like {ending} below {directory}");
    Ok(found)
}

/// The lines, in files of these directories but not below these paths, in which one of the words stands.
fn lines_with(words: &[&str], directories: &[&str], but: &[&str]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for directory in directories {
        for path in files(directory, "")? {
            let name = path.strip_prefix(root()?)?.to_string_lossy().into_owned();
            if but.iter().any(|but| name.starts_with(but)) {
                continue;
            }
            let text = fs::read_to_string(&path).with_context(|| name.clone())?;
            let guilty = text.lines().filter(|line| words.iter().any(|word| line.contains(word)));
            lines.extend(guilty.map(|line| format!("{name}: {}", line.trim())));
        }
    }
    Ok(lines)
}

const SERVICES: [&str; 5] = ["common", "store", "producer", "worker-inventory", "worker-fulfillment"];

#[test]
fn common_names_no_destination() -> Result<()> {
    let words = ["inventory", "Inventory", "INVENTORY", "fulfillment", "Fulfillment", "FULFILLMENT"];
    assert_eq!(lines_with(&words, &["common"], &[])?, [""; 0]);
    Ok(())
}

/// The crates of this workspace that each may depend on; one that is not listed may depend on `common` only.
const MAY_USE: [(&str, &[&str]); 2] = [("producer", &["common", "api", "store"]), ("cli", &["common", "api"])];

#[test]
fn crates_depend_only_on_those_below_them() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    let output =
        command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(root()?).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    assert!(packages.len() >= 6);
    for package in packages {
        let name = package["name"].as_str().context("name")?;
        // The harness may use every crate, and the recipes and the benchmark use the harness.
        if matches!(name, "tests" | "xtask" | "bench") {
            continue;
        }
        let may_use =
            MAY_USE.iter().find(|(crate_name, _)| *crate_name == name).map_or(&["common"][..], |(_, used)| used);
        for dependency in package["dependencies"].as_array().context("dependencies")? {
            let used = dependency["name"].as_str().context("name")?;
            let in_workspace = dependency["path"].is_string();
            // A crate may name itself, to test with a feature on, and its tests may use the harness.
            let for_tests = dependency["kind"] == "dev" && (used == name || used == "tests");
            assert!(!in_workspace || for_tests || may_use.contains(&used), "{name} depends on {used}");
            assert!(name == "store" || !["rusqlite", "tokio-postgres"].contains(&used), "{name} depends on {used}");
        }
    }
    Ok(())
}

#[test]
fn each_library_is_known_in_one_place() -> Result<()> {
    let places: [(&[&str], &[&str]); 6] = [
        (&["lapin::"], &["common/src/broker/"]),
        (&["tokio_postgres::"], &["store/src/postgres/", "store/src/postgres.rs"]),
        (&["rusqlite::", "SELECT ", "INSERT INTO", "DELETE FROM", "CREATE TABLE"], &["store/src/"]),
        (&["axum::"], &["common/src/http/", "producer/src/http/", "producer/src/http.rs"]),
        (&["backoff::"], &["common/src/retry.rs"]),
        (&["env::var"], &["common/src/config/"]),
    ];
    for (words, place) in places {
        assert_eq!(lines_with(words, &SERVICES, place)?, [""; 0], "{words:?} outside {place:?}");
        // A search that finds nothing in the right place would find nothing anywhere.
        assert!(!lines_with(&words[..1], &SERVICES, &[])?.is_empty(), "{words:?} is nowhere");
    }
    Ok(())
}

/// What stands in the README behind a marker, up to the next empty line.
fn behind(marker: &str) -> Result<String> {
    let readme = fs::read_to_string(root()?.join("README.md"))?;
    let (_, after) =
        readme.split_once(&format!("<!-- {marker} -->\n\n")).with_context(|| format!("no marker {marker}"))?;
    Ok(after.split("\n\n").next().unwrap_or_default().trim_end().to_owned())
}

#[test]
fn the_readme_lists_every_setting_as_it_is() -> Result<()> {
    let inventory = worker_settings::<Inventory>();
    let like = |one: &Setting| inventory.iter().any(|other| (one.name, one.default) == (other.name, other.default));
    let mut fulfillment = worker_settings::<Fulfillment>();
    fulfillment.retain(|setting| !like(setting));
    let tables = [
        ("settings: producer", markdown_table(&producer::config::settings())),
        ("settings: worker-inventory", markdown_table(&inventory)),
        ("settings: worker-fulfillment", markdown_table(&fulfillment)),
    ];
    for (marker, table) in tables {
        assert!(behind(marker)? == table.trim_end(), "behind <!-- {marker} --> in README.md must stand:\n\n{table}");
    }
    Ok(())
}

#[test]
fn each_promise_of_the_readme_names_a_test_that_exists() -> Result<()> {
    let table = behind("promises")?;
    let rows: Vec<_> = table.lines().skip(2).collect();
    assert!(rows.len() >= 8, "{table}");
    for row in rows {
        let mut tests = 0;
        for link in row.split("[`").skip(1) {
            let (name, rest) = link.split_once("`](").with_context(|| row.to_owned())?;
            let (path, _) = rest.split_once(')').with_context(|| row.to_owned())?;
            let file = fs::read_to_string(root()?.join(path)).with_context(|| path.to_owned())?;
            let one = format!("#[tokio::test]\nasync fn {name}()");
            let listed = format!("\n    {name},\n");
            let over_both = file.contains("over_both_stores!(") && file.contains(&listed);
            assert!(over_both || file.contains(&one), "there is no test {name} in {path}");
            tests += 1;
        }
        assert!(tests > 0, "without a test: {row}");
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
