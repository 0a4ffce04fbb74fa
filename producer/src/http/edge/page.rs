//! Pages of a list: `limit`, and a `cursor` that says where the next page begins. A cursor is opaque to
//! clients. It is a position in the list's order, so that pages neither repeat nor skip anything while
//! others insert.

use api::List;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use utoipa::IntoParams;
use uuid::Uuid;

use super::query::Query;

/// Items of a page if the client does not say.
const DEFAULT_LIMIT: u32 = 50;
/// Most items of a page.
const MAX_LIMIT: u32 = 500;
/// Longest cursor, in characters.
const MAX_CURSOR_CHARS: usize = 128;

/// Which page is requested.
#[derive(Clone, Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Page {
    /// Most items of the page; 50 by default.
    #[param(value_type = Option<u32>, nullable = false, minimum = 1, maximum = 500)]
    pub(in crate::http) limit: u32,
    /// The `next_cursor` of the previous page.
    #[param(rename = "cursor", value_type = Option<String>, nullable = false, max_length = 128)]
    pub(in crate::http) after: Option<Uuid>,
}

impl Page {
    /// Takes `limit` and `cursor`.
    pub(in crate::http) fn take(query: &mut Query) -> Self {
        let limit = query.number("limit", 1..=MAX_LIMIT).unwrap_or(DEFAULT_LIMIT);
        let after = query.parsed("cursor", |text| {
            let decoded = if text.len() <= MAX_CURSOR_CHARS { BASE64.decode(text).ok() } else { None };
            let position = decoded.and_then(|position| Uuid::from_slice(&position).ok());
            position.ok_or_else(|| "must be the next_cursor of an earlier page, unchanged".to_owned())
        });
        Self { limit, after }
    }
}

/// A page that ends where the store ended it; the next one begins after `next`.
pub(in crate::http) fn until<T>(items: Vec<T>, next: Option<Uuid>) -> List<T> {
    List { items, next_cursor: next.map(|next| BASE64.encode(next.as_bytes())) }
}

/// A page of at most `limit` rows out of one more than that, each as `view` shows it; `position` is a row's
/// position in the list.
pub(in crate::http) fn page<R, T>(
    mut rows: Vec<R>,
    limit: u32,
    position: impl FnOnce(&R) -> Uuid,
    view: impl Fn(R) -> T,
) -> List<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(position);
    until(rows.into_iter().map(view).collect(), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_of_a_page_leads_to_the_next() {
        let id = |number: &u128| Uuid::from_u128(*number);
        let list = page(vec![3, 2, 1], 2, id, |number| number);
        assert_eq!(list.items, [3, 2]);
        let uri = format!("/x?limit=2&cursor={}", list.next_cursor.unwrap()).parse().unwrap();
        let mut query = Query::of(&uri);
        assert_eq!(Page::take(&mut query), Page { limit: 2, after: Some(id(&2)) });
        assert!(query.finish().is_ok());
        assert_eq!(page(vec![1], 2, id, |number| number).next_cursor, None);
    }

    #[test]
    fn a_cursor_that_no_page_returned_is_refused() {
        for bad in ["", "!", "a", "AAAA", &"A".repeat(200)] {
            let uri = format!("/x?cursor={bad}").parse().unwrap();
            let mut query = Query::of(&uri);
            let _ = Page::take(&mut query);
            assert!(query.finish().is_err(), "{bad}");
        }
    }
}
