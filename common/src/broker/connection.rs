//! Where the broker is, and connecting to it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use lapin::{Connection, ConnectionProperties, uri::AMQPUri};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use super::{
    BrokerFault,
    deadline::{CLOSE_TIMEOUT, step},
    topology::Names,
};
use crate::destination::Name;

/// The heartbeat interval. The server's default of a minute leaves a half-open connection unnoticed
/// for two.
const HEARTBEAT_SECONDS: u16 = 10;
/// The client keeps two rings of 32 frames for each connection: 7.5 MB at the broker's default frame
/// size, a tenth of that at this one, and just as fast for messages of an order's size.
const FRAME_MAX: u32 = 8_192;

/// For one consuming connection, after another one was ended by a message that did not fit: the headers
/// of a message come in one frame, and anyone may write to a queue. It is the broker's default, so no
/// message has larger headers unless the broker is configured for it. Its rings grow to 8 MB over time,
/// and a producer has a consumer for each dead-letter queue, so it is not the usual limit.
const FRAME_MAX_AFTER_A_FAULT: u32 = 131_072;

/// What a connection is for. Publishing and consuming never share one: while the broker blocks
/// publishers, nothing is written on a connection that has published, acknowledgements included.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Publish,
    /// Publishes what was consumed before, with its original headers.
    Redrive,
    Consume,
    /// Only looks.
    Inspect,
}

/// Where the broker is, what things are called there, and the destinations that this process declares.
#[derive(Clone, Debug)]
pub struct Broker {
    pub(super) url: SecretString,
    service: &'static str,
    names: Names,
    destinations: Arc<[Name]>,
    frames: FrameLimit,
}

/// Whether the next consuming connection must accept larger frames than usual. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct FrameLimit(Arc<AtomicBool>);

impl FrameLimit {
    /// A message did not fit: raises the limit for the next connection only.
    pub(super) fn too_small(&self) {
        self.0.store(true, Relaxed);
    }

    /// The limit for a new connection: the usual one, or the one in its URL, raised after a fault. Without
    /// that, a message that did not fit would be delivered again and again.
    fn limit(&self, of_url: Option<u32>) -> u32 {
        let usual = of_url.unwrap_or(FRAME_MAX);
        if self.0.swap(false, Relaxed) { usual.max(FRAME_MAX_AFTER_A_FAULT) } else { usual }
    }
}

/// Checks that the text is the URL of a broker.
///
/// # Errors
/// What the URL must look like. Never the text itself, which holds a password.
pub fn check_url(url: &SecretString) -> Result<(), String> {
    parse(url).map(|_| ())
}

pub(super) fn parse(url: &SecretString) -> Result<AMQPUri, String> {
    let expected = "must be a URL such as amqp://user:password@host:5672/%2f (special characters percent-encoded)";
    let url = url.expose_secret();
    // The parser fills in a missing host, which would send the credentials to the wrong one.
    let rest = url.strip_prefix("amqp://").or_else(|| url.strip_prefix("amqps://")).ok_or(expected)?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') {
        return Err(expected.to_owned());
    }
    let mut uri: AMQPUri = url.parse().map_err(|_| expected.to_owned())?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    Ok(uri)
}

impl Broker {
    /// The broker, for the process called `service`. Each of its connections declares the queues of these
    /// destinations.
    #[must_use]
    pub fn new(url: SecretString, service: &'static str, names: Names, destinations: impl Into<Arc<[Name]>>) -> Self {
        Self { url, service, names, destinations: destinations.into(), frames: FrameLimit::default() }
    }

    /// The same broker for another consumer: what one learns about the size of frames concerns its queue alone.
    #[must_use]
    pub fn for_another_queue(&self) -> Self {
        Self { frames: FrameLimit::default(), ..self.clone() }
    }

    pub(super) fn frames(&self) -> &FrameLimit {
        &self.frames
    }

    /// What things are called there.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The destinations whose queues this process declares.
    #[must_use]
    pub fn destinations(&self) -> &[Name] {
        &self.destinations
    }

    /// Opens a connection, which the broker's management shows as `service:role`.
    pub(super) async fn connect(&self, role: Role) -> Result<Connection, BrokerFault> {
        const DOING: &str = "connecting to the broker";
        let mut uri = parse(&self.url).map_err(|cause| BrokerFault::Lost { doing: DOING, cause })?;
        let of_url = uri.query.frame_max;
        let (role, frame_max) = match role {
            Role::Publish => ("publish", of_url.unwrap_or(FRAME_MAX)),
            // Anything that could be consumed can be sent again.
            Role::Redrive => ("redrive", of_url.unwrap_or(FRAME_MAX_AFTER_A_FAULT)),
            Role::Consume => ("consume", self.frames.limit(of_url)),
            Role::Inspect => ("inspect", of_url.unwrap_or(FRAME_MAX)),
        };
        uri.query.frame_max = Some(frame_max);
        let name = format!("{}:{role}", self.service);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let address = format!("{}:{}", uri.authority.host, uri.authority.port);
        step(DOING, Connection::connect_uri(uri, properties)).await.map_err(|fault| match fault {
            BrokerFault::Lost { doing, cause } => {
                BrokerFault::Lost { doing, cause: format!("{cause}; AMQP_URL names {address}") }
            }
            other => other,
        })
    }
}

/// Closes a connection cleanly, if the broker answers soon. If not, it notices the end by itself.
pub(super) async fn close(connection: &Connection) {
    let _ = timeout(CLOSE_TIMEOUT, connection.close(200, "done".into())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_scheme_and_host() {
        for good in ["amqp://localhost", "amqp://u:p@h:5672/%2f", "amqps://h/v?heartbeat=5", "amqp://u:p@[::1]:5672/"] {
            assert_eq!(check_url(&good.into()), Ok(()), "{good}");
        }
        for bad in [
            "",
            "localhost",
            "http://h",
            "amqp:/u:hush@h",
            "amqp://",
            "amqp:///v",
            "amqp://u:hush@",
            "amqp://u:hush@:5672",
        ] {
            let Err(fault) = check_url(&bad.into()) else { panic!("{bad} was accepted") };
            assert!(!fault.contains("hush"));
        }
    }

    #[test]
    fn what_the_url_does_not_set_has_our_default() {
        let heartbeat = |url: &str| parse(&url.into()).map(|uri| uri.query.heartbeat);
        assert_eq!(heartbeat("amqp://h"), Ok(Some(HEARTBEAT_SECONDS)));
        assert_eq!(heartbeat("amqp://h?heartbeat=3"), Ok(Some(3)));
    }

    #[test]
    fn after_a_message_that_did_not_fit_one_connection_takes_larger_frames() {
        let frames = FrameLimit::default();
        assert_eq!(frames.limit(None), FRAME_MAX);
        assert_eq!(frames.limit(Some(4_096)), 4_096);
        for of_url in [None, Some(4_096)] {
            frames.clone().too_small();
            assert_eq!(frames.limit(of_url), FRAME_MAX_AFTER_A_FAULT);
            assert_eq!(frames.limit(None), FRAME_MAX);
        }
        frames.too_small();
        assert_eq!(frames.limit(Some(1_000_000)), 1_000_000);
    }
}
