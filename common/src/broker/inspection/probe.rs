//! One probe of the broker, and how it can fail.

use std::time::Duration;

use lapin::{Channel, Connection, ErrorKind};
use tokio::time::timeout;

use crate::{
    broker::fault::{ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED},
    doctor::{Check, Finding},
};

/// How long the broker may take to answer a probe.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// The remedy for a quorum queue without a leader.
pub(super) const NO_LEADER: &str = "restart the broker's node cleanly (rabbitmqctl stop_app, then start_app), or \
    bring back the other nodes that hold it; rabbitmq-queues quorum_status shows which";

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProbeError {
    /// No such queue or exchange exists.
    Missing,
    /// It exists with other properties, or the request itself is invalid, as the broker says.
    Mismatch(String),
    /// The user lacks the permission, as the broker says.
    Forbidden(String),
    /// The broker did not answer in time.
    Overdue,
    /// Anything else.
    Other(String),
}

/// Sends a request on a separate channel.
pub(super) async fn probe<T>(
    connection: &Connection,
    request: impl AsyncFnOnce(&Channel) -> lapin::Result<T>,
) -> Result<T, ProbeError> {
    let probed = async {
        let channel = connection.create_channel().await?;
        let answer = request(&channel).await;
        if answer.is_ok() {
            // If this fails, it is closed with the connection.
            let _ = channel.close(200, "answered".into()).await;
        }
        answer
    };
    match timeout(PATIENCE, probed).await {
        Ok(answer) => answer.map_err(|fault| ProbeError::from(&fault)),
        Err(_) => Err(ProbeError::Overdue),
    }
}

impl From<&lapin::Error> for ProbeError {
    fn from(fault: &lapin::Error) -> Self {
        let ErrorKind::ProtocolError(amqp) = fault.kind() else { return Self::Other(fault.to_string()) };
        // The name of the reply code precedes the broker's message; it is of no use to a reader.
        let text = amqp.get_message().to_string();
        let message = text.split_once(" - ").map_or(&*text, |(_, message)| message).to_owned();
        match amqp.get_id() {
            NOT_FOUND => Self::Missing,
            PRECONDITION_FAILED => Self::Mismatch(message),
            ACCESS_REFUSED => Self::Forbidden(message),
            _ => Self::Other(text),
        }
    }
}

/// The finding for errors that mean the same for every probe. `right` is the permission that the probe needs.
pub(super) fn failed(check: Check, name: &str, fault: ProbeError, right: &str) -> Finding {
    match fault {
        ProbeError::Forbidden(message) => Finding::error(
            Check::Rights,
            name,
            message,
            format!(
                "give the user in AMQP_URL permission to {right} it, with rabbitmqctl set_permissions or in the \
                 definitions: one pattern of names each for configure, write and read"
            ),
        ),
        ProbeError::Overdue => Finding::error(
            check,
            name,
            format!("the broker does not answer about it within {} s", PATIENCE.as_secs()),
            format!("if it is a queue, it has no leader: {NO_LEADER}"),
        ),
        ProbeError::Missing => Finding::error(
            check,
            name,
            "does not exist",
            "find out who deletes it, and whether the user in AMQP_URL may declare it",
        ),
        ProbeError::Mismatch(message) | ProbeError::Other(message) => Finding::error(
            check,
            name,
            message,
            "check the broker's log, and run the doctor again when the connection is back",
        ),
    }
}
