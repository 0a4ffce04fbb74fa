//! Aligned columns, printed page by page: the first page determines the widths.

use std::io;

use console::{measure_text_width, truncate_str};

use super::{Paint, Screen, clean, paint_of};

/// Between columns, in spaces.
const GAP: usize = 2;
/// A squeezed column keeps at least this width.
const MIN_WIDTH: usize = 8;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Whether it shrinks on a narrow terminal.
    pub(crate) squeeze: bool,
    /// Whether it is aligned to the right.
    pub(crate) right: bool,
}

impl Column {
    /// A column as wide as its longest text.
    pub(crate) const fn new(title: &'static str) -> Self {
        Self { title, squeeze: false, right: false }
    }

    /// A column that shrinks on a narrow terminal.
    pub(crate) const fn squeezed(title: &'static str) -> Self {
        Self { squeeze: true, ..Self::new(title) }
    }

    /// A column of numbers.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self { right: true, ..Self::new(title) }
    }
}

/// A text with its colour.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    /// A text, cleaned of control characters.
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Self { text: clean(text.as_ref()), paint: Paint::Plain }
    }

    /// A text of less importance.
    pub(crate) fn dim(text: impl AsRef<str>) -> Self {
        Self { paint: Paint::Dim, ..Self::new(text) }
    }

    /// A status in its colour.
    pub(crate) fn status(status: &str) -> Self {
        Self { paint: paint_of(status), ..Self::new(status) }
    }
}

/// A table in the course of being printed.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    widths: Option<Vec<usize>>,
}

impl Table {
    /// With these columns.
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), widths: None }
    }

    /// Prints rows, and the titles before the first one.
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
        let mut pending = 0;
        for ((column, width), cell) in self.columns.iter().zip(widths).zip(cells) {
            let text = if column.squeeze { truncate_str(&cell.text, *width, "…") } else { cell.text.as_str().into() };
            let space = width.saturating_sub(measure_text_width(&text));
            let (before, after) = if column.right { (space, 0) } else { (0, space) };
            // No spaces after the last text of a line.
            if !text.is_empty() {
                line.extend(std::iter::repeat_n(' ', pending + before));
                line.push_str(&screen.paint(cell.paint, &text));
                pending = after + GAP;
            } else {
                pending += before + after + GAP;
            }
        }
        line
    }
}

/// As wide as the widest text. Squeezed columns shrink to fit the terminal; without one, nothing is cut.
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
    // The widest column shrinks first.
    while excess > 0 {
        let widest = (0..columns.len()).filter(|&index| columns[index].squeeze).max_by_key(|&index| widths[index]);
        match widest {
            Some(index) if widths[index] > MIN_WIDTH => widths[index] -= 1,
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
    fn only_a_squeezed_column_is_cut() {
        let rows = [row("a-long-id", "7", "an error that goes on and on, far beyond the edge"), row("b", "1000", "")];
        let widths = widths(&COLUMNS, &rows, Some(40));
        assert_eq!(widths, [9, 4, 23]);
        let table = Table::new(&COLUMNS);
        let screen = screen(false, Some(40));
        assert_eq!(table.row(screen, &widths, &rows[0]), "a-long-id     7  an error that goes on …");
        assert_eq!(table.row(screen, &widths, &rows[1]), "b          1000");
    }

    #[test]
    fn nothing_is_cut_without_a_terminal() {
        let rows = [row("a", "1", &"x".repeat(500))];
        assert_eq!(widths(&COLUMNS, &rows, None), [2, 1, 500]);
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let rows = [row("注文", "1", "x")];
        assert_eq!(widths(&COLUMNS, &rows, None), [4, 1, 5]);
    }
}
