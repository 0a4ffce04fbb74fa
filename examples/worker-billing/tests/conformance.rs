//! The calls of the billing API: the contract of every destination, and its own.

use common::testing::{Env, call_for, conformance, sample_order};
use worker_billing::Billing;

fn env(url: &str) -> Env {
    vec![("BILLING_API_URL", url.to_owned()), ("BILLING_API_TOKEN", "token-for-the-test".to_owned())]
}

#[test]
fn it_keeps_the_contract_of_a_destination() {
    conformance::<Billing>(env);
}

#[test]
fn an_order_becomes_an_invoice() {
    let order = sample_order();
    let call = call_for::<Billing>(&order, env);
    assert_eq!(call.target, "/api/invoices");
    assert_eq!(call.header("Authorization"), ["Bearer token-for-the-test"]);
    let lines = r#"[{"product_id":"p-1","qty":2},{"product_id":"p-2","qty":1}]"#;
    let body = format!(r#"{{"reference":"{}","customer":"c-1","lines":{lines}}}"#, order.order_id);
    assert_eq!(call.text(), body);
}
