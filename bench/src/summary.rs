//! The result for a person, in one page; everything else is in the JSON document.

use crate::{
    load::Audit,
    report::Report,
    round::{Run, SystemRound},
    usage::{APIS, BROKER, DATABASE, GENERATOR, OWN},
};

/// A figure of a run: its name, its decimals, and where it is.
type Figure = (&'static str, usize, fn(&Run) -> Option<f64>);

const FIGURES: [Figure; 9] = [
    ("orders/s", 0, |run| Some(run.placed.per_second)),
    ("POST p99, ms", 2, |run| Some(run.placed.latencies.post?.p99_ms)),
    ("accepted to delivered p50, ms", 2, |run| Some(run.placed.latencies.accepted_to_delivered?.p50_ms)),
    ("accepted to delivered p99, ms", 2, |run| Some(run.placed.latencies.accepted_to_delivered?.p99_ms)),
    ("CPU of producer and workers", 3, |run| run.cpu_per_1000.get(OWN).copied()),
    ("CPU of RabbitMQ", 3, |run| run.cpu_per_1000.get(BROKER).copied()),
    ("CPU of Postgres", 3, |run| run.cpu_per_1000.get(DATABASE).copied()),
    ("CPU of the load generator", 3, |run| run.cpu_per_1000.get(GENERATOR).copied()),
    ("CPU of the fake APIs", 3, |run| run.cpu_per_1000.get(APIS).copied()),
];

pub(crate) fn of(report: &Report) -> String {
    let at = &report.conditions;
    let mut lines = vec![format!("{} cores ({}), RabbitMQ {}, {}", at.cores, at.processor, at.rabbitmq, at.store)];
    lines.push("median of all rounds (lowest–highest); CPU in seconds per 1,000 orders\n".to_owned());
    let systems: Vec<_> = report.rounds.iter().filter_map(|round| round.system.as_ref()).collect();
    if let Some(first) = systems.first() {
        lines.extend(runs(first, &systems));
        for name in first.memory_after.keys() {
            let peak = systems.iter().filter_map(|system| Some(system.memory_after.get(name)?.peak_mb));
            lines.push(format!("{:38}{:>22}", format!("highest RSS of {name}, MB"), spread(peak, 0)));
        }
    }
    let raw = || report.rounds.iter().filter_map(|round| Some((round.raw_broker?.per_second, round.system.as_ref())));
    if raw().next().is_some() {
        let messages = spread(raw().map(|(messages, _)| messages), 0);
        // Within one round, so that a slow minute of the machine slows both.
        let share = raw().filter_map(|(messages, system)| Some(system?.closed_loop()?.placed.per_second / messages));
        lines.push(format!(
            "raw broker line: {messages} messages/s; orders/s are this share of it: {}",
            spread(share, 3)
        ));
    }
    for backlog in &report.backlogs {
        let (orders, rate) = (backlog.drained.orders, backlog.drained.per_second);
        lines.push(format!("backlog in the {}: {orders} orders drained at {rate:.0}/s", backlog.waited_in));
    }
    if let Some(syncs) = &report.syncs {
        let count = syncs.syncs.map_or("not counted, without strace".to_owned(), |count| count.to_string());
        lines.push(format!("writes forced to disk for {} orders: {count}", syncs.orders));
    }
    let sum = |of: fn(&Audit) -> u64| report.audits().map(of).sum::<u64>();
    let [accepted, delivered] = [sum(|audit| audit.accepted), sum(|audit| audit.delivered)];
    lines.push(format!("audit: {accepted} orders accepted, {delivered} delivered to both APIs under one key each"));
    let [lost, wrong_key, unknown] =
        [sum(|audit| audit.lost), sum(|audit| audit.wrong_key), sum(|audit| audit.unknown)];
    let repeated = sum(|audit| audit.repeated_calls);
    lines.push(format!(
        "       {lost} lost, {wrong_key} with a wrong key, {unknown} unknown; {repeated} repeated calls"
    ));
    lines.join("\n")
}

/// A line for each figure, a column for each pattern.
fn runs(first: &SystemRound, systems: &[&SystemRound]) -> Vec<String> {
    let row = |name: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>22}")).collect();
        format!("{name:38}{cells}")
    };
    let mut lines = vec![row("", first.runs.iter().map(|run| run.pattern.clone()).collect())];
    for (name, decimals, of) in FIGURES {
        let cell = |index| spread(systems.iter().filter_map(|system| of(system.runs.get(index)?)), decimals);
        let cells: Vec<_> = (0..first.runs.len()).map(cell).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            lines.push(row(name, cells));
        }
    }
    lines
}

/// The median, and the range if there are several values; empty without values.
fn spread(values: impl Iterator<Item = f64>, decimals: usize) -> String {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.get(sorted.len().saturating_sub(1) / 2).zip(sorted.get(sorted.len() / 2));
    let (Some((lower, upper)), Some(least), Some(most)) = (middle, sorted.first(), sorted.last()) else {
        return String::new();
    };
    let median = format!("{:.decimals$}", f64::midpoint(*lower, *upper));
    if sorted.len() == 1 { median } else { format!("{median} ({least:.decimals$}–{most:.decimals$})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_rounds_show_as_median_and_range() {
        let spread = |values: &[f64], decimals| spread(values.iter().copied(), decimals);
        assert_eq!(spread(&[], 1), "");
        assert_eq!(spread(&[1.25], 1), "1.2");
        assert_eq!(spread(&[3.0, 1.0, 2.0], 0), "2 (1–3)");
        assert_eq!(spread(&[1.0, 2.0], 1), "1.5 (1.0–2.0)");
    }
}
