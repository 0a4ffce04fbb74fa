//! What the parts of the producer share.

use std::{sync::Arc, time::Duration};

use common::{broker::Broker, health::Health, telemetry::metrics::Metrics};
use store::{Desk, Writes};

use crate::{outbox::Outbox, waker::Begun, watch::Watch};

/// What the parts of the producer are built from.
#[derive(Clone)]
pub(crate) struct Context {
    /// The broker, with the destinations of every order.
    pub broker: Broker,
    /// How long a drain may take.
    pub grace: Duration,
    pub desk: Desk,
    pub writes: Writes,
    pub outbox: Arc<Outbox>,
    pub watch: Watch,
    pub begun: Begun,
    pub health: Health,
    pub metrics: Metrics,
}
