//! A separate RabbitMQ, for what would disturb tests on the shared one: it is killed, and short of memory or room.

use anyhow::Result;
use tests::broker::{Broker, Installation};
use tokio::sync::{Mutex, MutexGuard};

/// Started once, because that takes seconds, and used by one test at a time.
static BROKER: Mutex<Option<Broker>> = Mutex::const_new(None);

/// The broker, while one test has it.
pub(crate) struct OwnBroker {
    turn: MutexGuard<'static, Option<Broker>>,
    broker: Broker,
}

impl OwnBroker {
    /// Waits for its turn. `None` and a message if there is only the broker at `AMQP_URL`.
    pub(crate) async fn take() -> Result<Option<Self>> {
        if Broker::given().is_some() && Installation::find().is_none() {
            eprintln!("skipped: no rabbitmq-server is installed here");
            return Ok(None);
        }
        let mut turn = BROKER.lock().await;
        let broker = match turn.take() {
            Some(broker) => broker,
            None => Broker::start().await?,
        };
        Ok(Some(Self { turn, broker }))
    }

    /// Leaves it to the next test. A test that fails does not get here, and its broker ends with it.
    pub(crate) fn give_back(mut self) {
        *self.turn = Some(self.broker);
    }
}

impl std::ops::Deref for OwnBroker {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.broker
    }
}
