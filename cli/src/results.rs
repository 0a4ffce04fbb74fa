//! Results: a document or a list, as the API sent it for programs, or laid out for people.

use std::io;

use serde::de::DeserializeOwned;

use crate::{
    client::{Client, Response, read},
    exit::{Exit, Failure},
    flags::LimitArgs,
    output::{Cell, Column, Screen, Table},
};

/// Prints a document: the body itself as JSON, or as `show` lays it out.
///
/// # Errors
/// The body is something else, or it cannot be written.
pub(crate) fn document<T: DeserializeOwned>(
    response: &Response,
    screen: Screen,
    show: impl FnOnce(&T, Screen) -> io::Result<()>,
) -> Result<(), Failure> {
    if screen.is_json() {
        return Ok(screen.line(response.body.trim())?);
    }
    Ok(show(&response.read()?, screen)?)
}

/// A list: where it is, and how a row of its table is made.
pub(crate) struct List<'a, T> {
    pub(crate) path: &'a [&'a str],
    pub(crate) query: &'a [(&'a str, String)],
    /// What one item is called.
    pub(crate) noun: &'a str,
    pub(crate) columns: &'a [Column],
    pub(crate) row: fn(&T, Screen) -> Vec<Cell>,
}

impl<T: DeserializeOwned> List<'_, T> {
    /// Prints it page by page, one item per line.
    ///
    /// # Errors
    /// As [`Client::pages`], or it cannot be written.
    pub(crate) async fn print(&self, limit: LimitArgs, client: &Client, screen: Screen) -> Result<Exit, Failure> {
        let mut table = Table::new(self.columns);
        let mut listed = 0;
        let pages = client.pages(self.path, self.query, limit.limit(), |items| {
            listed += items.len();
            if screen.is_json() {
                return Ok(items.iter().try_for_each(|item| screen.line(item))?);
            }
            let items: Vec<T> = items.iter().map(|item| read(item.get())).collect::<Result<_, _>>()?;
            let rows: Vec<_> = items.iter().map(|item| (self.row)(item, screen)).collect();
            Ok(table.rows(screen, &rows)?)
        });
        let more = pages.await?;
        if listed == 0 && !screen.is_json() {
            screen.say(format_args!("no {}s", self.noun));
        } else if more {
            screen.say("there are more: --limit N or --all");
        }
        Ok(Exit::Success)
    }
}
