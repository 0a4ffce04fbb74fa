//! One queue: whether it exists, has the right properties, and is being consumed.

use lapin::{
    Connection,
    options::{QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};

use super::{
    Collector,
    probe::{NO_LEADER, ProbeError, failed, probe},
};
use crate::{
    broker::{
        Broker,
        depth::{Depth, passive_depth},
        topology::{self, DELIVERY_LIMIT, Names, dead_letter_queue},
    },
    doctor::{Check, Finding},
};

/// A queue that the process declares.
#[derive(Debug)]
pub(super) struct Queue {
    name: String,
    used: Use,
    /// The exchange that it is bound to, and the routing key.
    bound: Option<(String, String)>,
}

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Deliveries to a destination, for its workers.
    Deliveries,
    /// Reports, for the producer.
    Reports,
    /// Dead letters, for the collector, if any.
    DeadLetters(Collector),
}

/// The queues of a process, each followed by its dead-letter queue.
pub(super) fn needed(broker: &Broker, collector: Collector) -> Vec<Queue> {
    let names = broker.names();
    let mut queues = Vec::new();
    let mut add = |name: String, used, bound| {
        let dead = Queue {
            name: dead_letter_queue(&name),
            used: Use::DeadLetters(collector),
            bound: Some((names.dead_letter_exchange(), name.clone())),
        };
        queues.extend([Queue { name, used, bound }, dead]);
    };
    for destination in broker.destinations() {
        let fan_out = Some((names.exchange().to_owned(), String::new()));
        add(names.queue(destination), Use::Deliveries, fan_out);
    }
    add(names.outcomes(), Use::Reports, None);
    queues
}

impl Queue {
    /// Every finding about it.
    pub(super) async fn examine(&self, connection: &Connection, names: &Names) -> Vec<Finding> {
        // Before the declaration, which creates a queue that is missing.
        let depth = self.depth(connection).await;
        if let Err(fault) = self.declare(connection, names).await {
            return vec![self.not_declared(fault)];
        }
        let mut findings = Vec::new();
        if let Err(fault) = self.bind(connection).await {
            let right = "write, and to read from the exchange it is bound to,";
            findings.push(failed(Check::Queue, &self.name, fault, right));
        }
        match depth {
            Ok(depth) => {
                let seen = format!("as declared; {}, {}", messages(depth.ready), consumers(depth.consumers));
                findings.push(Finding::ok(Check::Queue, &self.name, seen));
                findings.extend(self.safety(names));
                findings.push(self.consumption(depth));
            }
            Err(ProbeError::Missing) => findings.push(self.was_missing()),
            Err(fault) => findings.push(failed(Check::Queue, &self.name, fault, "configure")),
        }
        findings
    }

    async fn depth(&self, connection: &Connection) -> Result<Depth, ProbeError> {
        probe(connection, async |channel| passive_depth(channel, &self.name).await).await
    }

    /// Declares it with the properties that it must have; the broker compares them with the existing ones.
    async fn declare(&self, connection: &Connection, names: &Names) -> Result<(), ProbeError> {
        let arguments = match self.used {
            Use::Deliveries | Use::Reports => topology::arguments(names, &self.name),
            Use::DeadLetters(_) => topology::dead_letter_arguments(),
        };
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        probe(connection, async |channel| channel.queue_declare(self.name.as_str().into(), options, arguments).await)
            .await
            .map(drop)
    }

    /// Binds it, which changes nothing if it is bound already.
    async fn bind(&self, connection: &Connection) -> Result<(), ProbeError> {
        let Some((exchange, key)) = &self.bound else { return Ok(()) };
        let (queue, exchange, key) = (self.name.as_str().into(), exchange.as_str().into(), key.as_str().into());
        probe(connection, async |channel| {
            channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
        })
        .await
    }

    fn not_declared(&self, fault: ProbeError) -> Finding {
        let ProbeError::Mismatch(difference) = fault else {
            let right = "configure (and to read, and to write to its dead-letter exchange)";
            return failed(Check::Queue, &self.name, fault, right);
        };
        let check = if difference.contains("x-delivery-limit") {
            Check::DeliveryLimit
        } else if difference.contains("x-dead-letter") || difference.contains("x-overflow") {
            Check::DeadLetterExchange
        } else {
            Check::Queue
        };
        Finding::error(
            check,
            &self.name,
            format!("exists with other properties: {difference}"),
            "stop the processes that use it, let it drain or move its messages away, delete it on the broker and \
             start them again: they declare it correctly. Or choose other names with EXCHANGE",
        )
    }

    fn was_missing(&self) -> Finding {
        let detail = "did not exist; it has been declared again";
        match self.used {
            Use::Deliveries => Finding::warning(
                Check::Queue,
                &self.name,
                detail,
                "find out who deleted it. Its messages are lost, and so is what was published while it was missing: \
                 GET /v1/reconciliation lists the orders, and RECONCILE=republish publishes them again",
            ),
            Use::Reports => Finding::warning(
                Check::Queue,
                &self.name,
                detail,
                "find out who deleted it. Its reports are lost: GET /v1/reconciliation lists the orders whose outcome is \
                 unknown, and RECONCILE=republish publishes them again under the same keys",
            ),
            Use::DeadLetters(_) => Finding::warning(
                Check::Queue,
                &self.name,
                detail,
                "find out who deleted it. Its dead letters are lost from the broker; GET /v1/dead-letters lists those that \
                 were reported or collected",
            ),
        }
    }

    /// What the declaration has proved.
    fn safety(&self, names: &Names) -> Vec<Finding> {
        if matches!(self.used, Use::DeadLetters(_)) {
            return Vec::new();
        }
        let through = names.dead_letter_exchange();
        let to = dead_letter_queue(&self.name);
        vec![
            Finding::ok(
                Check::DeadLetterExchange,
                &self.name,
                format!("dead letters go through {through} to {to}, at least once"),
            ),
            Finding::ok(
                Check::DeliveryLimit,
                &self.name,
                format!("a message may be returned {DELIVERY_LIMIT} times (a policy on the broker can lower that)"),
            ),
        ]
    }

    /// Whether it is being consumed.
    fn consumption(&self, depth: Depth) -> Finding {
        let name = &*self.name;
        let waiting = messages(depth.ready);
        match self.used {
            Use::DeadLetters(collector) => dead_letters(name, depth, collector),
            Use::Deliveries | Use::Reports if depth.consumers > 0 => {
                Finding::ok(Check::Consumers, name, format!("{}, {waiting}", consumers(depth.consumers)))
            }
            Use::Deliveries => {
                unconsumed(name, depth, "start a worker for this destination, or find out why it is not connected")
            }
            Use::Reports => unconsumed(name, depth, "start the producer, or find out why its ledger is not connected"),
        }
    }
}

fn unconsumed(name: &str, depth: Depth, remedy: &str) -> Finding {
    let remedy = format!("{remedy}; if its log says INTERNAL_ERROR, the queue has no leader: {NO_LEADER}");
    if depth.ready == 0 {
        return Finding::warning(Check::Consumers, name, "nobody consumes it; nothing waits in it yet", remedy);
    }
    let detail = format!("nobody consumes it, and {} in it", wait(depth.ready));
    Finding::error(Check::Consumers, name, detail, remedy)
}

fn dead_letters(name: &str, depth: Depth, collector: Collector) -> Finding {
    let check = Check::DeadLetters;
    let here = collector == Collector::Here;
    if depth.ready == 0 && (depth.consumers > 0 || !here) {
        return Finding::ok(check, name, "no dead letters wait in the broker");
    }
    let detail = format!("{} in the broker", wait(depth.ready));
    match collector {
        Collector::Elsewhere => Finding::ok(check, name, format!("{detail}; the producer's doctor reports on them")),
        Collector::Here if depth.consumers > 0 => Finding::warning(
            check,
            name,
            format!("{detail}, although they are being collected"),
            "run the doctor again in a minute: if there are not fewer, check the producer's log for why they cannot be stored",
        ),
        Collector::Here => Finding::warning(
            check,
            name,
            format!("{detail}, and the collector is not connected"),
            "check /readyz of the producer, which gives the reason",
        ),
        Collector::Off => Finding::warning(
            check,
            name,
            detail,
            "they are not listed while DEAD_LETTER_COLLECTOR is off: take them from the queue by hand, or set it to on, so \
             that the producer collects them",
        ),
    }
}

fn messages(count: u32) -> String {
    if count == 1 { "1 message ready".to_owned() } else { format!("{count} messages ready") }
}

fn wait(count: u32) -> String {
    if count == 1 { "1 message waits".to_owned() } else { format!("{count} messages wait") }
}

fn consumers(count: u32) -> String {
    if count == 1 { "1 consumer".to_owned() } else { format!("{count} consumers") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    fn queue(used: Use) -> Queue {
        Queue { name: "orders.north".into(), used, bound: None }
    }

    #[test]
    fn a_queue_without_consumers_is_an_error_once_something_waits_in_it() {
        for (ready, consumers, status) in
            [(0, 2, Status::Ok), (9, 1, Status::Ok), (0, 0, Status::Warning), (1, 0, Status::Error)]
        {
            let finding = queue(Use::Deliveries).consumption(Depth { ready, consumers });
            assert_eq!(finding.status, status, "{finding:?}");
            assert_eq!(finding.remedy.is_some(), status != Status::Ok);
        }
    }

    #[test]
    fn dead_letters_in_the_broker_are_a_warning_of_their_collector() {
        for (collector, ready, consumers, status) in [
            (Collector::Here, 0, 1, Status::Ok),
            (Collector::Here, 0, 0, Status::Warning),
            (Collector::Here, 7, 1, Status::Warning),
            (Collector::Off, 0, 0, Status::Ok),
            (Collector::Off, 7, 0, Status::Warning),
            (Collector::Elsewhere, 7, 0, Status::Ok),
        ] {
            let finding = queue(Use::DeadLetters(collector)).consumption(Depth { ready, consumers });
            assert_eq!(finding.status, status, "{finding:?}");
        }
    }

    #[test]
    fn a_mismatch_is_reported_under_what_it_endangers() {
        for (argument, check) in [
            ("x-queue-type", Check::Queue),
            ("x-delivery-limit", Check::DeliveryLimit),
            ("x-dead-letter-strategy", Check::DeadLetterExchange),
            ("x-overflow", Check::DeadLetterExchange),
        ] {
            let message = format!("inequivalent arg '{argument}' for queue 'orders.north'");
            let finding = queue(Use::Deliveries).not_declared(ProbeError::Mismatch(message));
            assert_eq!(finding.check, check);
            assert_eq!(finding.status, Status::Error);
            assert!(finding.detail.contains(argument));
        }
    }
}
