//! Bringing the schema up to date, safely from several processes.

use super::session::Session;
use crate::{StoreFault, fault::Fault};

/// The schema, as steps from one version to the next. A released step is never changed.
const MIGRATIONS: [&str; 4] = [
    include_str!("0001_orders.sql"),
    include_str!("0002_answers.sql"),
    include_str!("0003_lanes.sql"),
    include_str!("0004_waiting.sql"),
];
/// The holder of this lock migrates; the number is arbitrary.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7310579621944)";

/// Brings the schema up to date. Producers that start at the same time wait, and find it done.
///
/// # Errors
/// A newer version wrote it, or the database failed.
pub(super) async fn migrate(session: &Session) -> Result<(), StoreFault> {
    session.begin().await?;
    let migrated = steps(session).await;
    match migrated {
        Ok(()) => Ok(session.commit().await?),
        Err(fault) => {
            session.rollback().await?;
            Err(fault)
        }
    }
}

async fn steps(session: &Session) -> Result<(), StoreFault> {
    session.batch(LOCK).await?;
    session.batch("CREATE TABLE IF NOT EXISTS schema_version (version bigint NOT NULL)").await?;
    let rows = session.query("SELECT version FROM schema_version", &[]).await?;
    let found: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(Fault::from)?;
    let known = MIGRATIONS.len();
    let done = usize::try_from(found).ok().filter(|done| *done <= known);
    let known_version = i64::try_from(known).unwrap_or(i64::MAX);
    let Some(done) = done else {
        return Err(StoreFault::NewerSchema { found, known: known_version });
    };
    if done == known {
        return Ok(());
    }
    for step in &MIGRATIONS[done..] {
        session.batch(step).await?;
    }
    session.batch("DELETE FROM schema_version").await?;
    session.execute("INSERT INTO schema_version VALUES ($1)", &[&known_version]).await?;
    Ok(())
}
