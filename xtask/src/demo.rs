//! `cargo xtask demo`: real orders go through the whole system, and you watch.

mod stage;
mod plan;
mod journey;
mod bulk;
mod account;
mod screen;

use std::{future, process::ExitCode};

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command};
use console::style;

use crate::cargo::workspace;
use account::Account;
use bulk::Bulk;
use journey::Journey;
use plan::PLANS;
use screen::{heading, line};
use stage::Stage;

const LONG_ABOUT: &str = "\
Builds Tandem, finds or starts a private RabbitMQ, starts two fake APIs, the
producer and both workers, and places orders: two healthy ones, one that
recovers from a failing API, one that an API refuses and that becomes a dead
letter with its reason, and 2,000 more while a worker is killed. Shows the
journey of each, and where all of them ended.

Exits with 0 if everything ended as planned, with 1 and a list if not, with
130 after Ctrl-C. Everything that it starts ends with it.";

const AFTER_HELP: &str = "\
RabbitMQ is the one at AMQP_URL, if that is set: the demo makes its own queues
there, and removes them. Otherwise it is a private node of an installed
rabbitmq-server, on free ports of 127.0.0.1, with its data below target/.
Otherwise it is a container, if a Docker Engine answers. Otherwise, as root on
Debian or Ubuntu, the package is installed.

Output is plain if standard output is not a terminal, or NO_COLOR is set.";

/// The command line.
pub(crate) fn command() -> Command {
    let keep = Arg::new("keep").long("keep").action(ArgAction::SetTrue);
    Command::new("demo")
        .about("Shows real orders going through the whole system")
        .long_about(LONG_ABOUT)
        .after_help(AFTER_HELP)
        .arg(keep.help("Leave it running until Ctrl-C, with addresses and commands to try"))
}

/// Runs the demo.
///
/// # Errors
/// Something cannot be built or started, or does not answer.
pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    line(format_args!("{}: one order in, two APIs called, nothing lost", style("Tandem").bold()));

    heading("Setting the stage");
    let mut stage = Stage::set().await?;

    let mut journeys = Vec::new();
    for (number, plan) in (1..).zip(&PLANS) {
        heading(&format!("Order {number}: {}", plan.title));
        journeys.push(Journey::of(plan, &stage.system).await?);
    }

    heading(&bulk::heading());
    let bulk = Bulk::of(&mut stage.system).await?;

    let account = Account::draw_up(&stage.system, &journeys, &bulk).await?;
    heading("Where every order is");
    account.show_orders();
    heading("What each API received");
    account.show_destinations();
    line(style("  A repeated call carries the key of the first: an API that honours it acts once.").dim());

    let faults = account.faults();
    conclude(&faults);
    if matches.get_flag("keep") {
        stage.invite().await?;
        future::pending::<()>().await;
    }
    point_on();
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn conclude(faults: &[String]) {
    if faults.is_empty() {
        let text = "✓ Nothing is lost: every order was delivered to both APIs, or is a dead letter with its reason.";
        line(format_args!("\n{}", style(text).green()));
        return;
    }
    line(format_args!("\n{}", style("✗ Not everything ended as planned:").red()));
    for fault in faults {
        line(format_args!("  {} {fault}", style("-").red()));
    }
}

fn point_on() {
    heading("Where to look next");
    for (path, what) in [
        ("README.md", "what it promises, and how to start"),
        ("ARCHITECTURE.md", "one order, step by step, through the code"),
        ("docs/cli.md", "tandem: send dead letters again, ask the doctor"),
        ("docs/adding-a-destination.md", "a third API, in one small crate"),
    ] {
        if workspace().is_ok_and(|root| root.join(path).is_file()) {
            line(format_args!("  {path:30}{what}"));
        }
    }
    line(format_args!("  {:30}the same, left running, with commands to try", "cargo xtask demo --keep"));
    line(format_args!("  {:30}the tests behind the promise", "cargo xtask test"));
}
