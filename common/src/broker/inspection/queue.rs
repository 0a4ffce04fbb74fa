//! One queue: is it there, is it what it must be, does somebody take from it.

use lapin::{
    Connection,
    options::{QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};

use super::{
    Collector,
    answer::{Answer, NO_LEADER, ask, faulty},
};
use crate::{
    broker::{
        Broker,
        depth::{Depth, look},
        topology::{self, DELIVERY_LIMIT, Names, dead_letter_queue},
    },
    doctor::{Check, Finding},
};

/// A queue that the process declares.
#[derive(Debug)]
pub(super) struct Queue {
    name: String,
    used: Use,
    /// The exchange that leads to it, and by which key.
    bound: Option<(String, String)>,
}

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Deliveries to a destination, which its workers take.
    Deliveries,
    /// Reports, which the producer takes.
    Reports,
    /// Dead letters, which the collector takes, if there is one.
    DeadLetters(Collector),
}

/// The queues of a process, each with its dead letters behind it.
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
        let depth = self.depth(connection).await;
        let declared = self.declare(connection, names).await;
        let bound = match declared {
            Ok(()) => self.bind(connection).await,
            Err(_) => Ok(()),
        };
        if let Err(answer) = declared {
            return vec![self.not_declared(answer)];
        }
        let mut findings = Vec::new();
        if let Err(answer) = bound {
            let right = "write, and to read from the exchange it is bound to,";
            findings.push(faulty(Check::Queue, &self.name, answer, right));
        }
        match depth {
            Ok(depth) => {
                let seen = format!("as declared; {}, {}", messages(depth.ready), consumers(depth.consumers));
                findings.push(Finding::ok(Check::Queue, &self.name, seen));
                findings.extend(self.safety(names));
                findings.push(self.taken(depth));
            }
            Err(Answer::Missing) => findings.push(self.was_missing()),
            Err(answer) => findings.push(faulty(Check::Queue, &self.name, answer, "configure")),
        }
        findings
    }

    async fn depth(&self, connection: &Connection) -> Result<Depth, Answer> {
        ask(connection, async |channel| look(channel, &self.name).await).await
    }

    /// With the properties it must have: the broker compares them with those it has.
    async fn declare(&self, connection: &Connection, names: &Names) -> Result<(), Answer> {
        let arguments = match self.used {
            Use::Deliveries | Use::Reports => topology::arguments(names, &self.name),
            Use::DeadLetters(_) => topology::dead_letter_arguments(),
        };
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        ask(connection, async |channel| channel.queue_declare(self.name.as_str().into(), options, arguments).await)
            .await
            .map(drop)
    }

    /// Again, which changes nothing where it is bound.
    async fn bind(&self, connection: &Connection) -> Result<(), Answer> {
        let Some((exchange, key)) = &self.bound else { return Ok(()) };
        let (queue, exchange, key) = (self.name.as_str().into(), exchange.as_str().into(), key.as_str().into());
        ask(connection, async |channel| {
            channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
        })
        .await
    }

    fn not_declared(&self, answer: Answer) -> Finding {
        let Answer::Mismatch(difference) = answer else {
            let right = "configure (and to read, and to write to its dead-letter exchange)";
            return faulty(Check::Queue, &self.name, answer, right);
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
            "stop the processes that use it, let it run empty or move its messages away, delete it on the broker and \
             start them again: they declare it as it must be. Or choose other names with EXCHANGE",
        )
    }

    fn was_missing(&self) -> Finding {
        let detail = "did not exist; it is declared again now";
        match self.used {
            Use::Deliveries => Finding::warning(
                Check::Queue,
                &self.name,
                detail,
                "find out who deleted it. What was in it is gone, and what was published meanwhile did not reach it: \
                 GET /v1/reconciliation names the orders, and RECONCILE=republish sends them again",
            ),
            Use::Reports => Finding::warning(
                Check::Queue,
                &self.name,
                detail,
                "find out who deleted it. Reports in it are gone: GET /v1/reconciliation names the orders whose end is \
                 not known, and RECONCILE=republish sends them again under their own keys",
            ),
            Use::DeadLetters(_) => Finding::warning(
                Check::Queue,
                &self.name,
                detail,
                "find out who deleted it. Dead letters in it are gone from the broker; those that were reported or \
                 collected are listed by GET /v1/dead-letters",
            ),
        }
    }

    /// What the declaration has just proved.
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
                format!("a message may come back {DELIVERY_LIMIT} times (a policy of the broker can lower that)"),
            ),
        ]
    }

    /// Whether somebody takes what is in it.
    fn taken(&self, depth: Depth) -> Finding {
        let name = &*self.name;
        let waiting = messages(depth.ready);
        match self.used {
            Use::DeadLetters(collector) => dead_letters(name, depth, collector),
            Use::Deliveries | Use::Reports if depth.consumers > 0 => {
                Finding::ok(Check::Consumers, name, format!("{}, {waiting}", consumers(depth.consumers)))
            }
            Use::Deliveries => {
                nobody(name, depth, "start a worker of this destination, or look why it is not connected")
            }
            Use::Reports => nobody(name, depth, "start the producer, or look why its ledger is not connected"),
        }
    }
}

fn nobody(name: &str, depth: Depth, remedy: &str) -> Finding {
    let remedy = format!("{remedy}; where it says INTERNAL_ERROR, the queue has no leader: {NO_LEADER}");
    if depth.ready == 0 {
        return Finding::warning(Check::Consumers, name, "nobody takes from it; nothing waits in it yet", remedy);
    }
    let detail = format!("nobody takes from it, and {} in it", wait(depth.ready));
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
        Collector::Elsewhere => Finding::ok(check, name, format!("{detail}; the producer says how that is")),
        Collector::Here if depth.consumers > 0 => Finding::warning(
            check,
            name,
            format!("{detail}, although they are being collected"),
            "ask again in a minute: if they do not get fewer, look in the producer's log why they cannot be stored",
        ),
        Collector::Here => Finding::warning(
            check,
            name,
            format!("{detail}, and the collector is not connected"),
            "look at /readyz of the producer, which says why",
        ),
        Collector::Off => Finding::warning(
            check,
            name,
            detail,
            "they are in no list while DEAD_LETTER_COLLECTOR is off: take them from the queue by hand, or let the producer \
             collect them (on)",
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
    fn a_queue_that_nobody_takes_from_is_an_error_as_soon_as_something_waits_in_it() {
        for (ready, consumers, status) in
            [(0, 2, Status::Ok), (9, 1, Status::Ok), (0, 0, Status::Warning), (1, 0, Status::Error)]
        {
            let finding = queue(Use::Deliveries).taken(Depth { ready, consumers });
            assert_eq!(finding.status, status, "{finding:?}");
            assert_eq!(finding.remedy.is_some(), status != Status::Ok);
        }
    }

    #[test]
    fn dead_letters_in_the_broker_are_told_by_whoever_is_to_collect_them() {
        for (collector, ready, consumers, status) in [
            (Collector::Here, 0, 1, Status::Ok),
            (Collector::Here, 0, 0, Status::Warning),
            (Collector::Here, 7, 1, Status::Warning),
            (Collector::Off, 0, 0, Status::Ok),
            (Collector::Off, 7, 0, Status::Warning),
            (Collector::Elsewhere, 7, 0, Status::Ok),
        ] {
            let finding = queue(Use::DeadLetters(collector)).taken(Depth { ready, consumers });
            assert_eq!(finding.status, status, "{finding:?}");
        }
    }

    #[test]
    fn a_mismatch_is_put_down_to_what_it_endangers() {
        for (argument, check) in [
            ("x-queue-type", Check::Queue),
            ("x-delivery-limit", Check::DeliveryLimit),
            ("x-dead-letter-strategy", Check::DeadLetterExchange),
            ("x-overflow", Check::DeadLetterExchange),
        ] {
            let words = format!("inequivalent arg '{argument}' for queue 'orders.north'");
            let finding = queue(Use::Deliveries).not_declared(Answer::Mismatch(words));
            assert_eq!(finding.check, check);
            assert_eq!(finding.status, Status::Error);
            assert!(finding.detail.contains(argument));
        }
    }
}
