//! What the broker answered to one question.

use std::time::Duration;

use lapin::{Channel, Connection, ErrorKind};
use tokio::time::timeout;

use crate::{
    broker::fault::{ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED},
    doctor::{Check, Finding},
};

/// How long the broker may take over one question.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// What cures a quorum queue without a leader.
pub(super) const NO_LEADER: &str = "restart the broker's node in good order (rabbitmqctl stop_app, then start_app), or \
    bring back the other nodes that hold it; rabbitmq-queues quorum_status tells which";

/// Any answer but yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// There is no such thing.
    Missing,
    /// It exists with other properties, or the question itself is wrong, in the broker's words.
    Mismatch(String),
    /// The user may not, in the broker's words.
    Forbidden(String),
    /// None in time.
    Overdue,
    /// Anything else.
    Other(String),
}

/// Asks on a channel of its own.
pub(super) async fn ask<T>(
    connection: &Connection,
    question: impl AsyncFnOnce(&Channel) -> lapin::Result<T>,
) -> Result<T, Answer> {
    let asked = async {
        let channel = connection.create_channel().await?;
        let answer = question(&channel).await;
        if answer.is_ok() {
            // It ends with the connection at the latest.
            let _ = channel.close(200, "answered".into()).await;
        }
        answer
    };
    match timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|fault| Answer::from(&fault)),
        Err(_) => Err(Answer::Overdue),
    }
}

impl From<&lapin::Error> for Answer {
    fn from(fault: &lapin::Error) -> Self {
        let ErrorKind::ProtocolError(amqp) = fault.kind() else { return Self::Other(fault.to_string()) };
        // The code stands in front of the broker's words; a reader has no use for it.
        let text = amqp.get_message().to_string();
        let words = text.split_once(" - ").map_or(&*text, |(_, words)| words).to_owned();
        match amqp.get_id() {
            NOT_FOUND => Self::Missing,
            PRECONDITION_FAILED => Self::Mismatch(words),
            ACCESS_REFUSED => Self::Forbidden(words),
            _ => Self::Other(text),
        }
    }
}

/// The finding for answers that mean the same whatever was asked; `right` is the permission that the question takes.
pub(super) fn faulty(check: Check, name: &str, answer: Answer, right: &str) -> Finding {
    match answer {
        Answer::Forbidden(words) => Finding::error(
            Check::Rights,
            name,
            words,
            format!(
                "give the user of AMQP_URL the right to {right} it, with rabbitmqctl set_permissions or in the \
                 definitions: three patterns of names, for configure, write and read"
            ),
        ),
        Answer::Overdue => Finding::error(
            check,
            name,
            format!("the broker says nothing about it for {} s", PATIENCE.as_secs()),
            format!("if it is a queue, it has no leader: {NO_LEADER}"),
        ),
        Answer::Missing => Finding::error(
            check,
            name,
            "does not exist",
            "look who deletes it, and whether the user of AMQP_URL may declare it",
        ),
        Answer::Mismatch(words) | Answer::Other(words) => {
            Finding::error(check, name, words, "look at the broker's log; ask again when the connection is back")
        }
    }
}
