//! The parts of a running producer: tasks that end together.

use common::{
    broker::{
        BrokerFault,
        supervisor::{self, Session},
    },
    health::Component,
    process::Failure,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Every task that ends at `shutdown`.
pub(super) struct Parts {
    tasks: JoinSet<Result<(), BrokerFault>>,
    shutdown: CancellationToken,
}

impl Parts {
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), shutdown }
    }

    /// Runs sessions with the broker. A session that cannot go on ends the process.
    pub(super) fn supervise(&mut self, session: impl Session + 'static, component: Component) {
        let shutdown = self.shutdown.clone();
        let supervised = supervisor::supervise(session, component, shutdown.clone());
        self.tasks.spawn(async move {
            let ended = supervised.await;
            shutdown.cancel();
            ended
        });
    }

    /// Runs a part that needs no session and does not fail.
    pub(super) fn run(&mut self, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            part.await;
            Ok(())
        });
    }

    /// Waits for every part to end.
    ///
    /// # Errors
    /// The first fault of a part, once all have ended.
    pub(super) async fn join(mut self) -> Result<(), Failure> {
        let mut ended: Result<(), Failure> = Ok(());
        while let Some(part) = self.tasks.join_next().await {
            let part = part.map_err(Failure::from).and_then(|part| part.map_err(Failure::from));
            ended = ended.and(part);
        }
        ended
    }
}
