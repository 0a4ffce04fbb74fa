//! A new order: a body read into domain types, or everything that is wrong with it.

use std::marker::PhantomData;

use common::order::{CustomerId, Invalid, Item, Items, MAX_ITEMS, MAX_QTY, ProductId, Qty};
use serde::de::{MapAccess, SeqAccess};

use crate::{
    http::edge::{
        body::Payload,
        faults::{Faults, Flaw, Pointer},
        json::{Read, Shape, fields},
        problem::Problem,
    },
    intake::NewOrder,
};

/// The body of `POST /v1/orders`.
#[derive(Debug)]
pub(super) struct OrderShape;

impl Payload for OrderShape {
    fn invalid(faults: Faults) -> Problem {
        Problem::invalid_order(faults)
    }
}

impl Shape for OrderShape {
    type Out = NewOrder;
    const WANTED: &'static str = "an object";

    fn object<'de, A: MapAccess<'de>>(
        mut object: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<NewOrder>, A::Error> {
        fields!(object, at, faults, { customer_id: Text<CustomerId>, items: ItemsShape });
        let (customer_id, items) = (customer_id.required(at, faults), items.required(at, faults));
        Ok(customer_id.zip(items).map(|(customer_id, items)| NewOrder { customer_id, items }))
    }
}

pub(super) struct ItemsShape;

impl Shape for ItemsShape {
    type Out = Items;
    const WANTED: &'static str = "an array";

    fn array<'de, A: SeqAccess<'de>>(
        mut array: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<Items>, A::Error> {
        let (mut items, mut count) = (Vec::new(), 0);
        while let Some(item) = array.next_element_seed(Read::<ItemShape>::new(at.item(count), faults))? {
            count += 1;
            if let Some(item) = item.filter(|_| count <= MAX_ITEMS) {
                items.push(item);
            }
        }
        if !(1..=MAX_ITEMS).contains(&count) {
            faults.add(at, &Invalid::ItemCount(count).into());
        }
        Ok(Items::try_from(items).ok())
    }
}

struct ItemShape;

impl Shape for ItemShape {
    type Out = Item;
    const WANTED: &'static str = "an object";

    fn object<'de, A: MapAccess<'de>>(
        mut object: A,
        at: &Pointer<'_>,
        faults: &mut Faults,
    ) -> Result<Option<Item>, A::Error> {
        fields!(object, at, faults, { product_id: Text<ProductId>, qty: QtyShape });
        let (product_id, qty) = (product_id.required(at, faults), qty.required(at, faults));
        Ok(product_id.zip(qty).map(|(product_id, qty)| Item { product_id, qty }))
    }
}

/// A text that keeps the rules of its type.
pub(super) struct Text<T>(PhantomData<T>);

impl<T: TryFrom<String, Error = Invalid>> Shape for Text<T> {
    type Out = T;
    const WANTED: &'static str = "a string";

    fn text(text: &str) -> Result<T, Flaw> {
        Ok(T::try_from(text.to_owned())?)
    }
}

struct QtyShape;

impl Shape for QtyShape {
    type Out = Qty;
    const WANTED: &'static str = "a whole number";

    fn whole(number: u64) -> Result<Qty, Flaw> {
        let number = u32::try_from(number).map_err(|_| Invalid::QtyOutOfRange)?;
        Ok(Qty::try_from(number)?)
    }

    fn number(number: f64) -> Result<Qty, Flaw> {
        let in_range = (1.0..=f64::from(MAX_QTY)).contains(&number);
        Err(if in_range { Flaw::NotWhole } else { Invalid::QtyOutOfRange.into() })
    }
}

#[cfg(test)]
mod tests;
