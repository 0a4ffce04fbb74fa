//! Aligned columns that can be printed page by page: the widths are those of the first page.

use std::io;

use console::{measure_text_width, truncate_str};

use super::{Paint, Screen, clean, paint_of};

/// Spaces between columns.
const GAP: usize = 2;
/// A column is not squeezed below this.
const NARROWEST: usize = 8;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Whether it gives way where the screen is too narrow.
    pub(crate) squeeze: bool,
    /// Whether numbers stand in it.
    pub(crate) right: bool,
}

impl Column {
    /// A column that is as wide as what stands in it.
    pub(crate) const fn new(title: &'static str) -> Self {
        Self { title, squeeze: false, right: false }
    }

    /// A column that gives way.
    pub(crate) const fn squeezed(title: &'static str) -> Self {
        Self { squeeze: true, ..Self::new(title) }
    }

    /// A column of numbers.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self { right: true, ..Self::new(title) }
    }
}

/// A text in its colour.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    /// A text, from wherever.
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Self { text: clean(text.as_ref()), paint: Paint::Plain }
    }

    /// A text that matters less.
    pub(crate) fn dim(text: impl AsRef<str>) -> Self {
        Self { paint: Paint::Dim, ..Self::new(text) }
    }

    /// A status, in its colour.
    pub(crate) fn status(status: &str) -> Self {
        Self { paint: paint_of(status), ..Self::new(status) }
    }
}

/// A table that is being printed.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    widths: Option<Vec<usize>>,
}

impl Table {
    /// With these columns.
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), widths: None }
    }

    /// Prints rows; before the first, the titles.
    ///
    /// # Errors
    /// As [`Screen::line`].
    pub(crate) fn rows(&mut self, screen: Screen, rows: &[Vec<Cell>]) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let begins = self.widths.is_none();
        let widths = self.widths.get_or_insert_with(|| widths(&self.columns, rows, screen.width)).clone();
        if begins {
            let titles: Vec<_> = self.columns.iter().map(|column| Cell::dim(column.title)).collect();
            screen.line(self.row(screen, &widths, &titles))?;
        }
        rows.iter().try_for_each(|row| screen.line(self.row(screen, &widths, row)))
    }

    fn row(&self, screen: Screen, widths: &[usize], cells: &[Cell]) -> String {
        let mut line = String::new();
        let mut owed = 0;
        for ((column, width), cell) in self.columns.iter().zip(widths).zip(cells) {
            let text = if column.squeeze { truncate_str(&cell.text, *width, "…") } else { cell.text.as_str().into() };
            let space = width.saturating_sub(measure_text_width(&text));
            let (before, after) = if column.right { (space, 0) } else { (0, space) };
            // Nothing stands behind the last text of a line, not even a space.
            if !text.is_empty() {
                line.extend(std::iter::repeat_n(' ', owed + before));
                line.push_str(&screen.paint(cell.paint, &text));
                owed = after + GAP;
            } else {
                owed += before + after + GAP;
            }
        }
        line
    }
}

/// As wide as the widest text, as far as the screen goes; off a terminal, nothing is cut.
fn widths(columns: &[Column], rows: &[Vec<Cell>], screen: Option<usize>) -> Vec<usize> {
    let mut widths: Vec<_> = columns.iter().map(|column| column.title.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(measure_text_width(&cell.text));
        }
    }
    let Some(screen) = screen else { return widths };
    let total: usize = widths.iter().sum::<usize>() + GAP * columns.len().saturating_sub(1);
    let mut excess = total.saturating_sub(screen);
    // The widest gives way first.
    while excess > 0 {
        let widest = (0..columns.len()).filter(|&index| columns[index].squeeze).max_by_key(|&index| widths[index]);
        match widest {
            Some(index) if widths[index] > NARROWEST => widths[index] -= 1,
            _ => break,
        }
        excess -= 1;
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::{super::tests::screen, *};

    const COLUMNS: [Column; 3] = [Column::new("ID"), Column::number("N"), Column::squeezed("ERROR")];

    fn row(id: &str, number: &str, error: &str) -> Vec<Cell> {
        vec![Cell::new(id), Cell::new(number), Cell::new(error)]
    }

    #[test]
    fn columns_are_aligned_and_only_the_one_that_may_is_cut() {
        let rows = [row("a-long-id", "7", "an error that goes on and on, far beyond the edge"), row("b", "1000", "")];
        let widths = widths(&COLUMNS, &rows, Some(40));
        assert_eq!(widths, [9, 4, 23]);
        let table = Table::new(COLUMNS);
        let screen = screen(false, Some(40));
        assert_eq!(table.row(screen, &widths, &rows[0]), "a-long-id     7  an error that goes on …");
        assert_eq!(table.row(screen, &widths, &rows[1]), "b          1000");
    }

    #[test]
    fn off_a_terminal_nothing_is_cut() {
        let rows = [row("a", "1", &"x".repeat(500))];
        assert_eq!(widths(&COLUMNS, &rows, None), [2, 1, 500]);
    }

    #[test]
    fn wide_characters_count_as_they_stand() {
        let rows = [row("注文", "1", "x")];
        assert_eq!(widths(&COLUMNS, &rows, None), [4, 1, 5]);
    }
}
