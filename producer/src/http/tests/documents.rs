use std::collections::BTreeSet;

use serde_json::json;

use super::{
    schema_check::{check, document},
    *,
};
use crate::http::{edge::problem::PROBLEM_JSON, orders};

#[tokio::test]
async fn the_document_lists_every_path_with_its_methods_and_statuses() {
    let answer = Bench::new().await.get("/openapi.json").await;
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut listed = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let statuses: Vec<_> = operation["responses"].as_object().unwrap().keys().cloned().collect();
            listed.push(format!("{method} {path}: {}", statuses.join(" ")));
        }
    }
    listed.sort();
    assert_eq!(
        listed,
        [
            "get /livez: 200 503",
            "get /metrics: 200",
            "get /readyz: 200 503",
            "get /v1/dead-letters/{id}: 200 400 404 500 503",
            "get /v1/dead-letters: 200 400 500 503",
            "get /v1/dead-letters:groups: 200 400 500 503",
            "get /v1/doctor: 200",
            "get /v1/events: 200 400 500 503",
            "get /v1/orders/{order_id}/events: 200 204 400 404 500 503",
            "get /v1/orders/{order_id}: 200 304 400 404 500 503",
            "get /v1/orders: 200 400 500 503",
            "get /v1/reconciliation: 200 400 500",
            "get /v1/redrives/{redrive_id}: 200 400 404 500 503",
            "get /v1/redrives: 200 400 500 503",
            "post /v1/dead-letters/{id}/archive: 200 400 404 408 409 413 415 422 500 503",
            "post /v1/dead-letters/{id}/unarchive: 200 400 404 408 409 413 415 422 500 503",
            "post /v1/orders/{order_id}/deliveries/{destination}/cancel: 202 400 404 409 500 503",
            "post /v1/orders/{order_id}/deliveries/{destination}/retry: 202 400 404 409 500 503",
            "post /v1/orders: 200 202 400 408 413 415 422 500 503",
            "post /v1/orders:batch: 207 400 408 413 415 422 500 503",
            "post /v1/redrives/{redrive_id}/cancel: 200 400 404 409 500 503",
            "post /v1/redrives/{redrive_id}/pause: 200 400 404 409 500 503",
            "post /v1/redrives/{redrive_id}/resume: 200 400 404 409 500 503",
            "post /v1/redrives: 200 201 400 408 409 413 415 422 500 503",
        ]
    );
    let headers = document["paths"]["/v1/orders"]["post"]["parameters"].as_array().unwrap();
    let headers: Vec<_> = headers.iter().map(|header| header["name"].as_str().unwrap()).collect();
    assert_eq!(headers, ["X-Correlation-ID", "Idempotency-Key", "traceparent", "Prefer"]);
}

#[test]
fn the_document_has_the_limits_of_the_code() {
    let schemas = &document()["components"]["schemas"];
    let (order, item) = (&schemas["NewOrder"], &schemas["NewItem"]);
    assert_eq!(order["additionalProperties"], false);
    assert_eq!(item["additionalProperties"], false);
    assert_eq!(order["required"], json!(["customer_id", "items"]));
    assert_eq!(item["required"], json!(["product_id", "qty"]));
    let limits = |schema: &Value, names: [&str; 2]| names.map(|name| schema[name].as_u64().unwrap());
    let chars = ["minLength", "maxLength"];
    assert_eq!(limits(&order["properties"]["customer_id"], chars), [1, common::order::MAX_ID_CHARS as u64]);
    assert_eq!(limits(&item["properties"]["product_id"], chars), [1, common::order::MAX_ID_CHARS as u64]);
    assert_eq!(limits(&order["properties"]["items"], ["minItems", "maxItems"]), [1, common::order::MAX_ITEMS as u64]);
    assert_eq!(limits(&item["properties"]["qty"], ["minimum", "maximum"]), [1, common::order::MAX_QTY.into()]);
}

#[test]
fn health_is_described_as_it_is_sent() {
    use common::health::{Health, Kind};
    let health = Health::default();
    let (store, relay) = (health.component("store", Kind::Required), health.component("relay", Kind::Tolerated));
    let document = document();
    let schema = &document["components"]["schemas"]["Health"];
    let check_now = || check(schema, &serde_json::to_value(health.readiness()).unwrap());
    check_now();
    store.up();
    check_now();
    relay.up();
    check_now();
}

#[test]
fn an_optional_header_is_a_string() {
    let document = document();
    let headers = document["paths"]["/v1/orders"]["post"]["parameters"].as_array().unwrap();
    for header in headers {
        assert_eq!((&header["required"], &header["schema"]["type"]), (&json!(false), &json!("string")));
    }
}

#[test]
fn every_reference_of_the_document_has_a_target() {
    fn walk(document: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(target) = members.get("$ref") {
                    let target = target.as_str().unwrap();
                    assert!(document.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target}");
                }
                members.values().for_each(|value| walk(document, value));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(document, value)),
            _ => {}
        }
    }
    let document = document();
    walk(document, document);
}

#[test]
fn every_example_conforms_to_its_schema() {
    let document = document();
    let mut checked = 0;
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let bodies = operation["responses"].as_object().unwrap().values().chain([&operation["requestBody"]]);
            let contents = bodies.filter_map(|body| body["content"].as_object()).flat_map(|content| content.values());
            for content in contents {
                let several = content["examples"].as_object().into_iter().flat_map(|all| all.values());
                for example in several.map(|example| &example["value"]).chain(content.get("example")) {
                    check(&content["schema"], example);
                    checked += 1;
                }
            }
        }
    }
    assert!(checked >= 15, "only {checked} examples");
}

#[tokio::test]
async fn the_example_of_a_request_is_accepted_with_the_response_of_the_example() {
    let request = orders::examples::new_order().to_string();
    let mut answer = Bench::new().await.place(&[], request).await.json();
    let example = orders::examples::accepted();
    for varies in ["order_id", "correlation_id"] {
        answer[varies] = example[varies].clone();
    }
    assert_eq!(answer, example);
}

#[tokio::test]
async fn every_type_of_problem_has_a_page_and_an_example_in_the_document() {
    let bench = Bench::new().await;
    let document = document().to_string();
    for kind in PROBLEM_TYPES {
        let page = bench.get(&format!("/problems/{}", kind.name)).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("Content-Type"), Some("text/plain; charset=utf-8"));
        let page = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(page.contains(kind.title) && page.contains(kind.status.as_str()) && page.contains(kind.help));
        // No operation has an unknown path or method.
        if !["unknown-path", "method-not-allowed"].contains(&kind.name) {
            assert!(document.contains(&format!("\"/problems/{}\"", kind.name)), "{}", kind.name);
        }
    }
    assert!(document.contains(PROBLEM_JSON));
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let bench = Bench::new().await;
    let redirect = bench.get("/docs").await;
    assert_eq!((redirect.status.as_u16(), redirect.header("Location")), (308, Some("docs/")));

    let page = bench.get("/docs/").await;
    assert_eq!(page.header("Content-Type"), Some("text/html"));
    // Whatever the scripts contain, a browser that keeps to this policy asks nobody else.
    let policy = page.header("Content-Security-Policy").unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    let sources: BTreeSet<_> = policy.split([' ', ';']).filter(|word| word.contains(['\'', ':', '.', '*'])).collect();
    assert_eq!(sources, BTreeSet::from(["'none'", "'self'", "'unsafe-inline'", "data:"]));

    let page = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(!page.contains("//"), "{page}");
    let mut loaded = 0;
    for reference in page.split(['"', '\'']).filter(|text| text.ends_with(".js") || text.ends_with(".css")) {
        let file = bench.get(&format!("/docs/{}", reference.trim_start_matches("./"))).await;
        assert_eq!(file.status, 200, "{reference}");
        loaded += 1;
    }
    assert_eq!(loaded, 5);

    let start = bench.get("/docs/swagger-initializer.js").await;
    assert_eq!(start.header("Content-Type"), Some("text/javascript"));
    let start = String::from_utf8(start.body.to_vec()).unwrap();
    assert!(start.contains(r#""url": "../openapi.json""#), "{start}");
    // Otherwise it would send the document to a validator on the internet.
    assert!(start.contains(r#""validatorUrl": "none""#), "{start}");
    assert!(!start.contains("http"), "{start}");
}
