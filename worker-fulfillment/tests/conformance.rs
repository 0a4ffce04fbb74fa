//! The calls of the fulfillment API: the contract of every destination, and its own.

use common::testing::{Env, call_for, conformance, sample_order};
use worker_fulfillment::Fulfillment;

fn env(url: &str) -> Env {
    vec![("FULFILLMENT_API_URL", url.to_owned()), ("FULFILLMENT_API_TOKEN", "a-token-of-the-partner".to_owned())]
}

#[test]
fn it_keeps_the_contract_of_a_destination() {
    conformance::<Fulfillment>(env);
}

#[test]
fn a_call_has_order_customer_and_items() {
    let order = sample_order();
    let call = call_for::<Fulfillment>(&order, env);
    assert_eq!(call.target, "/api/new_order");
    let items = r#"[{"product_id":"p-1","qty":2},{"product_id":"p-2","qty":1}]"#;
    let body = format!(r#"{{"order_id":"{}","customer_id":"c-1","items":{items}}}"#, order.order_id);
    assert_eq!(call.text(), body);
}

#[test]
fn a_call_carries_the_token_once() {
    let call = call_for::<Fulfillment>(&sample_order(), env);
    assert_eq!(call.header("X-Partner-Auth"), ["a-token-of-the-partner"]);
}
