//! How far the outbox is published to the destinations that are ahead of the line.

use rusqlite::{Connection, params};

use crate::{LaneMark, StoreFault, columns::signed};

/// Notes it, in the caller's transaction. A place that is not beyond the known one changes nothing.
pub(super) fn advance(connection: &Connection, lanes: &[LaneMark]) -> Result<(), StoreFault> {
    for LaneMark { destination, up_to } in lanes {
        connection
            .prepare_cached(
                "INSERT INTO lanes (destination, published_up_to) VALUES (?1, ?2)
                 ON CONFLICT (destination) DO UPDATE
                 SET published_up_to = max(published_up_to, excluded.published_up_to)",
            )?
            .execute(params![destination.as_str(), signed(*up_to)])?;
    }
    Ok(())
}
