//! A connection that reads and writes what the desk is asked for.

use std::{
    ops::ControlFlow,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::{CachedStatement, Connection as Inner};

use super::open;
use crate::{
    StoreFault,
    fault::Fault,
    sql::{Row, Value},
};

/// One connection to a file. A lock that nobody else ever waits for lets futures that use it move between
/// threads, as those over Postgres do.
pub(crate) struct Connection(Mutex<Inner>);

impl Connection {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreFault> {
        open(path).map(|connection| Self(Mutex::new(connection)))
    }

    /// The connection, for what is not asked through [`Sql`](crate::sql::Sql).
    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs statements without parameters.
    pub(super) fn batch(&self, text: &str) -> Result<(), Fault> {
        Ok(self.inner().execute_batch(text)?)
    }

    pub(crate) fn each(
        &self,
        text: &str,
        values: &[&dyn Value],
        each: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, Fault>,
    ) -> Result<(), Fault> {
        self::each(&self.inner(), text, values, each)
    }

    pub(crate) fn execute(&self, text: &str, values: &[&dyn Value]) -> Result<u64, Fault> {
        self::execute(&self.inner(), text, values)
    }
}

/// Reads the rows of a statement until `each` breaks off.
pub(super) fn each(
    connection: &Inner,
    text: &str,
    values: &[&dyn Value],
    mut each: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, Fault>,
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(text)?;
    bind(&mut statement, values)?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        if each(&Row::Sqlite(row))?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Runs a statement without rows. Returns how many rows of a table it changed.
pub(super) fn execute(connection: &Inner, text: &str, values: &[&dyn Value]) -> Result<u64, Fault> {
    let mut statement = connection.prepare_cached(text)?;
    bind(&mut statement, values)?;
    Ok(statement.raw_execute()? as u64)
}

/// A parameter has its number in its name, as `$2` and `$2::text` have; one without a name is the next.
fn bind(statement: &mut CachedStatement<'_>, values: &[&dyn Value]) -> rusqlite::Result<()> {
    for index in 1..=statement.parameter_count() {
        let number = match statement.parameter_name(index) {
            Some(name) => name.trim_start_matches('$').split(':').next().and_then(|number| number.parse().ok()),
            None => Some(index),
        };
        let value = number.and_then(|number: usize| values.get(number.checked_sub(1)?));
        let value = value.ok_or(rusqlite::Error::InvalidParameterCount(index, values.len()))?;
        statement.raw_bind_parameter(index, *value as &dyn rusqlite::ToSql)?;
    }
    Ok(())
}
