//! What the desk writes into the ledger, which each database does as on the order path.

use common::outcome::{Outcome, OutcomeStatus};
use uuid::Uuid;

use crate::{
    RedriveItem,
    fault::Fault,
    postgres,
    rules::{Died, Line},
    sql::Sql,
    sqlite,
};

impl Sql<'_> {
    /// Records the outcome of a delivery. Returns its dead letter, if it becomes one, for the caller to list.
    pub(super) async fn record(self, outcome: &Outcome) -> Result<Vec<Died>, Fault> {
        match self {
            Self::Sqlite(connection) => Ok(sqlite::record::record_one(&connection.inner(), outcome)?),
            Self::Postgres(session) => postgres::record::record(session, &[Line::Ended(outcome)]).await,
        }
    }

    /// Ends the redrive of a dead letter that was sent again. Once is enough, and more changes nothing.
    pub(super) async fn end_redriven(self, dead_letter: Uuid, end: OutcomeStatus) -> Result<(), Fault> {
        match self {
            Self::Sqlite(connection) => Ok(sqlite::redrives::end(&connection.inner(), dead_letter, end)?),
            Self::Postgres(session) => postgres::redrives::end(session, [(dead_letter, end)]).await,
        }
    }

    /// The deliveries of these dead letters are pending again, and so are their orders.
    pub(super) async fn reopen(self, items: &[RedriveItem]) -> Result<(), Fault> {
        match self {
            Self::Sqlite(connection) => Ok(sqlite::redrives::reopen(&connection.inner(), items)?),
            Self::Postgres(session) => postgres::redrives::reopen(session, items).await,
        }
    }
}
