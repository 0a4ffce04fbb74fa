//! What `docs/adding-a-destination.md` says is true: the size of this crate, and every line that it quotes.

use std::{fs, path::Path};

use common::destination::Destination as _;
use worker_billing::Billing;

/// A file of the repository, by its path from the root.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

fn recipe() -> String {
    read("docs/adding-a-destination.md")
}

/// The quotations in the recipe, each with the file that it names.
fn quotations(recipe: &str) -> Vec<(&str, &str)> {
    let blocks = recipe.split("<!-- ").skip(1).filter_map(|part| {
        let (source, rest) = part.split_once(" -->\n```")?;
        let (_, block) = rest.split_once('\n')?;
        Some((source, block.split_once("```")?.0))
    });
    blocks.collect()
}

#[test]
fn a_destination_is_about_ten_lines_and_at_most_a_hundred_and_fifty() {
    for (path, most) in [("src/main.rs", 12), ("src/lib.rs", 150)] {
        let lines = read(&format!("examples/worker-billing/{path}")).lines().count();
        assert!(lines <= most, "{path} has {lines} lines");
        let said = format!("`{path}` ({lines} lines)");
        assert!(recipe().contains(&said), "the recipe does not say {said}");
    }
}

#[test]
fn every_quotation_is_in_its_file() {
    let recipe = recipe();
    let quotations: Vec<_> =
        quotations(&recipe).into_iter().filter(|(source, _)| source.starts_with("examples/")).collect();
    assert_eq!(quotations.len(), 6);
    for (source, block) in quotations {
        assert!(read(source).contains(block), "not in {source}:\n{block}");
    }
}

#[test]
fn the_compose_service_is_that_of_another_worker_with_its_name() {
    let recipe = recipe();
    let of_compose = |(source, _): &(&str, &str)| source.starts_with("docker-compose.yml");
    let Some((_, quoted)) = quotations(&recipe).into_iter().find(of_compose) else {
        panic!("no service in the recipe")
    };
    let compose = read("docker-compose.yml");
    let Some((_, other)) = compose.split_once("\n  worker-fulfillment:\n") else { panic!("no such service") };
    let Some((other, _)) = other.split_once("\n\n") else { panic!("no end of the service") };
    let expected = format!("  worker-fulfillment:\n{other}\n")
        .replace("fulfillment", "billing")
        .replace("FULFILLMENT", "BILLING")
        .replace("${BILLING_API_URL:-http://fake-billing:8080}", "https://billing.example")
        .replace("      fake-billing: { condition: service_healthy }\n", "");
    assert_eq!(quoted, expected);
}

#[test]
fn every_setting_in_the_recipe_exists() {
    let recipe = recipe();
    let words = recipe.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for name in words.filter(|word| word.starts_with("BILLING_")).map(|word| word.trim_end_matches("_FILE")) {
        assert!(Billing::SETTINGS.iter().any(|setting| setting.name == name), "{name}");
    }
    assert!(recipe.contains(&format!("DESTINATIONS=inventory,fulfillment,{}", Billing::NAME)));
    assert!(recipe.contains(&format!("`orders.{}`", Billing::NAME)));
}

#[test]
fn this_crate_is_a_member_of_the_workspace() {
    assert!(read("Cargo.toml").contains(r#""examples/worker-billing""#));
}
