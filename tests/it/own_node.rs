//! A RabbitMQ of the tests' own, for what would disturb others on the shared one: it is killed, starved and limited.

use anyhow::Result;
use tests::broker::{Broker, Installation};
use tokio::sync::{Mutex, MutexGuard};

/// Started once, since that takes seconds, and used by one test at a time.
static NODE: Mutex<Option<Broker>> = Mutex::const_new(None);

/// The node, for one test.
pub(crate) struct OwnNode {
    turn: MutexGuard<'static, Option<Broker>>,
    node: Broker,
}

impl OwnNode {
    /// Waits for its turn. `None`, and a word about it, where `AMQP_URL` is all there is.
    pub(crate) async fn take() -> Result<Option<Self>> {
        if Broker::given().is_some() && Installation::find().is_none() {
            eprintln!("skipped: no rabbitmq-server is installed here");
            return Ok(None);
        }
        let mut turn = NODE.lock().await;
        let node = match turn.take() {
            Some(node) => node,
            None => Broker::start().await?,
        };
        Ok(Some(Self { turn, node }))
    }

    /// Leaves it to the next test, in good order. A test that fails does not get here: the node goes with it.
    pub(crate) fn leave(mut self) {
        *self.turn = Some(self.node);
    }
}

impl std::ops::Deref for OwnNode {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.node
    }
}
