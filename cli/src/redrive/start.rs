//! Starting a redrive: first the plan, then the prompt, then the request.

use std::io::{self, IsTerminal as _, Write as _};

use api::{Plan, Redrive};
use clap::Args;
use uuid::Uuid;

use super::{
    plan,
    selection::{SENDING, SelectionArgs},
    view, watch,
};
use crate::{
    client::{Client, Request, to_json},
    exit::{Exit, Failure},
    output::{Screen, count},
    results::document,
};

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Do not ask
    #[arg(long, short, help_heading = SENDING)]
    yes: bool,
    /// Follow it until it has ended
    #[arg(long, help_heading = SENDING)]
    watch: bool,
}

/// Starts a redrive, unless the answer to the prompt is no.
///
/// # Errors
/// [`Failure`]; without a terminal and without `--yes`, before any request.
pub(super) async fn run(arguments: &StartArgs, client: &Client, screen: Screen) -> Result<Exit, Failure> {
    let StartArgs { selection, yes, watch } = arguments;
    let can_prompt = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !yes && !can_prompt {
        return Err(Failure::Usage(
            "there is no terminal for a prompt: check the plan with `tandem redrive plan`, then start with --yes"
                .to_owned(),
        ));
    }
    let redrive = selection.request()?;
    let plan: Plan = plan::request(redrive.clone(), client).await?.read()?;
    // The result is the redrive, not the plan.
    plan::lines(&plan, screen.plain()).into_iter().for_each(|line| screen.say(line));
    if plan.matched == 0 {
        screen.say("nothing to send");
        return Ok(Exit::Success);
    }
    if !yes && !confirmed(plan.matched)? {
        screen.say("nothing was sent");
        return Ok(Exit::Declined);
    }
    let request = Request::post(["v1", "redrives"], to_json(&redrive)?).extra_time(plan::EXTRA_TIME);
    // Under the same key, a second request returns the same redrive.
    let request = request.header("idempotency-key", Uuid::new_v4().to_string());
    let response = client.send_twice(&request, screen).await?;
    let redrive: Redrive = response.read()?;
    if redrive.matched != plan.matched {
        screen.say(format_args!("since the plan, it has become {}", count(redrive.matched, "dead letter")));
    }
    if *watch {
        return watch::run(&redrive.id, client, screen).await;
    }
    document(&response, screen, view::show)?;
    if !screen.is_json() {
        screen.say(format_args!("\nfollow it: tandem redrive watch {}", redrive.id));
    }
    Ok(Exit::Success)
}

fn confirmed(matched: u64) -> io::Result<bool> {
    eprint!("Send {}? [y/N] ", count(matched, "dead letter"));
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for (answer, yes) in
            [("y\n", true), (" YES \n", true), ("", false), ("\n", false), ("n", false), ("yep", false)]
        {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}
