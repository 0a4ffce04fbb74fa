//! The inspection of the broker: whether this process can do there what it must, and the remedy if not.
//!
//! It uses separate connections, and a channel for every probe: the broker refuses a request by closing the channel.
//! Nothing is consumed and nothing is published.

mod probe;
mod queue;
mod rights;

use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use lapin::{Connection, ExchangeKind, options::ExchangeDeclareOptions, types::FieldTable, uri::AMQPScheme};

use self::probe::{ProbeError, failed, probe};
use super::{
    Broker, BrokerFault,
    connection::{Role, close, parse},
    greeting,
    topology::Names,
};
use crate::{
    doctor::{Check, Finding},
    reach::reach,
};

/// How many queues are examined at a time, each on its own channels.
const AT_A_TIME: usize = 8;
/// The oldest and the newest version that Tandem is tested with.
const OLDEST: (u32, u32) = (3, 10);
const NEWEST: (u32, u32) = (4, 3);
/// The name of the default exchange in permissions.
const DEFAULT_EXCHANGE: &str = "amq.default";

/// What a process needs from the broker.
#[derive(Clone, Debug)]
pub struct Needs {
    /// The queues it consumes.
    pub consumes: Vec<String>,
    /// Whether it publishes to the fan-out exchange.
    pub publishes_events: bool,
    /// Whether it publishes to single queues, through the default exchange.
    pub publishes_to_queues: bool,
    /// Who takes dead letters from their queues.
    pub collector: Collector,
}

/// Who takes dead letters from their queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collector {
    /// This process does.
    Here,
    /// Nobody: this process could, but is configured not to.
    Off,
    /// Another process, whose own doctor reports on it.
    Elsewhere,
}

/// Checks everything that the process needs. The findings are in the order of the flow.
///
/// Cancellation safe: everything that was opened is closed with its connection.
pub async fn inspect(broker: &Broker, needs: &Needs) -> Vec<Finding> {
    let (subject, greeting) = greet(broker).await;
    let mut findings = match greeting {
        Ok(finding) => vec![finding],
        Err(finding) => return vec![finding],
    };
    let connection = match broker.connect(Role::Inspect).await {
        Ok(connection) => connection,
        Err(fault) => {
            findings.push(no_access(&subject, &fault));
            return findings;
        }
    };
    let names = broker.names();
    findings.extend(exchanges(&connection, names).await);
    let queues = queue::needed(broker, needs.collector);
    let examinations: Vec<_> = queues.iter().map(|queue| queue.examine(&connection, names)).collect();
    let examined: Vec<_> = stream::iter(examinations).buffered(AT_A_TIME).collect().await;
    findings.extend(examined.into_iter().flatten());
    findings.extend(rights::to_read(&connection, &needs.consumes).await);
    close(&connection).await;
    findings.extend(rights::to_write(broker, &subject, needs).await);
    findings
}

/// The address of the broker, and what answers there: a broker or an error.
async fn greet(broker: &Broker) -> (String, Result<Finding, Finding>) {
    let uri = match parse(&broker.url) {
        Ok(uri) => uri,
        Err(fault) => {
            return (String::new(), Err(Finding::error(Check::Broker, "AMQP_URL", fault, "correct AMQP_URL")));
        }
    };
    let (host, port) = (uri.authority.host, uri.authority.port);
    let subject = format!("{host}:{port}");
    let begun = Instant::now();
    let stream = match reach(&host, port, uri.scheme == AMQPScheme::AMQPS).await {
        Ok(stream) => stream,
        Err(fault) => {
            let finding = Finding::error(Check::Broker, &*subject, fault.to_string(), fault.remedy("AMQP_URL"));
            return (subject, Err(finding));
        }
    };
    let greeting = match greeting::version(stream).await {
        Ok(version) => Ok(version_finding(&subject, &version, begun.elapsed().as_millis())),
        Err(fault) => {
            let remedy = "correct host, port and scheme in AMQP_URL (RabbitMQ listens on 5672, or on 5671 with TLS); if \
                          they are right, check the broker's log";
            Err(Finding::error(Check::Broker, &*subject, fault, remedy))
        }
    };
    (subject, greeting)
}

fn version_finding(subject: &str, version: &str, millis: u128) -> Finding {
    let detail = format!("RabbitMQ {version} answers ({millis} ms)");
    let span = format!("{}.{} to {}.{}", OLDEST.0, OLDEST.1, NEWEST.0, NEWEST.1);
    match greeting::major_and_minor(version) {
        Some(number) if number < OLDEST => Finding::error(
            Check::Broker,
            subject,
            format!("{detail}; this version cannot keep dead letters safe"),
            format!("upgrade the broker: versions {span} are supported"),
        ),
        Some(number) if number <= NEWEST => Finding::ok(Check::Broker, subject, detail),
        _ => Finding::warning(
            Check::Broker,
            subject,
            format!("{detail}; Tandem is not tested with this version"),
            format!("versions {span} are supported; read the broker's release notes on quorum queues"),
        ),
    }
}

fn no_access(subject: &str, fault: &BrokerFault) -> Finding {
    let message = fault.to_string();
    if matches!(fault, BrokerFault::Refused { .. }) {
        return Finding::error(
            Check::Rights,
            subject,
            "the broker refuses the user or the password in AMQP_URL",
            "correct user and password in AMQP_URL, or create the user: rabbitmqctl add_user USER, then rabbitmqctl \
             set_permissions",
        );
    }
    // The name of the reply code in the broker's message: no such virtual host, or the user may not use it.
    if message.contains("NOT_ALLOWED") {
        return Finding::error(
            Check::Rights,
            subject,
            format!("the broker does not give the user access to the virtual host: {message}"),
            "correct the virtual host at the end of AMQP_URL (%2f is /), create it with rabbitmqctl add_vhost, or give \
             the user access with rabbitmqctl set_permissions",
        );
    }
    let remedy = "check the broker's log for this connection, and its alarms: rabbitmq-diagnostics alarms";
    Finding::error(Check::Broker, subject, message, remedy)
}

/// Declares both exchanges again, with the properties that they must have.
async fn exchanges(connection: &Connection, names: &Names) -> Vec<Finding> {
    let dead_letters = names.dead_letter_exchange();
    let kinds = [
        (names.exchange(), ExchangeKind::Fanout, Check::Exchange, "takes every event and copies it to each queue"),
        (&*dead_letters, ExchangeKind::Direct, Check::DeadLetterExchange, "takes dead letters to their queues"),
    ];
    let mut findings = Vec::new();
    for (name, kind, check, purpose) in kinds {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared = probe(connection, async |channel| {
            channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await
        });
        findings.push(match declared.await {
            Ok(()) => Finding::ok(check, name, purpose),
            Err(ProbeError::Mismatch(difference)) => Finding::error(
                check,
                name,
                format!("exists with other properties: {difference}"),
                "choose another name with EXCHANGE, or stop every process of Tandem, delete this exchange on the \
                 broker and start them again: they declare it correctly",
            ),
            Err(fault) => failed(check, name, fault, "configure"),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn a_version_that_is_too_old_is_an_error_and_a_newer_one_a_warning() {
        for (version, status) in [
            ("3.9.29", Status::Error),
            ("3.10.0", Status::Ok),
            ("3.13.7", Status::Ok),
            ("4.3.2", Status::Ok),
            ("4.4.0", Status::Warning),
            ("5.0.0", Status::Warning),
            ("tomorrow", Status::Warning),
        ] {
            assert_eq!(version_finding("host:5672", version, 1).status, status, "{version}");
        }
    }
}
