//! What the documents say of logs is compared with the statements that write them.

use std::{collections::BTreeSet, fs};

use anyhow::Result;

use super::page::Page;
use crate::checkout::files;

/// The fields of every log statement in these sources.
fn logged(directories: &[&str]) -> Result<BTreeSet<String>> {
    let mut fields = BTreeSet::new();
    for directory in directories {
        for path in files(directory, ".rs")? {
            let source = fs::read_to_string(path)?;
            for level in ["trace", "debug", "info", "warn", "error"] {
                for statement in source.split(&format!("tracing::{level}!(")).skip(1) {
                    fields.extend(fields_of(statement));
                }
            }
        }
    }
    Ok(fields)
}

/// The names before the message, which is the first argument that is a text.
fn fields_of(statement: &str) -> Vec<String> {
    let (mut fields, mut argument, mut depth) = (Vec::new(), String::new(), 0_u32);
    for c in statement.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '"' if argument.trim().is_empty() => break,
            ',' if depth == 0 => {
                let text = std::mem::take(&mut argument);
                let name = text.trim().trim_start_matches(['%', '?']).split([' ', '=']).next().unwrap_or_default();
                fields.push(name.to_owned());
                continue;
            }
            _ => {}
        }
        argument.push(c);
    }
    fields
}

#[test]
fn every_field_of_the_logs_is_documented_and_no_other() -> Result<()> {
    let logged =
        logged(&["common/src", "store/src", "producer/src", "worker-inventory/src", "worker-fulfillment/src"])?;
    let column = Page::read("docs/logging.md")?.column("fields", 0)?;
    let documented: BTreeSet<_> = column.iter().flat_map(|names| names.split(", ")).map(str::to_owned).collect();
    assert_eq!(documented, logged);
    Ok(())
}
