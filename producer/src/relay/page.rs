//! Pages of the outbox, read from the table.

use std::time::Duration;

use common::destination::Name;
use futures_util::{FutureExt as _, future::BoxFuture};
use store::{Desk, OutboxEntry, Position, StoreFault};

/// How many events are read from the table at a time; the next page is asked for when half of one is
/// left, so that the window stays full.
pub(super) const PAGE: u32 = 512;
/// The pause after the table could not be read.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// What the table holds after a position, and how far the outbox had got when it was asked.
pub(super) struct Page {
    pub(super) entries: Vec<OutboxEntry>,
    pub(super) up_to: Position,
}

/// The page that is being read, if one is.
#[derive(Default)]
pub(super) struct Reading(Option<BoxFuture<'static, Result<Page, StoreFault>>>);

impl Reading {
    pub(super) fn is_running(&self) -> bool {
        self.0.is_some()
    }

    /// Reads what comes after a position, of one destination or of all, while the outbox has got as far as `up_to`.
    pub(super) fn start(&mut self, desk: &Desk, of: Option<Name>, after: Position, up_to: Position) {
        self.0 = Some(read(desk.clone(), of, after, up_to).boxed());
    }

    /// The page that was read. Never returns while none is being read. Cancellation safe.
    pub(super) async fn done(&mut self) -> Result<Page, StoreFault> {
        let Some(page) = &mut self.0 else { return std::future::pending().await };
        let read = page.await;
        self.0 = None;
        read
    }
}

async fn read(desk: Desk, of: Option<Name>, after: Position, up_to: Position) -> Result<Page, StoreFault> {
    let entries = match of {
        Some(destination) => desk.outbox_of(destination, after, PAGE).await,
        None => desk.outbox(after, PAGE).await,
    };
    match entries {
        Ok(entries) => Ok(Page { entries, up_to }),
        Err(fault) => {
            tokio::time::sleep(STORE_PAUSE).await;
            Err(fault)
        }
    }
}
