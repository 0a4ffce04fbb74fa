//! Pages of a list: `limit`, and a `cursor` that says where the next page begins. A cursor is opaque
//! to clients and stands for a place in the list's order, so that pages neither repeat nor skip
//! anything while others insert.

use api::List;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};

use super::query::Query;

/// How many items a page has where nothing is asked.
pub(super) const DEFAULT_LIMIT: u32 = 50;
/// Most items of a page.
pub(super) const MAX_LIMIT: u32 = 500;
/// Longest cursor, in characters.
const MAX_CURSOR_CHARS: usize = 128;

/// Which page is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Most items.
    pub(super) limit: u32,
    /// Where it begins: after this place of the list.
    pub(super) after: Option<Vec<u8>>,
}

impl Page {
    /// Takes `limit` and `cursor`.
    pub(super) fn of(query: &mut Query<'_>) -> Self {
        let limit = query.number("limit", 1..=MAX_LIMIT).unwrap_or(DEFAULT_LIMIT);
        let after = query.parsed("cursor", |text| {
            let decoded = if text.len() <= MAX_CURSOR_CHARS { BASE64.decode(text).ok() } else { None };
            decoded.filter(|place| !place.is_empty()).ok_or_else(not_a_cursor)
        });
        Self { limit, after }
    }

    /// The place as an id. A fault is noted with the query.
    pub(super) fn after_id(&self, query: &mut Query<'_>) -> Option<uuid::Uuid> {
        let id = self.after.as_deref().map(uuid::Uuid::from_slice)?;
        id.map_err(|_| query.fault("cursor", not_a_cursor())).ok()
    }
}

fn not_a_cursor() -> String {
    "must be the next_cursor of an earlier page, as it was answered".to_owned()
}

/// A page that has been cut already, and the place after which the next one begins.
pub(super) fn until<T>(items: Vec<T>, next: Option<Vec<u8>>) -> List<T> {
    List { items, next_cursor: next.map(|next| BASE64.encode(next)) }
}

/// A page of at most `limit` rows out of one more than that, each as `view` shows it; `place` is a row's place in the
/// list.
pub(super) fn page<R, T>(
    mut rows: Vec<R>,
    limit: u32,
    place: impl FnOnce(&R) -> Vec<u8>,
    view: impl Fn(R) -> T,
) -> List<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(place);
    until(rows.into_iter().map(view).collect(), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_of_a_page_leads_to_the_next() {
        let list = page(vec![3_u8, 2, 1], 2, |item| vec![*item], |item| item);
        assert_eq!(list.items, [3, 2]);
        let uri = format!("/x?limit=2&cursor={}", list.next_cursor.unwrap()).parse().unwrap();
        let mut query = Query::of(&uri);
        assert_eq!(Page::of(&mut query), Page { limit: 2, after: Some(vec![2]) });
        assert!(query.finish().is_ok());
        assert_eq!(page(vec![1_u8], 2, |item| vec![*item], |item| item).next_cursor, None);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for bad in ["", "!", "a", &"A".repeat(200)] {
            let uri = format!("/x?cursor={bad}").parse().unwrap();
            let mut query = Query::of(&uri);
            let _ = Page::of(&mut query);
            assert!(query.finish().is_err(), "{bad}");
        }
        let uri = "/x?cursor=AAAA".parse().unwrap();
        let mut query = Query::of(&uri);
        assert_eq!(Page::of(&mut query).after_id(&mut query), None);
        assert!(query.finish().is_err());
    }
}
