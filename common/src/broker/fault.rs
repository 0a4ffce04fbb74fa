//! Why a session with the broker ended.

use lapin::ErrorKind;

/// What ended a session, worded for the person on call.
#[expect(missing_docs, reason = "the messages say it")]
#[derive(Debug, thiserror::Error)]
pub enum BrokerFault {
    /// There was no connection, or the connection or channel was lost.
    #[error("{doing}: {cause}")]
    Lost { doing: &'static str, cause: String },
    /// Something took longer than its deadline.
    #[error("{doing}: no answer from the broker within {seconds} s")]
    Overdue { doing: &'static str, seconds: u64 },
    /// The broker refuses the user, or the user lacks a permission.
    #[error(
        "{doing}: the broker refuses access: {cause}; check the user, password, virtual host and permissions in AMQP_URL"
    )]
    Refused { doing: &'static str, cause: String },
    /// A queue or an exchange exists with the right name and other properties.
    #[error(
        "{kind} {name:?} exists with other properties: {difference}; \
         either delete it on the broker (drain it first: its messages go with it) and start again, \
         or choose other names with EXCHANGE"
    )]
    Mismatch {
        /// `queue` or `exchange`.
        kind: &'static str,
        name: String,
        /// The broker's message: the argument, the requested value and the existing one.
        difference: String,
    },
    /// The broker ended the consumer: the queue was deleted, or a delivery was held for too long.
    #[error(
        "the broker ended the consumer of {queue:?}: the queue was deleted, or a delivery was held beyond the acknowledgement timeout"
    )]
    ConsumerEnded { queue: String },
    /// A message has larger headers than the connection accepts.
    #[error("{doing}: a message has larger headers than usual; accepting them on the next connection: {cause}")]
    FrameTooLarge { doing: &'static str, cause: String },
    /// Messages were returned because no queue is bound.
    #[error("{} messages were returned because no queue is bound to the exchange, first {:?}", .message_ids.len(), .message_ids.first())]
    Returned { message_ids: Vec<String> },
}

impl BrokerFault {
    /// Whether retrying cannot help until a person changes something.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        matches!(self, Self::Mismatch { .. })
    }

    pub(super) fn from_client(doing: &'static str, fault: &lapin::Error) -> Self {
        let cause = match fault.kind() {
            ErrorKind::ProtocolError(amqp) => {
                let cause = amqp.get_message().to_string();
                match amqp.get_id() {
                    ACCESS_REFUSED => return Self::Refused { doing, cause },
                    FRAME_ERROR => return Self::FrameTooLarge { doing, cause },
                    _ => cause,
                }
            }
            _ => fault.to_string(),
        };
        Self::Lost { doing, cause }
    }
}

/// AMQP 0-9-1 reply code `access-refused`.
pub(super) const ACCESS_REFUSED: u16 = 403;
/// AMQP 0-9-1 reply code `not-found`.
pub(super) const NOT_FOUND: u16 = 404;
/// AMQP 0-9-1 reply code `frame-error`, which the client itself reports for a frame over its limit.
const FRAME_ERROR: u16 = 501;
/// AMQP 0-9-1 reply code `precondition-failed`.
pub(super) const PRECONDITION_FAILED: u16 = 406;

/// The broker's message if it refused a declaration because the thing exists with other properties.
pub(super) fn mismatch(fault: &lapin::Error) -> Option<String> {
    match fault.kind() {
        ErrorKind::ProtocolError(amqp) if amqp.get_id() == PRECONDITION_FAILED => {
            let text = amqp.get_message().to_string();
            Some(text.trim_start_matches("PRECONDITION_FAILED - ").to_owned())
        }
        _ => None,
    }
}
