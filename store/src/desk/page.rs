//! A page of a list in which rows may be unreadable: as long as it was asked for all the same, for a shorter one would
//! be taken for the last.

use uuid::Uuid;

/// A row: the id that the next page begins after, and what can be read of it.
pub(super) type Listed<T> = (Uuid, Option<T>);

/// A page that is being filled.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) found: Vec<T>,
    /// Where to read on.
    pub(super) after: Option<Uuid>,
    /// How many rows are missing; 0 when it is full, or there are no more.
    pub(super) missing: u32,
}

impl<T> Page<T> {
    /// An empty one.
    pub(super) fn new(after: Option<Uuid>, limit: u32) -> Self {
        Self { found: Vec::new(), after, missing: limit }
    }

    /// Adds the rows that were read for those that are missing.
    pub(super) fn add(&mut self, rows: Vec<Listed<T>>) {
        let read = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let more = read >= self.missing;
        for (id, row) in rows {
            self.after = Some(id);
            self.missing = self.missing.saturating_sub(u32::from(row.is_some()));
            self.found.extend(row);
        }
        if !more {
            self.missing = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_filled_until_there_are_no_more_rows() {
        let row = |id, readable: bool| (Uuid::from_u128(id), readable.then_some(id));
        let mut page = Page::new(None, 2);
        page.add(vec![row(9, false), row(8, true)]);
        assert_eq!((page.missing, page.after), (1, Some(Uuid::from_u128(8))));
        page.add(vec![row(7, false)]);
        assert_eq!((page.missing, page.after), (1, Some(Uuid::from_u128(7))));
        page.add(vec![row(6, true)]);
        assert_eq!((page.missing, &page.found[..]), (0, &[8, 6][..]));
        let mut last = Page::new(None, 2);
        last.add(vec![row(1, true)]);
        assert_eq!((last.missing, &last.found[..]), (0, &[1][..]));
    }
}
