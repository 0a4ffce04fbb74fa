//! What is measured, and how much of it.

use std::{path::PathBuf, str::FromStr};

use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Serialize;

use super::parts::Parts;

/// Both then run for about as long.
const RAW_MESSAGES_PER_ORDER: u64 = 3;

/// What is measured, and how much of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Options {
    /// Rounds, each with every part but the backlogs and the syncs.
    pub(super) rounds: usize,
    /// Orders in the closed loop.
    pub(super) orders: u64,
    /// Orders at a time in the closed loop.
    pub(super) in_flight: usize,
    /// Messages of the raw broker line: more than orders, because they are faster.
    pub(super) raw_messages: u64,
    /// Most messages of the raw broker line without their confirm.
    pub(super) raw_window: usize,
    /// Seconds at each fixed rate.
    pub(super) seconds: u64,
    /// Orders in each backlog.
    pub(super) backlog: u64,
    /// Whether each order carries an `Idempotency-Key`.
    pub(super) keys: bool,
    /// Where the orders are kept.
    pub(super) store: Store,
    /// What is measured.
    pub(super) parts: Parts,
    /// Where the binaries are that are measured; built from this workspace if not said.
    pub(super) binaries: Option<PathBuf>,
    /// Where the figures go as JSON; below the build directory if not said.
    #[serde(skip)]
    pub(super) json: Option<PathBuf>,
    /// Where the tables go.
    #[serde(skip)]
    pub(super) markdown: Option<PathBuf>,
}

/// Where the orders are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Store {
    /// In a file.
    Sqlite,
    /// In a private Postgres, which flushes each commit to the disk.
    Postgres,
}

/// Adds the arguments.
pub(super) fn arguments(command: Command) -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("N").default_value(default).help(help)
    };
    let file = |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("FILE").help(help);
    command
        .arg(number("rounds", "3", "Rounds; the result is their median"))
        .arg(number(
            "orders",
            "20000",
            "Orders in the closed loop; the raw broker line takes three times as many messages",
        ))
        .arg(number("in-flight", "100", "Orders at a time in the closed loop"))
        .arg(number("raw-window", "256", "Most messages of the raw broker line without their confirm"))
        .arg(number("seconds", "10", "Seconds at each fixed rate"))
        .arg(number("backlog", "50000", "Orders in each backlog"))
        .arg(
            Arg::new("keys")
                .long("keys")
                .action(ArgAction::SetTrue)
                .help("Send an Idempotency-Key with each order, as a careful client does"),
        )
        .arg(
            Arg::new("store")
                .long("store")
                .value_parser(["sqlite", "postgres"])
                .default_value("sqlite")
                .help("Where the orders are kept: a file, or a private Postgres"),
        )
        .arg(
            Arg::new("part")
                .long("part")
                .value_name("PART")
                .action(ArgAction::Append)
                .help("Only this part, given once or more: raw, closed, open, backlog, syncs [default: all]"),
        )
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("A minute's look at everything: one round, a tenth of the orders; no figures to quote"),
        )
        .arg(Arg::new("binaries").long("binaries").value_name("DIR").help(
            "Build nothing and measure the binaries in here, to compare versions: a copy of target/release, xtask too",
        ))
        .arg(file("json", "Where the figures go as JSON [default: target/bench/TIME.json]"))
        .arg(file("markdown", "Where the tables go as Markdown [default: target/bench/TIME.md]"))
}

impl Options {
    /// Reads what was given.
    ///
    /// # Errors
    /// A number is none, or out of its range.
    pub(super) fn read(matches: &ArgMatches) -> Result<Self> {
        let quick = matches.get_flag("quick");
        let parts = matches.get_many::<String>("part").map(|parts| parts.map(String::as_str));
        let file = |name| matches.get_one::<String>(name).map(PathBuf::from);
        let orders = number(matches, "orders", quick.then_some(2_000))?;
        Ok(Self {
            rounds: number(matches, "rounds", quick.then_some(1))?,
            orders,
            in_flight: number(matches, "in-flight", None)?,
            raw_messages: orders * RAW_MESSAGES_PER_ORDER,
            raw_window: number(matches, "raw-window", None)?,
            seconds: number(matches, "seconds", quick.then_some(2))?,
            backlog: number(matches, "backlog", quick.then_some(5_000))?,
            keys: matches.get_flag("keys"),
            store: match matches.get_one::<String>("store").map(String::as_str) {
                Some("postgres") => Store::Postgres,
                _ => Store::Sqlite,
            },
            parts: parts.map_or_else(|| Ok(Parts::ALL), Parts::parse)?,
            binaries: file("binaries"),
            json: file("json"),
            markdown: file("markdown"),
        })
    }
}

/// The number given; else that of a quick run, where it is one; else the default.
fn number<T: FromStr + PartialEq + Default>(matches: &ArgMatches, name: &str, quick: Option<T>) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let given = matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
    if let Some(quick) = quick.filter(|_| !given) {
        return Ok(quick);
    }
    let text = matches.get_one::<String>(name).map_or("", String::as_str);
    let number = text.parse().with_context(|| format!("--{name} must be a whole number, is {text:?}"))?;
    if number == T::default() {
        bail!("--{name} must be at least 1");
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Options> {
        let line = std::iter::once("bench").chain(arguments.iter().copied());
        Options::read(&self::arguments(Command::new("bench")).try_get_matches_from(line)?)
    }

    #[test]
    fn a_quick_run_is_small_but_for_what_is_given() {
        assert_eq!(read(&[]).unwrap().rounds, 3);
        let quick = read(&["--quick", "--rounds", "3"]).unwrap();
        assert_eq!((quick.rounds, quick.orders), (3, 2_000));
    }

    #[test]
    fn orders_are_kept_in_a_file_unless_postgres_is_asked_for() {
        assert_eq!(read(&[]).unwrap().store, Store::Sqlite);
        assert_eq!(read(&["--store", "postgres"]).unwrap().store, Store::Postgres);
    }

    #[test]
    fn a_number_must_be_one() {
        for bad in [["--orders", "0"], ["--orders", "many"], ["--part", "none"]] {
            assert!(read(&bad).is_err(), "{bad:?}");
        }
    }
}
