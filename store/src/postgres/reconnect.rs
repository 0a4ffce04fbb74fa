//! A connection to the server that reconnects: a session when one is needed, another after it was lost.

use std::time::Duration;

use tokio::time::Instant;

use super::session::{Purpose, Server, Session};
use crate::fault::Fault;

/// The first pause after a failed connection; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// One connection at a time.
pub(super) struct Reconnecting {
    server: Server,
    purpose: Purpose,
    session: Option<Session>,
    /// Why there is none, and when the next one is tried: until then every caller gets the fault at once.
    absent: Option<Absent>,
}

struct Absent {
    fault: Fault,
    pause: Duration,
    retry_at: Instant,
}

impl Reconnecting {
    pub(super) fn new(server: Server, purpose: Purpose) -> Self {
        Self { server, purpose, session: None, absent: None }
    }

    /// The session, opened if there is none.
    pub(super) async fn session(&mut self) -> Result<&Session, Fault> {
        if self.session.as_ref().is_some_and(Session::is_closed) {
            self.session = None;
        }
        match &mut self.session {
            Some(session) => Ok(session),
            none => {
                if let Some(absent) = self.absent.as_ref().filter(|absent| Instant::now() < absent.retry_at) {
                    return Err(absent.fault.clone());
                }
                match self.server.open(self.purpose, None).await {
                    Ok(session) => {
                        self.absent = None;
                        Ok(none.insert(session))
                    }
                    Err(fault) => {
                        let pause = self.absent.as_ref().map_or(PAUSE, |absent| absent.pause * 2).min(LONGEST_PAUSE);
                        let retry_at = Instant::now() + pause;
                        self.absent = Some(Absent { fault: fault.clone(), pause, retry_at });
                        Err(fault)
                    }
                }
            }
        }
    }

    /// The session that is open, if one is.
    pub(super) fn current(&self) -> Option<&Session> {
        self.session.as_ref().filter(|session| !session.is_closed())
    }

    /// Drops the session, whose state is not known.
    pub(super) fn disconnect(&mut self) {
        self.session = None;
    }
}
