//! The repository itself: what is deliberately absent from it.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::checkout::{files, root};

/// The lines that contain one of the words, in files of these directories but not below these paths.
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

const SERVICES: [&str; 6] = ["common", "api", "store", "producer", "worker-inventory", "worker-fulfillment"];

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
        (&["tokio_postgres::"], &["store/src/postgres/", "store/src/postgres.rs", "store/src/sql.rs"]),
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
