//! News between producers: what one has recorded wakes those who wait for it at another.
//!
//! A notification inside the transaction of an order would make all commits wait for one another, so one
//! session tells of them afterwards, many with each notification, and only while other producers live.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::order::OrderId;
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};
use tokio_postgres::Notification;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::session::{Purpose, Server, Session};
use crate::{Watch, fault::Fault};

/// Most orders that wait to be told of. Beyond it the others are told to look at all that they wait for.
const MOST: usize = 16_384;
/// Most orders in one notification: the server takes less than 8,000 bytes.
const IN_ONE: usize = 7_900 / Uuid::encode_buffer().len();
/// Most notifications that wait to be read.
const HEARD: usize = 4_096;
/// The pause before the next session.
const PAUSE: Duration = Duration::from_millis(500);
/// A session that says nothing may be dead: it is asked so often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// How long what is left may take at the end.
const LAST_WORD: Duration = Duration::from_secs(1);

const LISTEN: &str = "LISTEN tandem_orders; SET synchronous_commit = off";
const NOTIFY: &str = "SELECT pg_notify('tandem_orders', $1)";
const PURPOSE: Purpose = Purpose { name: "news", by_key: false, statements: &[NOTIFY] };

/// The way to the other producers. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct News(Arc<Untold>);

#[derive(Debug, Default)]
struct Untold {
    others: AtomicBool,
    orders: Mutex<Waiting>,
    wake: Notify,
    /// Others may not have told us of what they recorded.
    missed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    orders: Vec<OrderId>,
    /// More was recorded than `orders` says.
    missed: bool,
}

impl News {
    /// Notes whether any other producer lives.
    pub(super) fn others_live(&self, others: bool) {
        self.0.others.store(others, Ordering::Relaxed);
    }

    /// Tells the other producers, soon, that something was recorded of these orders.
    pub(crate) fn tell(&self, orders: impl Iterator<Item = OrderId>) {
        if !self.0.others.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.waiting();
        let before = waiting.orders.len();
        waiting.orders.extend(orders);
        let told = waiting.orders.len() > before;
        if waiting.orders.len() > MOST {
            *waiting = Waiting { missed: true, ..Waiting::default() };
        }
        drop(waiting);
        if told {
            self.0.wake.notify_one();
        }
    }

    /// Notes that others may have held this producer for dead, and have told it nothing.
    pub(super) fn missed(&self) {
        self.0.missed.notify_one();
    }

    /// Listens and tells until `ended`, over as many sessions as it takes.
    pub(super) async fn run(self, server: Server, watch: Watch, ended: CancellationToken) {
        while !ended.is_cancelled() {
            let (heard, mut hear) = mpsc::channel(HEARD);
            let fault = match open(&server, heard).await {
                Ok(session) => {
                    // Whatever was recorded before is not told again.
                    watch.missed();
                    match self.exchange(&session, &mut hear, &watch, &ended).await {
                        Ok(()) => return,
                        Err(fault) => fault,
                    }
                }
                Err(fault) => fault,
            };
            tracing::warn!(%fault, "no news from other producers at present, connecting again");
            let _ = timeout(PAUSE, ended.cancelled()).await;
        }
    }

    async fn exchange(
        &self,
        session: &Session,
        hear: &mut mpsc::Receiver<Notification>,
        watch: &Watch,
        ended: &CancellationToken,
    ) -> Result<(), Fault> {
        loop {
            tokio::select! {
                biased;
                () = ended.cancelled() => {
                    let _ = timeout(LAST_WORD, self.notify(session)).await;
                    return Ok(());
                }
                heard = hear.recv() => match heard {
                    Some(notification) => hear_of(&notification, watch),
                    None => return Err(Fault::lost()),
                },
                () = self.0.missed.notified() => watch.missed(),
                () = self.0.wake.notified() => self.notify(session).await?,
                () = sleep(SIGN_OF_LIFE) => session.batch("").await?,
            }
        }
    }

    /// Tells of all that waits. What fails is told as missed by the next session.
    async fn notify(&self, session: &Session) -> Result<(), Fault> {
        let Waiting { mut orders, missed } = std::mem::take(&mut *self.waiting());
        let told = async {
            if missed {
                session.query(NOTIFY, &[&""]).await?;
            }
            orders.sort_unstable_by_key(|order| order.0);
            orders.dedup();
            for some in orders.chunks(IN_ONE) {
                let text: String = some.iter().map(|order| order.0.simple().to_string()).collect();
                session.query(NOTIFY, &[&text]).await?;
            }
            Ok(())
        };
        let told = told.await;
        if told.is_err() {
            self.waiting().missed = true;
            self.0.wake.notify_one();
        }
        told
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open(server: &Server, heard: mpsc::Sender<Notification>) -> Result<Session, Fault> {
    let session = server.open(PURPOSE, Some(heard)).await?;
    session.batch(LISTEN).await?;
    Ok(session)
}

/// Ids without anything between, or nothing where more was recorded than fits. Our own come back too:
/// whoever waits here was woken by the commit, and looks once more.
fn hear_of(notification: &Notification, watch: &Watch) {
    let payload = notification.payload().as_bytes();
    if payload.is_empty() {
        watch.missed();
        return;
    }
    let ids: Vec<_> = payload.chunks(32).filter_map(|id| Uuid::try_parse_ascii(id).ok()).map(OrderId).collect();
    watch.changed(&ids);
}
