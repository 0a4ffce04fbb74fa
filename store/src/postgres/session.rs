//! A session with the server: one connection, its settings, its prepared statements.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::{join_all, poll_fn};
use tokio::{sync::mpsc, time::timeout};
use tokio_postgres::{AsyncMessage, Client, Notification, Row, Statement, types::ToSql};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::TaskTracker;

use super::{PostgresAddress, tls};
use crate::fault::Fault;

/// How long opening a session may take, over all addresses of the host.
const OPEN_WITHIN: Duration = Duration::from_secs(15);
/// How long a statement may take, unless a caller sets a closer deadline. The server ends it before that.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How long closing a connection may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// In every session. A transaction whose owner is frozen must not hold up the others; and a commit must be on
/// disk, even if the server is configured not to wait for its disk.
const SETTINGS: &str = "
    SET statement_timeout = '10s';
    SET idle_in_transaction_session_timeout = '10s';
    SET client_min_messages = warning;
    SET jit = off;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";
/// On the order path: each statement looks up rows by key, whatever the statistics say at the moment, and in the
/// order that is given to it, so that two transactions lock in the same order.
const BY_KEY: &str = "
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off;
    SET enable_bitmapscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off";

/// The parameters of a statement.
pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How the server is reached. Cloning shares it.
#[derive(Clone)]
pub(super) struct Server {
    address: PostgresAddress,
    tls: MakeRustlsConnect,
    /// Every connection's task, joined at shutdown.
    tasks: TaskTracker,
}

/// What a session is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose {
    /// The name under which the server lists the session.
    pub(crate) name: &'static str,
    /// Whether it looks up rows by key.
    pub(crate) by_key: bool,
    /// What is prepared when it opens.
    pub(crate) statements: &'static [&'static [&'static str]],
}

/// One connection. Dropping it ends it, and rolls back what was not committed.
pub(crate) struct Session {
    client: Client,
    prepared: Mutex<HashMap<&'static str, Statement>>,
}

impl Server {
    /// A server whose connections are tasks of `tasks`.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(super) fn new(address: PostgresAddress, tasks: TaskTracker) -> Result<Self, Fault> {
        let tls = tls::connector(address.allows_tls())?;
        Ok(Self { address, tls, tasks })
    }

    /// Opens a session. Notifications go to `notified`, if it is given.
    pub(super) async fn open(
        &self,
        purpose: Purpose,
        notified: Option<mpsc::Sender<Notification>>,
    ) -> Result<Session, Fault> {
        match timeout(OPEN_WITHIN, self.connect(purpose, notified)).await {
            Ok(opened) => opened,
            Err(_) => Err(Fault::overdue()),
        }
    }

    async fn connect(&self, purpose: Purpose, notified: Option<mpsc::Sender<Notification>>) -> Result<Session, Fault> {
        let (client, mut connection) = self.address.named(purpose.name).connect(self.tls.clone()).await?;
        self.tasks.spawn(async move {
            // Ends with the client. Its fault is that of the client's next statement.
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let (AsyncMessage::Notification(notification), Some(notified)) = (message, &notified) {
                    // A bound, and a stop: a listener that does not keep up has to start again.
                    if notified.try_send(notification).is_err() {
                        break;
                    }
                }
            }
            let _ = timeout(CLOSE_WITHIN, connection).await;
        });
        client.batch_execute(SETTINGS).await?;
        if purpose.by_key {
            client.batch_execute(BY_KEY).await?;
        }
        let session = Session { client, prepared: Mutex::default() };
        for prepared in join_all(purpose.statements.iter().copied().flatten().map(|text| session.prepare(text))).await {
            prepared?;
        }
        Ok(session)
    }
}

impl Session {
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs a statement, prepared once. Statements whose futures are polled together go over the wire
    /// together, in the order in which they are polled first.
    pub(crate) async fn query(&self, text: &'static str, parameters: Parameters<'_>) -> Result<Vec<Row>, Fault> {
        let statement = self.prepare(text).await?;
        within(self.client.query(&statement, parameters)).await
    }

    /// The same, for the first row only.
    pub(super) async fn query_first(
        &self,
        text: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>, Fault> {
        Ok(self.query(text, parameters).await?.into_iter().next())
    }

    /// The same, for the number of rows that were changed.
    pub(crate) async fn execute(&self, text: &'static str, parameters: Parameters<'_>) -> Result<u64, Fault> {
        let statement = self.prepare(text).await?;
        within(self.client.execute(&statement, parameters)).await
    }

    /// Runs statements without parameters.
    pub(super) async fn batch(&self, text: &str) -> Result<(), Fault> {
        within(self.client.batch_execute(text)).await
    }

    pub(super) async fn begin(&self) -> Result<(), Fault> {
        self.batch("BEGIN").await
    }

    pub(super) async fn commit(&self) -> Result<(), Fault> {
        self.batch("COMMIT").await
    }

    pub(super) async fn rollback(&self) -> Result<(), Fault> {
        self.batch("ROLLBACK").await
    }

    async fn prepare(&self, text: &'static str) -> Result<Statement, Fault> {
        let known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(text).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = within(self.client.prepare(text)).await?;
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).insert(text, statement.clone());
        Ok(statement)
    }
}

async fn within<T>(answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Fault> {
    match timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Fault::overdue()),
    }
}
