//! Statements, whichever database runs them: their texts, values and rows.

use std::ops::ControlFlow;

use rusqlite::types::{FromSql as SqliteColumn, ToSql as SqliteValue, ToSqlOutput};
use tokio_postgres::types::{FromSql as PostgresColumn, IsNull, ToSql as PostgresValue, Type, private::BytesMut};
use uuid::Uuid;

use crate::{fault::Fault, postgres::Session, sqlite::Connection, unreadable::Unreadable};

/// Where statements run: a connection to an SQLite file, or a session with a Postgres server.
///
/// Nothing that is awaited over SQLite ever waits: the futures of statements are ready at once.
#[derive(Clone, Copy)]
pub(crate) enum Sql<'s> {
    Sqlite(&'s Connection),
    Postgres(&'s Session),
}

/// The text of a statement for each database, with parameters `$1`, `$2`, …
///
/// SQLite takes a cast for a part of a parameter's name, so that `$1::uuid` means the same to both; and its
/// text may leave out parameters.
#[derive(Clone, Copy)]
pub(crate) struct Text {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

impl Text {
    /// A text that both databases understand.
    pub(crate) const fn of(both: &'static str) -> Self {
        Self { sqlite: both, postgres: both }
    }
}

/// A text with a condition on ids of an [`Array`]: what comes before it, its parameter, and the rest.
macro_rules! ids {
    ($before:expr, $parameter:literal, $rest:expr) => {
        $crate::sql::Text {
            sqlite: concat!($before, " IN (SELECT unhex(value) FROM json_each(", $parameter, "))", $rest),
            postgres: concat!($before, " = ANY(", $parameter, ")", $rest),
        }
    };
}

pub(crate) use ids;

/// A value for a parameter.
pub(crate) trait Value: SqliteValue + PostgresValue + Sync {}

impl<T: SqliteValue + PostgresValue + Sync> Value for T {}

/// Several values for one parameter: an array for Postgres, and a JSON array for SQLite, with ids as
/// hexadecimal digits.
#[derive(Debug)]
pub(crate) struct Array<'a, T>(pub(crate) &'a [T]);

impl SqliteValue for Array<'_, Uuid> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        json(self.0.iter().map(|id| id.simple().to_string()).collect::<Vec<_>>())
    }
}

impl SqliteValue for Array<'_, i64> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        json(self.0)
    }
}

fn json(array: impl serde::Serialize) -> rusqlite::Result<ToSqlOutput<'static>> {
    let text = serde_json::to_string(&array);
    text.map(Into::into).map_err(|fault| rusqlite::Error::ToSqlConversionFailure(fault.into()))
}

impl<T: PostgresValue + Sync> PostgresValue for Array<'_, T> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.to_sql(of, out)
    }

    fn accepts(of: &Type) -> bool {
        <&[T] as PostgresValue>::accepts(of)
    }

    tokio_postgres::types::to_sql_checked!();
}

/// What a column can be read as.
pub(crate) trait Column: SqliteColumn + for<'r> PostgresColumn<'r> {}

impl<T: SqliteColumn + for<'r> PostgresColumn<'r>> Column for T {}

/// A row, while it is read.
pub(crate) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

impl Row<'_> {
    /// The column at this index, from 0.
    pub(crate) fn get<T: Column>(&self, index: usize) -> Result<T, Fault> {
        Ok(match self {
            Self::Sqlite(row) => row.get(index)?,
            Self::Postgres(row) => row.try_get(index)?,
        })
    }
}

impl Sql<'_> {
    /// Reads the rows of a statement, one after the other, until `each` breaks off. What SQLite has not
    /// looked at by then it does not look at. `each` must not run statements itself.
    pub(crate) async fn each(
        self,
        text: Text,
        values: &[&dyn Value],
        mut each: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, Fault>,
    ) -> Result<(), Fault> {
        match self {
            Self::Sqlite(connection) => connection.each(text.sqlite, values, each),
            Self::Postgres(session) => {
                for row in session.query(text.postgres, &postgres(values)).await? {
                    if each(&Row::Postgres(&row))?.is_break() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// Reads all rows of a statement.
    pub(crate) async fn all<T>(
        self,
        text: Text,
        values: &[&dyn Value],
        mut read: impl FnMut(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let mut all = Vec::new();
        self.each(text, values, |row| {
            all.push(read(row)?);
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(all)
    }

    /// Reads the rows of a statement that can be read.
    pub(crate) async fn readable<T>(
        self,
        text: Text,
        values: &[&dyn Value],
        unreadable: &Unreadable,
        read: impl Fn(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let rows = self.all(text, values, |row| Ok(unreadable.left_out(read(row)))).await?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Reads the first row of a statement, if it has any.
    pub(crate) async fn first<T>(
        self,
        text: Text,
        values: &[&dyn Value],
        read: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let (mut read, mut first) = (Some(read), None);
        self.each(text, values, |row| {
            first = read.take().map(|read| read(row)).transpose()?;
            Ok(ControlFlow::Break(()))
        })
        .await?;
        Ok(first)
    }

    /// Runs a statement without rows. Returns how many rows of a table it changed.
    pub(crate) async fn execute(self, text: Text, values: &[&dyn Value]) -> Result<u64, Fault> {
        match self {
            Self::Sqlite(connection) => connection.execute(text.sqlite, values),
            Self::Postgres(session) => session.execute(text.postgres, &postgres(values)).await,
        }
    }
}

fn postgres<'a>(values: &'a [&'a dyn Value]) -> Vec<&'a (dyn PostgresValue + Sync)> {
    values.iter().map(|value| *value as &(dyn PostgresValue + Sync)).collect()
}
