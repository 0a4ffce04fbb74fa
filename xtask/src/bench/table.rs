//! What was found, as tables for people: Markdown, which reads well in a terminal too.

use std::{collections::BTreeMap, fmt::Write as _};

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use super::{
    cpu::{APIS, BROKER, CpuPer1000, DATABASE, GENERATOR, LOAD, Memory},
    load::Quantiles,
    report::{Open, Report, Round},
    system::{BINARIES, Ready},
};

/// All tables.
pub(super) fn all(report: &Report) -> String {
    let mut text = String::new();
    let sections = [
        ("Conditions", conditions(report)),
        ("Complete orders a second, closed loop", closed(report)),
        ("Latency in milliseconds at a fixed rate", latency(report)),
        ("CPU seconds for 1,000 orders", cpu(report)),
        ("Memory in MB", memory(report)),
        ("Start to ready in milliseconds", ready(report)),
        ("For one order", per_order(report)),
        ("Draining a backlog", backlogs(report)),
        ("Every order checked", verdicts(report)),
    ];
    for (title, table) in sections.iter().filter_map(|(title, table)| Some((title, table.as_ref()?))) {
        let _ = write!(text, "\n## {title}\n\n{table}\n");
    }
    if report.rounds.len() > 1 {
        let _ = write!(text, "\nMedian of {} rounds, with the smallest and the largest.\n", report.rounds.len());
    }
    text
}

fn conditions(report: &Report) -> Option<Table> {
    let (conditions, options, raw) = (&report.conditions, &report.options, report.raw_settings);
    let rows = [
        ("at", conditions.at.clone()),
        ("commit", conditions.commit.clone()),
        ("machine", format!("{} cores, {}, Linux {}", conditions.cores, conditions.processor, conditions.kernel)),
        ("load average before", conditions.load_before.clone()),
        ("versions", format!("RabbitMQ {}, {}, lapin {}", conditions.rabbitmq, conditions.rust, conditions.lapin)),
        ("database", conditions.database.clone()),
        (
            "orders",
            format!(
                "{} in the closed loop, {} in flight, {} s at each rate, {} in a backlog, {} idempotency keys",
                options.orders,
                options.in_flight,
                options.seconds,
                options.backlog,
                if options.keys { "with" } else { "without" }
            ),
        ),
        (
            "raw broker line",
            format!(
                "{} messages of {} bytes, {} unconfirmed, prefetch {}",
                raw.messages, raw.bytes, raw.window, raw.prefetch
            ),
        ),
    ];
    let mut table = new(&["", ""]);
    for (name, value) in rows {
        table.add_row([name.to_owned(), value]);
    }
    Some(table)
}

fn closed(report: &Report) -> Option<Table> {
    let orders = over(report, |round| Some(round.closed.as_ref()?.per_second));
    let raw = over(report, |round| Some(round.raw.as_ref()?.line.per_second));
    // Within its own round, so that a slow minute of the machine slows both.
    let ratio = over(report, |round| Some(round.closed.as_ref()?.per_second / round.raw.as_ref()?.line.per_second));
    let quantiles = |of: fn(&Round) -> Option<Quantiles>| over_quantiles(&report.rounds, of);
    let post = quantiles(|round| Some(round.closed.as_ref()?.placed.post));
    let told = quantiles(|round| round.closed.as_ref()?.placed.accepted_to_told);
    let mut table = numbers(&["", "value"]);
    let rows = [("complete orders/s", orders, 0), ("raw broker line, messages/s", raw, 0), ("ratio", ratio, 3)];
    for (name, values, digits) in rows.into_iter().filter(|(_, values, _)| !values.is_empty()) {
        table.add_row([name.to_owned(), spread(&values, digits)]);
    }
    let refused = over(report, |round| Some(as_f64(round.closed.as_ref()?.placed.refused)));
    if refused.iter().any(|refused| *refused > 0.0) {
        table.add_row(["answers 503, tried again".to_owned(), spread(&refused, 0)]);
    }
    for (name, values) in [("POST p50 / p95 / p99, ms", post), ("accepted to told p50 / p95 / p99, ms", told)] {
        if let Some([p50, p95, p99]) = values {
            table.add_row([name.to_owned(), format!("{p50} / {p95} / {p99}")]);
        }
    }
    (table.row_count() > 0).then_some(table)
}

fn latency(report: &Report) -> Option<Table> {
    let mut table = numbers(&["rate", "", "p50", "p95", "p99"]);
    for (index, open) in report.rounds.first()?.open.iter().enumerate() {
        let kinds: [Row<Open, Option<Quantiles>>; 3] = [
            ("POST", |open| Some(open.placed.post)),
            ("accepted to told", |open| open.placed.accepted_to_told),
            ("sent to told", |open| open.placed.sent_to_told),
        ];
        for (name, of) in kinds {
            let [p50, p95, p99] = over_quantiles(&report.rounds, |round| of(round.open.get(index)?))?;
            table.add_row([format!("{}/s", open.rate), name.to_owned(), p50, p95, p99]);
        }
    }
    (table.row_count() > 0).then_some(table)
}

/// Names what was measured, and takes it out of a result.
type Row<T, V> = (&'static str, fn(&T) -> V);

/// Names what was measured, and finds it in a round.
type Column<T> = (String, Box<dyn Fn(&Round) -> Option<&T>>);

fn cpu(report: &Report) -> Option<Table> {
    let mut columns: Vec<Column<CpuPer1000>> = Vec::new();
    let first = report.rounds.first();
    if first.is_some_and(|round| round.closed.is_some()) {
        columns.push(("closed loop".to_owned(), Box::new(|round| Some(&round.closed.as_ref()?.cpu_per_1000))));
    }
    for (index, open) in first.map(|round| &round.open).into_iter().flatten().enumerate() {
        columns.push((format!("{}/s", open.rate), Box::new(move |round| Some(&round.open.get(index)?.cpu_per_1000))));
    }
    let backlogs = report.backlogs.iter();
    let titles = columns.iter().map(|(title, _)| title.clone());
    let titles: Vec<_> = titles.chain(backlogs.map(|backlog| format!("{} backlog", backlog.place))).collect();
    if titles.is_empty() {
        return None;
    }
    let mut table = numbers(&[&[""], titles.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat());
    let mut row = |name: &str, of: &dyn Fn(&CpuPer1000) -> Option<f64>| {
        let rounds = columns.iter().map(|(_, column)| spread(&over(report, |round| of(column(round)?)), 3));
        let backlogs = report
            .backlogs
            .iter()
            .map(|backlog| of(&backlog.cpu_per_1000).map_or_else(String::new, |value| format!("{value:.3}")));
        let cells: Vec<_> = rounds.chain(backlogs).collect();
        // That of a broker which is not ours is not known.
        if cells.iter().any(|cell| !cell.is_empty()) {
            table.add_row(std::iter::once(name.to_owned()).chain(cells));
        }
    };
    for name in BINARIES {
        row(name, &|cpu| cpu.by_process.get(name).copied());
    }
    row("own (these three)", &|cpu| Some(cpu.own));
    for name in [BROKER, DATABASE, APIS, GENERATOR] {
        row(name, &|cpu| cpu.by_process.get(name).copied());
    }
    if let Some(raw) = first.and_then(|round| round.raw) {
        let client = spread(&over(report, |round| Some(round.raw?.line.cpu_per_1000)), 3);
        let blank = |count: usize| std::iter::repeat_n(String::new(), count);
        table.add_row(["raw broker line: client".to_owned(), client].into_iter().chain(blank(titles.len() - 1)));
        if raw.broker_cpu_per_1000.is_some() {
            let broker = spread(&over(report, |round| round.raw?.broker_cpu_per_1000), 3);
            table.add_row(["raw broker line: RabbitMQ".to_owned(), broker].into_iter().chain(blank(titles.len() - 1)));
        }
    }
    Some(table)
}

fn memory(report: &Report) -> Option<Table> {
    let mut table = numbers(&["", "idle RSS", "idle PSS", "idle PSS after load", "peak RSS"]);
    for name in BINARIES.into_iter().chain([BROKER, DATABASE, LOAD]) {
        let of = |place: fn(&Round) -> Option<&BTreeMap<String, Memory>>, size: fn(&Memory) -> Option<f64>| {
            spread(&over(report, |round| size(place(round)?.get(name)?)), 1)
        };
        let idle_rss = of(|round| Some(&round.idle), |memory| Some(memory.rss_mb));
        if idle_rss.is_empty() {
            continue;
        }
        table.add_row([
            name.to_owned(),
            idle_rss,
            of(|round| Some(&round.idle), |memory| memory.pss_mb),
            of(|round| Some(&round.idle_after), |memory| memory.pss_mb),
            of(|round| Some(&round.idle_after), |memory| Some(memory.peak_mb)),
        ]);
    }
    for backlog in &report.backlogs {
        for (name, memory) in backlog.memory.iter().filter(|(name, _)| BINARIES.contains(&name.as_str())) {
            let name = format!("{name}, {} backlog", backlog.place);
            table.add_row([name, String::new(), String::new(), String::new(), format!("{:.1}", memory.peak_mb)]);
        }
    }
    (table.row_count() > 0).then_some(table)
}

fn ready(report: &Report) -> Option<Table> {
    let mut table = numbers(&["", "first start, topology to be made", "every later start"]);
    let kinds: [Row<Ready, f64>; 3] = [
        (BINARIES[0], |ready| ready.producer_ms),
        (BINARIES[1], |ready| ready.worker_inventory_ms),
        (BINARIES[2], |ready| ready.worker_fulfillment_ms),
    ];
    for (name, of) in kinds {
        let first = over(report, |round| Some(of(round.first_start.as_ref()?)));
        let later = over(report, |round| Some(of(round.start.as_ref()?)));
        if !first.is_empty() {
            table.add_row([name.to_owned(), spread(&first, 0), spread(&later, 0)]);
        }
    }
    (table.row_count() > 0).then_some(table)
}

fn per_order(report: &Report) -> Option<Table> {
    let mut table = numbers(&["", "value"]);
    let mut row = |name: String, value: String| {
        if !value.is_empty() {
            table.add_row([name, value]);
        }
    };
    let closed = |of: &dyn Fn(&super::report::Closed) -> Option<f64>, digits| {
        spread(&over(report, |round| of(round.closed.as_ref()?)), digits)
    };
    row("messages published to the broker".to_owned(), closed(&|closed| Some(closed.messages_per_order?.published), 3));
    row(
        "messages handed out by the broker".to_owned(),
        closed(&|closed| Some(closed.messages_per_order?.delivered), 3),
    );
    row("transactions, closed loop".to_owned(), closed(&|closed| Some(closed.commits_per_order), 4));
    row("ms a transaction (mean), closed loop".to_owned(), closed(&|closed| Some(closed.commit_mean_ms), 2));
    for (index, open) in report.rounds.first().map(|round| &round.open).into_iter().flatten().enumerate() {
        let commits = over(report, |round| Some(round.open.get(index)?.commits_per_order));
        row(format!("transactions, {}/s", open.rate), spread(&commits, 3));
    }
    if let Some(syncs) = &report.syncs {
        let name = format!("writes forced to disk, closed loop, by {}", syncs.by);
        row(name, format!("{:.4}", syncs.syncs_per_order));
        row("writes forced to disk for a transaction".to_owned(), format!("{:.3}", syncs.syncs / syncs.commits));
    }
    (table.row_count() > 0).then_some(table)
}

fn backlogs(report: &Report) -> Option<Table> {
    let mut table = numbers(&[
        "waiting in the",
        "orders",
        "accepted/s",
        "drained/s",
        "seconds from start",
        "rate in tenths",
        "spread",
        "last to first",
    ]);
    for backlog in &report.backlogs {
        let tenths: Vec<_> = backlog.drained.tenths.iter().map(|rate| format!("{rate:.0}")).collect();
        table.add_row([
            backlog.place.to_owned(),
            backlog.drained.orders.to_string(),
            format!("{:.0}", backlog.accepted_per_second),
            format!("{:.0}", backlog.per_second),
            format!("{:.1}", backlog.drained.waited_seconds),
            tenths.join(" "),
            format!("{:.1} %", backlog.spread * 100.0),
            format!("{:.1} %", backlog.last_to_first * 100.0),
        ]);
    }
    (table.row_count() > 0).then_some(table)
}

fn verdicts(report: &Report) -> Option<Table> {
    let mut table =
        numbers(&["", "accepted", "told to both, one key each", "lost", "wrong key", "unasked", "repeated calls"]);
    let rounds = report.rounds.iter().enumerate();
    let rounds = rounds.filter_map(|(index, round)| Some((format!("round {}", index + 1), round.verdict?)));
    let backlogs = report.backlogs.iter().map(|backlog| (format!("{} backlog", backlog.place), backlog.verdict));
    for (name, verdict) in rounds.chain(backlogs) {
        let numbers = [
            verdict.accepted,
            verdict.complete,
            verdict.lost,
            verdict.wrong_key,
            verdict.unasked,
            verdict.repeated_calls,
        ];
        table.add_row(std::iter::once(name).chain(numbers.map(|number| number.to_string())));
    }
    (table.row_count() > 0).then_some(table)
}

fn new(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header.to_vec());
    table
}

/// All columns but the first are aligned to the right.
fn numbers(header: &[&str]) -> Table {
    let mut table = new(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn over(report: &Report, of: impl Fn(&Round) -> Option<f64>) -> Vec<f64> {
    report.rounds.iter().filter_map(of).collect()
}

fn over_quantiles(rounds: &[Round], of: impl Fn(&Round) -> Option<Quantiles>) -> Option<[String; 3]> {
    let found: Vec<_> = rounds.iter().filter_map(of).collect();
    let column = |of: fn(&Quantiles) -> f64| spread(&found.iter().map(of).collect::<Vec<_>>(), 2);
    (!found.is_empty()).then(|| [column(|q| q.p50_ms), column(|q| q.p95_ms), column(|q| q.p99_ms)])
}

/// The median, and the range where there is one.
fn spread(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(least), Some(most), Some(median)) = (sorted.first(), sorted.last(), median(&sorted)) else {
        return String::new();
    };
    if sorted.len() == 1 {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}

#[expect(clippy::cast_precision_loss, reason = "numbers of answers are far below 2^52")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_rounds_show_as_median_and_range() {
        assert_eq!(spread(&[], 1), "");
        assert_eq!(spread(&[1.25], 1), "1.2");
        assert_eq!(spread(&[3.0, 1.0, 2.0], 0), "2 (1–3)");
        assert_eq!(spread(&[1.0, 2.0], 1), "1.5 (1.0–2.0)");
    }
}
