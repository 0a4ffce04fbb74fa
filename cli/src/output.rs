//! Standard output: a table for people or JSON for programs, in colour on a terminal.

mod member;
mod table;
mod time;

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

use clap::ValueEnum;
use console::Term;
use jiff::Timestamp;

pub(crate) use self::{
    member::{Shown, members},
    table::{Cell, Column, Table},
};

/// The format of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// What the API sent: a document, or one item per line
    Json,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// A colour, by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Bold,
    Dim,
    Good,
    Waiting,
    Bad,
}

/// Standard output, and its properties.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    format: Format,
    colours: bool,
    /// In columns; `None` without a terminal.
    width: Option<usize>,
}

/// A narrower terminal is treated as this wide, in columns.
const MIN_WIDTH: usize = 40;

impl Screen {
    /// Standard output as it is.
    pub(crate) fn new(format: Format, colour: Colour) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let terminal = io::stdout().is_terminal();
        let allowed = set("NO_COLOR").is_none() && set("TERM").is_none_or(|name| name != "dumb");
        let colours = match colour {
            Colour::Auto => terminal && allowed,
            Colour::Always => true,
            Colour::Never => false,
        };
        let width = terminal.then(|| Term::stdout().size_checked()).flatten();
        Self { format, colours, width: width.map(|(_, columns)| usize::from(columns).max(MIN_WIDTH)) }
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// A line of the result.
    ///
    /// # Errors
    /// The reader of the pipe has gone, or the disk is full.
    pub(crate) fn line(self, text: impl Display) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{text}")
    }

    /// A line that is not part of the result, on standard error.
    pub(crate) fn say(self, text: impl Display) {
        // The command continues even if standard error is closed.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A name and its value.
    ///
    /// # Errors
    /// As [`Screen::line`].
    pub(crate) fn field(self, name: &str, text: impl Display) -> io::Result<()> {
        self.line(format_args!("{}  {text}", self.paint(Paint::Dim, &format!("{name:13}"))))
    }

    /// The text in its colour, if colours are on.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Plain => return text.to_owned(),
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Good => "32",
            Paint::Waiting => "33",
            Paint::Bad => "31",
        };
        if self.colours && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The same without colours, for standard error.
    pub(crate) fn plain(self) -> Self {
        Self { colours: false, ..self }
    }

    /// A time in a table: how long ago on a terminal, exact elsewhere.
    pub(crate) fn time(self, at: Timestamp) -> String {
        if self.width.is_some() { time::ago(at, Timestamp::now()) } else { time::exact(at) }
    }

    /// A time outside of a table: exact, and how long ago.
    pub(crate) fn moment(self, at: Timestamp) -> String {
        let ago = format!("({})", time::ago(at, Timestamp::now()));
        format!("{} {}", time::exact(at), self.paint(Paint::Dim, &ago))
    }

    /// The text in lines no wider than the terminal, each with the same indent.
    pub(crate) fn wrapped(self, indent: &str, text: &str) -> Vec<String> {
        let width = self.width.unwrap_or(usize::MAX).min(110).saturating_sub(indent.len());
        let mut lines = vec![String::new()];
        for word in clean(text).split(' ') {
            let line = lines
                .last_mut()
                .filter(|line| line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width);
            match line {
                Some(line) => {
                    if !line.is_empty() {
                        line.push(' ');
                    }
                    line.push_str(word);
                }
                None => lines.push(word.to_owned()),
            }
        }
        lines.into_iter().map(|line| format!("{indent}{line}")).collect()
    }
}

/// The colour of a status of any kind.
pub(crate) fn paint_of(status: &str) -> Paint {
    match status {
        "delivered" | "completed" | "ok" => Paint::Good,
        "dead_lettered" | "stopped" | "error" => Paint::Bad,
        "pending" | "running" | "paused" | "partially_delivered" | "warning" | "cancelled" => Paint::Waiting,
        _ => Paint::Plain,
    }
}

/// Text from elsewhere, without control characters that could steer the terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// A number with its noun, in the singular for one.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn screen(colours: bool, width: Option<usize>) -> Screen {
        Screen { format: Format::Table, colours, width }
    }

    #[test]
    fn text_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[31mb\r\nc\u{9b}"), "a [31mb  c ");
    }

    #[test]
    fn text_is_wrapped_at_the_width_of_the_terminal() {
        let lines = screen(false, Some(40)).wrapped("    ", "one two three four five six seven eight nine ten eleven");
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= 40 && line.starts_with("    ")), "{lines:?}");
        assert_eq!(screen(false, None).wrapped("  ", "a  b"), ["  a  b"]);
    }

    #[test]
    fn nothing_is_escaped_without_colours() {
        assert_eq!(screen(false, None).paint(Paint::Bad, "x"), "x");
        assert_eq!(screen(true, None).paint(Paint::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(screen(true, None).plain().paint(Paint::Bad, "x"), "x");
    }
}
