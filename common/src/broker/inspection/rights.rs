//! Rights that a declaration does not need: to read from a queue, and to write to an exchange.
//!
//! Both are asked with a question that is wrong in another respect. The broker looks at the rights first: whoever has
//! them hears of the other fault, and nothing is consumed or published.

use std::time::Duration;

use lapin::{
    BasicProperties, Connection,
    options::{BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::sleep;

use super::{
    DEFAULT_EXCHANGE, Needs,
    answer::{Answer, ask, faulty},
};
use crate::{
    broker::{
        Broker,
        connection::{Role, close},
    },
    doctor::{Check, Finding},
};

/// How long a notice of an alarm may be on its way behind the silence that it explains.
const NOTICE: Duration = Duration::from_millis(200);

/// A finding for each queue that is consumed.
pub(super) async fn to_read(connection: &Connection, queues: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for queue in queues {
        let mut arguments = FieldTable::default();
        arguments.insert("x-priority".into(), AMQPValue::LongString("no number".into()));
        let asked = ask(connection, async |channel| {
            // Should it be taken for right after all, one message at most comes and goes back.
            channel.basic_qos(1, BasicQosOptions::default()).await?;
            let options = BasicConsumeOptions::default();
            channel.basic_consume(queue.as_str().into(), "".into(), options, arguments).await
        });
        findings.push(match asked.await.map(drop) {
            Ok(()) | Err(Answer::Mismatch(_)) => Finding::ok(Check::Rights, queue, "this process may read from it"),
            Err(answer) => faulty(Check::Queue, queue, answer, "read from"),
        });
    }
    findings
}

/// A finding for each exchange that is published to, and one about alarms. On a connection of its own: while there is
/// an alarm, the broker listens no more to one that has published.
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
        Err(fault) => return vec![super::not_let_in(subject, &fault)],
    };
    let mut findings = Vec::new();
    let mut silent = false;
    for (called, exchange) in exchanges {
        let asked = ask(&connection, async |channel| {
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let never = BasicProperties::default().with_expiration("never".into());
            let options = BasicPublishOptions::default();
            channel.basic_publish(exchange.into(), "".into(), options, &[], never).await?.await
        });
        match asked.await.map(drop) {
            Ok(()) | Err(Answer::Mismatch(_)) => {
                findings.push(Finding::ok(Check::Rights, called, "this process may publish to it"));
            }
            Err(Answer::Overdue) => {
                silent = true;
                break;
            }
            Err(answer) => findings.push(faulty(Check::Exchange, called, answer, "write to")),
        }
    }
    sleep(NOTICE).await;
    let blocked = connection.status().blocked();
    findings.push(match (blocked, silent) {
        (false, false) => Finding::ok(Check::Alarm, subject, "the broker takes messages"),
        (true, _) => Finding::error(
            Check::Alarm,
            subject,
            "the broker takes no messages at present: it has a memory or disk alarm",
            "give the broker's machine memory or disk space, or raise vm_memory_high_watermark or disk_free_limit; \
             rabbitmq-diagnostics alarms names the alarm and the node. Orders are accepted and wait meanwhile",
        ),
        (false, true) => Finding::error(
            Check::Alarm,
            subject,
            "the broker does not answer to a message",
            "look at the broker's load and alarms: rabbitmq-diagnostics alarms",
        ),
    });
    close(&connection).await;
    findings
}
