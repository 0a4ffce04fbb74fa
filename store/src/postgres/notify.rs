//! Notifications between producers: what one of them records wakes those who wait for it at another.
//!
//! A notification inside the transaction of an order would make all commits wait for one another, so one
//! session sends them afterwards, each for many orders, and only while other producers are alive.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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
use crate::{Changes, Committed, fault::Fault};

/// Most orders that wait to be sent. Beyond it the others have to look at everything that they wait for.
const MOST: usize = 16_384;
/// Most orders in one notification: the server takes less than 8,000 bytes.
const IN_ONE: usize = 7_900 / Uuid::encode_buffer().len();
/// Most notifications that wait to be read.
const RECEIVED: usize = 4_096;
/// The pause before the next session.
const PAUSE: Duration = Duration::from_millis(500);
/// A session on which nothing arrives may be dead: it is checked at this interval.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// How long the last notifications may take.
const LAST_NOTIFICATIONS: Duration = Duration::from_secs(1);

const LISTEN: &str = "LISTEN tandem_orders; SET synchronous_commit = off";
const NOTIFY: &str = "SELECT pg_notify('tandem_orders', $1)";
const PURPOSE: Purpose = Purpose { name: "notifier", by_key: false, statements: &[&[NOTIFY]] };

/// Notifies the other producers. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notifier(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether any other producer is alive.
    others: AtomicBool,
    unsent: Mutex<Unsent>,
    wake: Notify,
    /// Others may not have notified this producer.
    missed: Notify,
}

#[derive(Debug, Default)]
struct Unsent {
    orders: Vec<OrderId>,
    /// More was recorded than `orders` says.
    missed: bool,
}

impl Notifier {
    /// Notes whether any other producer is alive.
    pub(super) fn others_live(&self, others: bool) {
        self.0.others.store(others, Ordering::Relaxed);
    }

    /// Notifies the other producers, soon, that something was recorded of these orders.
    pub(crate) fn notify(&self, orders: impl Iterator<Item = OrderId>) {
        if !self.0.others.load(Ordering::Relaxed) {
            return;
        }
        let mut unsent = self.unsent();
        let before = unsent.orders.len();
        unsent.orders.extend(orders);
        let added = unsent.orders.len() > before;
        if unsent.orders.len() > MOST {
            *unsent = Unsent { missed: true, ..Unsent::default() };
        }
        drop(unsent);
        if added {
            self.0.wake.notify_one();
        }
    }

    /// Notes that others may have taken this producer for dead, and have not notified it.
    pub(super) fn missed(&self) {
        self.0.missed.notify_one();
    }

    /// Listens and notifies until `ended`, over one session after the other. What others record goes to
    /// `committed` while that is open.
    pub(super) async fn run(
        self,
        server: Server,
        committed: mpsc::WeakUnboundedSender<Committed>,
        ended: CancellationToken,
    ) {
        while !ended.is_cancelled() {
            let (sender, mut received) = mpsc::channel(RECEIVED);
            let fault = match open(&server, sender).await {
                Ok(session) => {
                    // Whatever was recorded before is not sent again.
                    pass_on(&committed, Changes::Unknown);
                    match self.exchange(&session, &mut received, &committed, &ended).await {
                        Ok(()) => return,
                        Err(fault) => fault,
                    }
                }
                Err(fault) => fault,
            };
            tracing::warn!(%fault, "no notifications from other producers at present, connecting again");
            let _ = timeout(PAUSE, ended.cancelled()).await;
        }
    }

    async fn exchange(
        &self,
        session: &Session,
        received: &mut mpsc::Receiver<Notification>,
        committed: &mpsc::WeakUnboundedSender<Committed>,
        ended: &CancellationToken,
    ) -> Result<(), Fault> {
        loop {
            tokio::select! {
                biased;
                () = ended.cancelled() => {
                    let _ = timeout(LAST_NOTIFICATIONS, self.send(session)).await;
                    return Ok(());
                }
                notification = received.recv() => match notification {
                    Some(notification) => pass_on(committed, changes(&notification)),
                    None => return Err(Fault::lost()),
                },
                () = self.0.missed.notified() => pass_on(committed, Changes::Unknown),
                () = self.0.wake.notified() => self.send(session).await?,
                () = sleep(SIGN_OF_LIFE) => session.batch("").await?,
            }
        }
    }

    /// Sends all that is unsent. What fails is sent as missed by the next session.
    async fn send(&self, session: &Session) -> Result<(), Fault> {
        let Unsent { mut orders, missed } = std::mem::take(&mut *self.unsent());
        let sending = async {
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
        let sent = sending.await;
        if sent.is_err() {
            self.unsent().missed = true;
            self.0.wake.notify_one();
        }
        sent
    }

    fn unsent(&self) -> MutexGuard<'_, Unsent> {
        self.0.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open(server: &Server, received: mpsc::Sender<Notification>) -> Result<Session, Fault> {
    let session = server.open(PURPOSE, Some(received)).await?;
    session.batch(LISTEN).await?;
    Ok(session)
}

/// Ids without anything between them; none if more was recorded than fits. A producer's own notifications come
/// back too: those who wait were woken by the commit, and look once more.
fn changes(notification: &Notification) -> Changes {
    let payload = notification.payload().as_bytes();
    if payload.is_empty() {
        return Changes::Unknown;
    }
    Changes::Of(payload.chunks(32).filter_map(|id| Uuid::try_parse_ascii(id).ok()).map(OrderId).collect())
}

fn pass_on(committed: &mpsc::WeakUnboundedSender<Committed>, changed: Changes) {
    if let Some(committed) = committed.upgrade() {
        let _ = committed.send(Committed::elsewhere(changed));
    }
}
