//! `cargo xtask demo`: real orders through the whole system, before your eyes.

mod account;
mod bulk;
mod journey;
mod order_view;
mod plan;
mod screen;
mod stage;

use std::{future, process::ExitCode};

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::cargo::workspace;
use account::Account;
use plan::PLANS;
use screen::{Paint, Screen};
use stage::Stage;

const LONG_ABOUT: &str = "\
Builds Tandem, finds or starts a private RabbitMQ, starts two fake APIs, the
producer and both workers, and places orders: healthy ones, one that recovers
from a sick API, one that is refused and ends as a dead letter with its reason,
and 2,000 more while a worker is killed. Shows the journey of each, and where
all of them ended.

Exits with 0 if everything ended as it should, with 1 and a list if not, with
130 after Ctrl-C. What it started ends with it.";

const AFTER_HELP: &str = "\
RabbitMQ is the one at AMQP_URL, if that is set: queues of the demo's own are
made there, and removed. Else it is a private node of an installed
rabbitmq-server, on free ports of 127.0.0.1, with its data below target/. Else
a container, where a Docker Engine answers. Else, as root on Debian or Ubuntu,
the package is installed.

Where standard output is no terminal, or NO_COLOR is set, lines are plain.";

/// What can be asked for.
pub(crate) fn command() -> Command {
    let keep = Arg::new("keep").long("keep").action(ArgAction::SetTrue);
    Command::new("demo")
        .about("Shows real orders going through the whole system")
        .long_about(LONG_ABOUT)
        .after_help(AFTER_HELP)
        .arg(keep.help("Leave it running until Ctrl-C, with addresses and a curl to try"))
}

/// Shows it.
///
/// # Errors
/// Something cannot be built or started, or does not answer.
pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let screen = Screen::new();
    screen.line(format_args!("{}: one order in, two APIs told, nothing lost", screen.paint(Paint::Bold, "Tandem")));

    screen.heading("Setting the stage");
    let mut stage = Stage::set(screen).await?;

    let mut told = Vec::new();
    for (number, plan) in (1..).zip(&PLANS) {
        screen.heading(&format!("Order {number}: {}", plan.title));
        told.push(journey::tell(screen, &stage.system, plan).await?);
    }

    screen.heading(&bulk::heading());
    let bulk = bulk::run(screen, &mut stage.system).await?;

    let account = Account::draw_up(&stage.system, &told, &bulk).await?;
    screen.heading("Where every order is");
    account.show_orders(screen);
    screen.heading("What each API was told, and which are dead letters");
    account.show_destinations(screen);
    let legend = "  Repeats carry the key of the first call: an API that honours it acts once.";
    screen.line(screen.paint(Paint::Dim, legend));

    let faults = account.faults();
    conclude(screen, &faults);
    if matches.get_flag("keep") {
        stage.invite(screen).await?;
        future::pending::<()>().await;
    }
    look_next(screen);
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn conclude(screen: Screen, faults: &[String]) {
    if faults.is_empty() {
        let text = "✓ Nothing is lost: every order was told to both APIs, or waits with its reason.";
        screen.line(format_args!("\n{}", screen.paint(Paint::Good, text)));
        return;
    }
    screen.line(format_args!("\n{}", screen.paint(Paint::Bad, "✗ Not all ended as it should:")));
    for fault in faults {
        screen.line(format_args!("  {} {fault}", screen.paint(Paint::Bad, "-")));
    }
}

fn look_next(screen: Screen) {
    screen.heading("Where to look next");
    for (path, what) in [
        ("README.md", "what it promises, how to run and configure it"),
        ("ARCHITECTURE.md", "one order, step by step, through the code"),
        ("docs/cli.md", "dead letters sent again, and the doctor: tandem"),
        ("docs/adding-a-destination.md", "a third API, in one small crate"),
    ] {
        if workspace().is_ok_and(|root| root.join(path).is_file()) {
            screen.line(format_args!("  {path:30}{what}"));
        }
    }
    screen.line(format_args!("  {:30}the same, left running, with commands to try", "cargo xtask demo --keep"));
    screen.line(format_args!("  {:30}what the promise rests on", "cargo xtask test"));
}
