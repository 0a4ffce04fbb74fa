//! The filter of dead letters, out of a query.

use common::{destination::is_name, order::OrderId, outcome::Reason};
use uuid::Uuid;

use super::query::Query;
use crate::store::{Filter, OUTCOMES};

/// Longest part of an error that is looked for, in characters.
const MAX_ERROR_CHARS: usize = 200;

/// Takes every parameter of the filter. Faults are noted with the query.
pub(super) fn of(query: &mut Query<'_>) -> Filter {
    let filter = Filter {
        destination: query.parsed("destination", |text| {
            if is_name(text) || text == OUTCOMES {
                Ok(text.to_owned())
            } else {
                Err("must be the name of a destination, or outcomes".to_owned())
            }
        }),
        reason: query.parsed("reason", |text| {
            Reason::ALL
                .into_iter()
                .find(|reason| reason.as_str() == text)
                .ok_or_else(|| format!("must be one of {}", Reason::ALL.map(Reason::as_str).join(", ")))
        }),
        status_code: query.number("status_code", 100..=999),
        error: query.text("error", MAX_ERROR_CHARS),
        order_id: query
            .parsed("order_id", |text| Uuid::try_parse(text).map(OrderId).map_err(|_| "must be a UUID".to_owned())),
        from: query.time("from"),
        to: query.time("to"),
        archived: query.flag("archived").unwrap_or_default(),
    };
    // Not every database can be asked for it.
    if filter.error.as_ref().is_some_and(|part| part.contains('\0')) {
        query.fault("error", "must not contain U+0000".to_owned());
    }
    if filter.from.zip(filter.to).is_some_and(|(from, to)| from >= to) {
        query.fault("to", "must be later than from".to_owned());
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Option<Filter> {
        let uri = format!("/x?{query}").parse().unwrap();
        let mut query = Query::of(&uri);
        let filter = of(&mut query);
        query.finish().is_ok().then_some(filter)
    }

    #[test]
    fn every_part_of_a_filter_has_a_parameter() {
        assert_eq!(read(""), Some(Filter::default()));
        let order_id = Uuid::from_u128(7);
        let filter = read(&format!(
            "destination=outcomes&reason=delivery_limit&status_code=422&error=a%25&order_id={order_id}\
             &from=2026-01-02T03:04:05Z&to=2026-01-02T03:04:06Z&archived=true"
        ))
        .unwrap();
        let Filter { destination, reason, status_code, error, order_id: of_order, from, to, archived } = filter;
        assert_eq!((destination.as_deref(), reason), (Some("outcomes"), Some(Reason::DeliveryLimit)));
        assert_eq!((status_code, error.as_deref(), of_order), (Some(422), Some("a%"), Some(OrderId(order_id))));
        assert_eq!((from.unwrap().as_second() + 1, archived), (to.unwrap().as_second(), true));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in [
            "destination=A",
            "destination=",
            "reason=tired",
            "status_code=99",
            "error=",
            "error=a%00",
            "order_id=x",
            "from=2026-01-02T03:04:05Z&to=2026-01-02T03:04:05Z",
            "archived=yes",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
