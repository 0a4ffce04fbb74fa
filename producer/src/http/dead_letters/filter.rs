//! The filter of dead letters, read from a query. Its rules apply to a redrive's filter as well.

use common::{order::OrderId, origin::Origin, outcome::Reason};
use store::Filter;
use uuid::Uuid;

use crate::http::edge::query::Query;

/// Longest part of an error to look for, in characters.
pub(in crate::http) const MAX_ERROR_CHARS: usize = 200;

/// Takes every parameter of the filter. Faults are noted with the query.
pub(super) fn take(query: &mut Query) -> Filter {
    let filter = Filter {
        destination: query.parsed("destination", destination),
        reason: query.parsed("reason", reason).map(Into::into),
        status_code: query.number("status_code", 100..=999),
        error: query.text("error", MAX_ERROR_CHARS),
        order_id: query
            .parsed("order_id", |text| Uuid::try_parse(text).map(OrderId).map_err(|_| "must be a UUID".to_owned())),
        from: query.time("from"),
        to: query.time("to"),
        archived: query.flag("archived").unwrap_or_default(),
    };
    if is_empty_span(&filter) {
        query.fault("to", EMPTY_SPAN.to_owned());
    }
    filter
}

/// Reads which queue it died in.
///
/// # Errors
/// The rule that it breaks.
pub(in crate::http) fn destination(text: &str) -> Result<Origin, String> {
    text.parse().map_err(|_| "must be the name of a destination, or outcomes".to_owned())
}

/// Reads why it died.
///
/// # Errors
/// The rule that it breaks.
pub(in crate::http) fn reason(text: &str) -> Result<Reason, String> {
    let known = Reason::ALL.into_iter().find(|reason| reason.as_str() == text);
    known.ok_or_else(|| format!("must be one of {}", Reason::ALL.map(Reason::as_str).join(", ")))
}

/// What is wrong with an end that is not after its start.
pub(in crate::http) const EMPTY_SPAN: &str = "must be later than from";

/// Whether there is nothing between the times of a filter.
pub(in crate::http) fn is_empty_span(filter: &Filter) -> bool {
    filter.from.zip(filter.to).is_some_and(|(from, to)| from >= to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Option<Filter> {
        let uri = format!("/x?{query}").parse().unwrap();
        let mut query = Query::of(&uri);
        let filter = take(&mut query);
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
        assert_eq!((destination, reason), (Some(Origin::Reports), Some(Reason::DeliveryLimit.into())));
        assert_eq!((status_code, error.as_deref(), of_order), (Some(422), Some("a%"), Some(OrderId(order_id))));
        assert_eq!((from.unwrap().as_second() + 1, archived), (to.unwrap().as_second(), true));
    }

    #[test]
    fn an_invalid_filter_is_refused() {
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
