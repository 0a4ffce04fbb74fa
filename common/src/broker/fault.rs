//! Why a session with the broker ended.

use lapin::ErrorKind;

/// What ended a session, in words for the person on call.
#[derive(Debug, thiserror::Error)]
pub enum BrokerFault {
    /// No connection, or the connection or channel was lost.
    #[error("{doing}: {cause}")]
    Lost {
        /// What was being done.
        doing: &'static str,
        /// What the client or the broker said.
        cause: String,
    },
    /// Something took longer than its deadline.
    #[error("{doing}: no answer from the broker within {seconds} s")]
    Overdue {
        /// What was being done.
        doing: &'static str,
        /// The deadline.
        seconds: u64,
    },
    /// The broker refuses the user or the rights it has.
    #[error(
        "{doing}: the broker refuses access: {cause}; check the user, password, virtual host and permissions in AMQP_URL"
    )]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// What the broker said.
        cause: String,
    },
    /// Something on the broker has the right name and other properties.
    #[error(
        "{kind} {name:?} exists with other properties: {difference}; \
         either delete it on the broker (drain it first: its messages go with it) and start again, \
         or choose other names with EXCHANGE"
    )]
    Mismatch {
        /// `queue` or `exchange`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The broker's words: which argument, what was asked for and what is there.
        difference: String,
    },
    /// The broker ended the consumer: the queue was deleted, or a delivery was held for too long.
    #[error(
        "the broker ended the consumer of {queue:?}: the queue was deleted, or a delivery was held beyond the acknowledgement timeout"
    )]
    ConsumerEnded {
        /// The queue.
        queue: String,
    },
    /// A message has larger headers than the connection takes.
    #[error("{doing}: a message has larger headers than usual; connecting once for larger ones: {cause}")]
    FrameTooLarge {
        /// What was being done.
        doing: &'static str,
        /// How large it was.
        cause: String,
    },
    /// Messages came back because no queue is bound.
    #[error("{} messages came back because no queue is bound to the exchange, first {:?}", .message_ids.len(), .message_ids.first())]
    Returned {
        /// Which messages.
        message_ids: Vec<String>,
    },
}

impl BrokerFault {
    /// Whether waiting will not cure it: somebody has to change something first.
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
/// AMQP 0-9-1 reply code `frame-error`, which the client itself gives to a frame beyond its limit.
const FRAME_ERROR: u16 = 501;
/// AMQP 0-9-1 reply code `precondition-failed`.
pub(super) const PRECONDITION_FAILED: u16 = 406;

/// Whether the broker answered a declaration with "exists, but differs", and its words.
pub(super) fn mismatch(fault: &lapin::Error) -> Option<String> {
    match fault.kind() {
        ErrorKind::ProtocolError(amqp) if amqp.get_id() == PRECONDITION_FAILED => {
            let text = amqp.get_message().to_string();
            Some(text.trim_start_matches("PRECONDITION_FAILED - ").to_owned())
        }
        _ => None,
    }
}
