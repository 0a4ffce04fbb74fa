//! A batch: a body with many orders, each of which is read, or refused, by itself.

use common::order::CustomerId;
use serde::de::{MapAccess, SeqAccess};

use super::new_order::{ItemsShape, Text};
use crate::{
    http::edge::{
        body::Payload,
        faults::{Faults, Flaw, Pointer},
        headers::check_key,
        json::{Anything, Read, Shape, fields},
        problem::{INVALID_BATCH, Problem},
    },
    intake::NewOrder,
};

/// Most orders of one batch.
pub(in crate::http) const MAX_ORDERS: usize = 500;

/// One order of a batch.
#[derive(Debug)]
pub(super) struct KeyedOrder {
    pub(super) key: Option<String>,
    pub(super) order: NewOrder,
}

/// The orders as they were sent, or what is wrong with each.
pub(super) type NewBatch = Vec<Result<KeyedOrder, Faults>>;

/// The body of `POST /v1/orders:batch`. Faults within one order are that order's; any other refuses the
/// whole batch.
#[derive(Debug)]
pub(super) struct BatchShape;

impl Payload for BatchShape {
    fn invalid(faults: Faults) -> Problem {
        Problem::invalid(&INVALID_BATCH, "batch", faults)
    }
}

impl Shape for BatchShape {
    type Out = NewBatch;
    const WANTED: &'static str = "an object";

    fn object<'de, A: MapAccess<'de>>(
        mut object: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<NewBatch>, A::Error> {
        fields!(object, at, faults, { orders: OrdersShape });
        Ok(orders.required(at, faults))
    }
}

struct OrdersShape;

impl Shape for OrdersShape {
    type Out = NewBatch;
    const WANTED: &'static str = "an array";

    fn array<'de, A: SeqAccess<'de>>(
        mut array: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<NewBatch>, A::Error> {
        let mut orders = Vec::new();
        while orders.len() < MAX_ORDERS {
            let mut own = Faults::default();
            let read = array.next_element_seed(Read::<KeyedOrderShape>::new(at.item(orders.len()), &mut own));
            faults.too_deep |= own.too_deep;
            let Some(order) = read? else { break };
            orders.push(order.filter(|_| own.listed.is_empty()).ok_or(own));
        }
        let mut count = orders.len();
        if count == MAX_ORDERS {
            while array.next_element_seed(Read::<Anything>::new(at.item(count), faults))?.is_some() {
                count += 1;
            }
        }
        if !(1..=MAX_ORDERS).contains(&count) {
            faults.add(at, &Flaw::OrderCount { most: MAX_ORDERS, count });
        }
        Ok(Some(orders))
    }
}

struct KeyedOrderShape;

impl Shape for KeyedOrderShape {
    type Out = KeyedOrder;
    const WANTED: &'static str = "an object";

    fn object<'de, A: MapAccess<'de>>(
        mut object: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<KeyedOrder>, A::Error> {
        fields!(object, at, faults, { idempotency_key: KeyShape, customer_id: Text<CustomerId>, items: ItemsShape });
        let (customer_id, items) = (customer_id.required(at, faults), items.required(at, faults));
        let order = customer_id.zip(items).map(|(customer_id, items)| NewOrder { customer_id, items });
        Ok(order.map(|order| KeyedOrder { key: idempotency_key.optional(), order }))
    }
}

struct KeyShape;

impl Shape for KeyShape {
    type Out = String;
    const WANTED: &'static str = "a string";

    fn text(text: &str) -> Result<String, Flaw> {
        check_key(text.as_bytes().to_vec()).map_err(Flaw::rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::edge::json::{self, Unread};

    fn read(body: &[u8]) -> Result<NewBatch, Unread> {
        json::read::<BatchShape>(body)
    }

    const SOUND: &str = r#"{"customer_id":"c","items":[{"product_id":"p","qty":1}]}"#;

    fn batch(orders: &[&str]) -> String {
        format!(r#"{{"orders":[{}]}}"#, orders.join(","))
    }

    fn whole(body: &str) -> Vec<(String, String)> {
        match read(body.as_bytes()) {
            Err(Unread::Invalid(faults)) => {
                faults.listed.into_iter().map(|fault| (fault.pointer.unwrap(), fault.detail)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_invalid_order_affects_no_other_and_its_faults_name_its_index() {
        let keyed = SOUND.replacen('{', r#"{"idempotency_key":"k-1","#, 1);
        let bad = r#"{"items":[{"product_id":"","qty":0}],"idempotency_key":"a b"}"#;
        let read = read(batch(&[SOUND, bad, "7", &keyed]).as_bytes()).unwrap();
        assert_eq!(read[0].as_ref().unwrap().key, None);
        assert_eq!(read[3].as_ref().unwrap().key.as_deref(), Some("k-1"));
        let pointers =
            |faults: &Faults| -> Vec<_> { faults.listed.iter().map(|fault| fault.pointer.clone().unwrap()).collect() };
        assert_eq!(
            pointers(read[1].as_ref().unwrap_err()),
            [
                "#/orders/1/items/0/product_id",
                "#/orders/1/items/0/qty",
                "#/orders/1/idempotency_key",
                "#/orders/1/customer_id"
            ]
        );
        assert_eq!(pointers(read[2].as_ref().unwrap_err()), ["#/orders/2"]);
    }

    #[test]
    fn a_batch_has_1_to_500_orders() {
        assert_eq!(read(batch(&[SOUND; 500]).as_bytes()).unwrap().len(), 500);
        for (count, orders) in [(501, vec![SOUND; 501]), (600, vec!["7"; 600]), (0, vec![])] {
            let rule = format!("must have between 1 and 500 orders, has {count}");
            assert_eq!(whole(&batch(&orders)), [("#/orders".to_owned(), rule)]);
        }
    }

    #[test]
    fn what_is_not_a_batch_is_refused_as_a_whole() {
        assert_eq!(whole("{}"), [("#/orders".to_owned(), "is required".to_owned())]);
        assert_eq!(whole("[]")[0].0, "#");
        assert_eq!(whole(&batch(&[SOUND]).replacen('{', r#"{"x":1,"#, 1))[0].0, "#/x");
        assert!(matches!(read(batch(&[SOUND, "{"]).as_bytes()), Err(Unread::Malformed(_))));
        let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
        assert!(matches!(read(batch(&[SOUND, &deep]).as_bytes()), Err(Unread::TooDeep)));
    }
}
