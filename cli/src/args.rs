//! The command line: which command, and the flags of all of them.

use std::{io, time::Duration};

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use common::config::positive_duration;
use reqwest::Url;

use crate::{
    client::Client,
    dead_letter, doctor,
    exit::{EXIT_CODES, Exit, Failure},
    flags, order,
    output::{Colour, Format, Screen},
    redrive,
};

/// The operator's command line of Tandem.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, after_help = EXIT_CODES, max_term_width = 80, subcommand_required = true)]
#[command(about = "Places and follows orders, and gets dead letters delivered", long_about = None)]
pub(crate) struct Cli {
    /// The producer's address
    #[arg(long, global = true, help_heading = "Global options", display_order = 100, env = "TANDEM_URL",
          hide_env_values = true, default_value = flags::DEFAULT_URL, value_name = "URL", value_parser = flags::url)]
    url: Url,
    /// The format of results: table or json
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        display_order = 100,
        value_enum,
        default_value = "table",
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    output: Format,
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        display_order = 100,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        hide_possible_values = true,
        help = "Colours: auto, always or never; auto respects NO_COLOR"
    )]
    color: Colour,
    /// How long one response may take
    #[arg(long, global = true, help_heading = "Global options", display_order = 100, default_value = "30s",
          value_name = "TIME", value_parser = positive_duration)]
    timeout: Duration,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Place and follow orders
    #[command(subcommand)]
    Order(order::Command),
    /// List, show and archive dead letters
    #[command(subcommand)]
    Dead(dead_letter::Command),
    /// Send dead letters again
    #[command(subcommand)]
    Redrive(redrive::Command),
    /// Examine the producer, the workers and what they depend on
    Doctor(doctor::DoctorArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Parses the command line. A wrong one ends the process with exit code 2.
pub(crate) fn parse() -> Cli {
    Cli::parse()
}

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { url, output, color, timeout, command } = cli;
    let screen = Screen::new(output, color);
    let client = || Client::new(&url, timeout);
    match command {
        Command::Order(command) => order::run(command, &client()?, screen).await,
        Command::Dead(command) => dead_letter::run(command, &client()?, screen).await,
        Command::Redrive(command) => redrive::run(command, &client()?, screen).await,
        Command::Doctor(arguments) => doctor::run(&arguments, &client()?, screen).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tandem", &mut script);
            io::Write::write_all(&mut io::stdout().lock(), &script)?;
            Ok(Exit::Success)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn fault(line: &str) -> Option<ErrorKind> {
        Cli::try_parse_from(line.split_whitespace()).err().map(|fault| fault.kind())
    }

    #[test]
    fn the_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_documented_command_parses() {
        for line in [
            "tandem order place --customer-id c --item SKU=2 --item B=1 --idempotency-key k --wait 5s",
            "tandem order place --file -",
            "tandem order get 1 2",
            "tandem order list --status pending --destination inventory --customer-id c --from 2h --all",
            "tandem order watch 1",
            "tandem order retry 1",
            "tandem order cancel 1 --destination inventory",
            "tandem dead list --destination inventory --reason rejected --status-code 422 --error refused --limit 7",
            "tandem dead groups --from 2026-11-24T06:00:00Z --to 5m",
            "tandem dead show 1",
            "tandem dead archive 1 2 --note seen",
            "tandem dead unarchive 1",
            "tandem redrive plan --all",
            "tandem redrive start --destination inventory --status-code 422 --rate 50 --yes",
            "tandem redrive start 1 2 --id 3 --concurrency 4 --stop-after-failed-share 0.5 --force --watch",
            "tandem redrive start 1 --body - --new-key --yes",
            "tandem redrive list",
            "tandem redrive show 1",
            "tandem redrive watch 1",
            "tandem redrive pause 1",
            "tandem redrive resume 1",
            "tandem redrive cancel 1",
            "tandem doctor --worker http://127.0.0.1:8081 --worker http://127.0.0.1:8082 --output json",
            "tandem --url https://user@host/tandem --color never --timeout 500ms doctor",
            "tandem completions zsh",
        ] {
            assert_eq!(fault(line), None, "{line}");
        }
    }

    #[test]
    fn a_wrong_command_line_is_a_usage_error() {
        for line in [
            "tandem order place --customer-id c",
            "tandem order place --customer-id c --item SKU",
            "tandem order place --customer-id c --item SKU=none",
            "tandem order place --file f --item SKU=1",
            "tandem order get",
            "tandem order list --limit 0",
            "tandem order list --limit 5 --all",
            "tandem order list --from yesterday",
            "tandem dead list --reason unknown",
            "tandem dead list --status-code 99",
            "tandem dead archive",
            "tandem redrive start --rate 0 --all",
            "tandem redrive start --stop-after-failed-share 1.5 --all",
            "tandem redrive start --new-key 1",
            "tandem redrive watch",
            "tandem --url ftp://host doctor",
            "tandem --url host doctor",
            "tandem --timeout 5 doctor",
            "tandem completions tcsh",
            "tandem order",
            "tandem",
        ] {
            let Some(kind) = fault(line) else { panic!("{line} was accepted") };
            assert_eq!(
                Cli::try_parse_from(line.split_whitespace()).map_err(|fault| fault.exit_code()).err(),
                Some(2),
                "{line}: {kind:?}"
            );
        }
    }

    #[test]
    fn completions_for_every_shell_know_all_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tandem", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("unarchive") && script.contains("stop-after-failed-share"), "{shell}");
        }
    }
}
