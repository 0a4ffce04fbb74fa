//! Dead letters that are sent again, in the ledger.

use common::{event::now, outcome::OutcomeStatus};
use uuid::Uuid;

use super::session::Session;
use crate::{RedriveItem, fault::Fault, rules::state_after};

/// The time counts when a redrive stops by itself.
const END_ITEMS: &str = "
    UPDATE redrive_items SET state = ended.status, ended_at = $3
    FROM unnest($1::uuid[], $2::text[]) AS ended (dead_letter, status)
    WHERE redrive_items.dead_letter = ended.dead_letter AND state IN ('sending', 'sent')";
const END_LETTERS: &str = "
    UPDATE dead_letters SET state = ended.state
    FROM unnest($1::uuid[], $2::text[]) AS ended (dead_letter, state)
    WHERE dead_letters.id = ended.dead_letter AND dead_letters.state = 'redriving'";
const REOPEN: &str = "
    UPDATE deliveries
    SET status = 'pending', dead_letter = taken.dead_letter, recorded = pg_current_xact_id(), change = nextval('changes')
    FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS taken (order_id, destination, dead_letter)
    WHERE deliveries.order_id = taken.order_id AND deliveries.destination = taken.destination AND status <> 'delivered'
    RETURNING deliveries.order_id, deliveries.destination";
/// An event of another program may name an order that is not stored here.
const PENDING: &str = "
    INSERT INTO pending (order_id, open)
    SELECT order_id, array_agg(DISTINCT destination)
    FROM unnest($1::uuid[], $2::text[]) AS reopened (order_id, destination) JOIN orders USING (order_id)
    GROUP BY order_id ORDER BY order_id
    ON CONFLICT (order_id) DO UPDATE SET open = ARRAY(SELECT DISTINCT unnest(pending.open || EXCLUDED.open))";

/// Dead letters that were sent again have ended, in ascending order. In the caller's transaction; once is
/// enough, and more changes nothing.
pub(crate) async fn end(session: &Session, ends: impl IntoIterator<Item = (Uuid, OutcomeStatus)>) -> Result<(), Fault> {
    let (ids, ends): (Vec<Uuid>, Vec<OutcomeStatus>) = ends.into_iter().unzip();
    if ids.is_empty() {
        return Ok(());
    }
    let statuses: Vec<_> = ends.iter().map(|end| end.as_str()).collect();
    let states: Vec<_> = ends.iter().map(|end| state_after(*end).as_str()).collect();
    session.execute(END_ITEMS, &[&ids, &statuses, &now().as_microsecond()]).await?;
    session.execute(END_LETTERS, &[&ids, &states]).await?;
    Ok(())
}

/// The deliveries of these dead letters are pending again, and so are their orders.
pub(crate) async fn reopen(session: &Session, items: &[RedriveItem]) -> Result<(), Fault> {
    let mut of_orders: Vec<_> =
        items.iter().filter_map(|item| Some((item.order_id?.0, item.origin.as_str(), item.dead_letter))).collect();
    of_orders.sort_unstable();
    let orders: Vec<_> = of_orders.iter().map(|(order_id, _, _)| *order_id).collect();
    let destinations: Vec<_> = of_orders.iter().map(|(_, destination, _)| *destination).collect();
    let letters: Vec<_> = of_orders.iter().map(|(_, _, dead_letter)| *dead_letter).collect();
    let (mut reopened, mut of): (Vec<Uuid>, Vec<String>) = (Vec::new(), Vec::new());
    for row in session.query(REOPEN, &[&orders, &destinations, &letters]).await? {
        reopened.push(row.try_get(0)?);
        of.push(row.try_get(1)?);
    }
    session.execute(PENDING, &[&reopened, &of]).await?;
    Ok(())
}
