//! Permissions that a declaration does not need: to read from a queue, and to write to an exchange.
//!
//! Both probes are invalid in another respect. The broker checks permissions first: if the user has them, it reports
//! the other fault, and nothing is consumed or published.

use std::time::Duration;

use lapin::{
    BasicProperties, Connection,
    options::{BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::sleep;

use super::{
    DEFAULT_EXCHANGE, Needs,
    probe::{ProbeError, failed, probe},
};
use crate::{
    broker::{
        Broker,
        connection::{Role, close},
    },
    doctor::{Check, Finding},
};

/// How much later than the silence that it explains the notice of an alarm may arrive.
const NOTICE: Duration = Duration::from_millis(200);

/// A finding for each queue that is consumed.
pub(super) async fn to_read(connection: &Connection, queues: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for queue in queues {
        let mut arguments = FieldTable::default();
        arguments.insert("x-priority".into(), AMQPValue::LongString("no number".into()));
        let probed = probe(connection, async |channel| {
            // Should the broker accept it after all, at most one message is delivered and returned.
            channel.basic_qos(1, BasicQosOptions::default()).await?;
            let options = BasicConsumeOptions::default();
            channel.basic_consume(queue.as_str().into(), "".into(), options, arguments).await
        });
        findings.push(match probed.await.map(drop) {
            Ok(()) | Err(ProbeError::Mismatch(_)) => Finding::ok(Check::Rights, queue, "this process may read from it"),
            Err(fault) => failed(Check::Queue, queue, fault, "read from"),
        });
    }
    findings
}

/// A finding for each exchange that is published to, and one about alarms. On a separate connection: during an alarm,
/// the broker reads nothing more from a connection that has published.
pub(super) async fn to_write(broker: &Broker, subject: &str, needs: &Needs) -> Vec<Finding> {
    let names = broker.names();
    let fan_out = needs.publishes_events.then(|| (names.exchange(), names.exchange()));
    let single = needs.publishes_to_queues.then_some((DEFAULT_EXCHANGE, ""));
    let exchanges: Vec<_> = fan_out.into_iter().chain(single).collect();
    if exchanges.is_empty() {
        return Vec::new();
    }
    let connection = match broker.connect(Role::Inspect).await {
        Ok(connection) => connection,
        Err(fault) => return vec![super::no_access(subject, &fault)],
    };
    let mut findings = Vec::new();
    let mut silent = false;
    for (label, exchange) in exchanges {
        let probed = probe(&connection, async |channel| {
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let never = BasicProperties::default().with_expiration("never".into());
            let options = BasicPublishOptions::default();
            channel.basic_publish(exchange.into(), "".into(), options, &[], never).await?.await
        });
        match probed.await.map(drop) {
            Ok(()) | Err(ProbeError::Mismatch(_)) => {
                findings.push(Finding::ok(Check::Rights, label, "this process may publish to it"));
            }
            Err(ProbeError::Overdue) => {
                silent = true;
                break;
            }
            Err(fault) => findings.push(failed(Check::Exchange, label, fault, "write to")),
        }
    }
    sleep(NOTICE).await;
    let blocked = connection.status().blocked();
    findings.push(match (blocked, silent) {
        (false, false) => Finding::ok(Check::Alarm, subject, "the broker accepts messages"),
        (true, _) => Finding::error(
            Check::Alarm,
            subject,
            "the broker accepts no messages at the moment: it has a memory or disk alarm",
            "give the broker's machine more memory or disk space, or change vm_memory_high_watermark or disk_free_limit; \
             rabbitmq-diagnostics alarms shows the alarm and the node. Orders are still accepted, and wait",
        ),
        (false, true) => Finding::error(
            Check::Alarm,
            subject,
            "the broker does not respond to a message",
            "check the broker's load and alarms: rabbitmq-diagnostics alarms",
        ),
    });
    close(&connection).await;
    findings
}
