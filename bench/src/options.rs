//! The command line: what is measured, and how much of it.

use std::path::PathBuf;

use clap::{Parser, ValueEnum, builder::ArgPredicate, value_parser};
use serde::Serialize;

/// Measures what an order costs: release binaries, a private RabbitMQ and fake APIs, all on this machine
#[derive(Clone, Debug, Parser, Serialize)]
#[command(bin_name = "cargo xtask bench")]
pub(crate) struct Options {
    /// Rounds of the parts raw, closed and open; the summary shows their median
    #[arg(long, value_name = "N", default_value = "3", default_value_if("quick", ArgPredicate::IsPresent, "1"))]
    #[arg(value_parser = value_parser!(u64).range(1..))]
    pub(crate) rounds: u64,
    /// Orders in the closed loop; the raw broker line gets three times as many messages
    #[arg(long, value_name = "N", default_value = "20000", default_value_if("quick", ArgPredicate::IsPresent, "2000"))]
    #[arg(value_parser = value_parser!(u64).range(1..))]
    pub(crate) orders: u64,
    /// Orders in flight in the closed loop
    #[arg(long, value_name = "N", default_value = "100", value_parser = value_parser!(u64).range(1..))]
    pub(crate) in_flight: u64,
    /// Most unconfirmed messages of the raw broker line
    #[arg(long, value_name = "N", default_value = "256", value_parser = value_parser!(u64).range(1..))]
    pub(crate) raw_window: u64,
    /// A fixed rate, in orders per second; may be repeated
    #[arg(long = "rate", value_name = "N", default_values = ["200", "1000"])]
    #[arg(value_parser = value_parser!(u64).range(1..))]
    pub(crate) rates: Vec<u64>,
    /// Seconds at each fixed rate
    #[arg(long, value_name = "N", default_value = "10", default_value_if("quick", ArgPredicate::IsPresent, "2"))]
    #[arg(value_parser = value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
    /// Orders in each backlog
    #[arg(long, value_name = "N", default_value = "50000", default_value_if("quick", ArgPredicate::IsPresent, "5000"))]
    #[arg(value_parser = value_parser!(u64).range(1..))]
    pub(crate) backlog: u64,
    /// Send an Idempotency-Key with each order, as a careful client does
    #[arg(long)]
    pub(crate) keys: bool,
    /// Where orders are stored
    #[arg(long, default_value = "sqlite")]
    pub(crate) store: Store,
    /// Measure only this part; may be repeated [default: all]
    #[arg(long = "part", value_name = "PART")]
    pub(crate) parts: Vec<Part>,
    /// One round of a tenth of everything, to see that it works: no figures to quote
    #[arg(long)]
    pub(crate) quick: bool,
    /// Build nothing, and measure the binaries in DIR: a copy of an earlier target/release
    #[arg(long, value_name = "DIR")]
    pub(crate) binaries: Option<PathBuf>,
    /// Where the result goes; - is standard output [default: target/bench/TIME.json]
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Store {
    /// A file
    Sqlite,
    /// A private Postgres that flushes every commit
    Postgres,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// The raw broker line
    Raw,
    /// Orders in a closed loop
    Closed,
    /// Orders at fixed rates
    Open,
    /// Draining backlogs
    Backlog,
    /// Writes forced to disk
    Syncs,
}

impl Options {
    /// Whether this part is to be measured.
    pub(crate) fn measures(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from(std::iter::once("bench").chain(arguments.iter().copied()))
    }

    #[test]
    fn a_quick_run_is_small_except_for_the_numbers_given() {
        assert_eq!(read(&[]).unwrap().rounds, 3);
        let quick = read(&["--quick", "--rounds", "3"]).unwrap();
        assert_eq!((quick.rounds, quick.orders), (3, 2_000));
    }

    #[test]
    fn everything_is_measured_on_sqlite_unless_options_say_otherwise() {
        let all = read(&[]).unwrap();
        assert!(all.measures(Part::Raw) && all.measures(Part::Syncs));
        assert_eq!((all.store, all.rates), (Store::Sqlite, vec![200, 1_000]));
        let some = read(&["--part", "closed", "--part", "raw", "--store", "postgres", "--rate", "50"]).unwrap();
        assert!(some.measures(Part::Raw) && some.measures(Part::Closed) && !some.measures(Part::Open));
        assert_eq!((some.store, some.rates), (Store::Postgres, vec![50]));
    }

    #[test]
    fn a_value_out_of_range_is_refused() {
        for bad in [["--orders", "0"], ["--orders", "many"], ["--part", "none"]] {
            assert!(read(&bad).is_err(), "{bad:?}");
        }
    }
}
