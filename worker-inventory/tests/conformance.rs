//! The calls of the inventory API: the contract of every destination, and its own.

use common::testing::{Env, call_for, conformance, sample_order};
use worker_inventory::Inventory;

fn env(url: &str) -> Env {
    vec![("INVENTORY_API_URL", url.to_owned())]
}

#[test]
fn it_keeps_the_contract_of_a_destination() {
    conformance::<Inventory>(env);
}

#[test]
fn a_call_has_order_and_items() {
    let order = sample_order();
    let call = call_for::<Inventory>(&order, env);
    assert_eq!(call.target, "/api/deduct_stock");
    let items = r#"[{"product_id":"p-1","qty":2},{"product_id":"p-2","qty":1}]"#;
    assert_eq!(call.text(), format!(r#"{{"order_id":"{}","items":{items}}}"#, order.order_id));
}
