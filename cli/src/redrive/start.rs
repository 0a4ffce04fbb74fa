//! Starting a redrive: the plan first, then the question, then the sending.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;
use uuid::Uuid;

use super::{Start, job, job::Job, plan, watch};
use crate::{
    client::{Client, Request},
    ending::{Ending, Failure},
    output::{Screen, count},
};

/// Starts it, if whoever is asked says yes.
///
/// # Errors
/// [`Failure`]; without a terminal and without `--yes` nothing is asked of the API either.
pub(super) async fn run(arguments: &Start, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    let Start { selection, yes, watch } = arguments;
    let asks = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !yes && !asks {
        return Err(Failure::Usage(
            "there is no terminal to ask on: look at it with `tandem redrive plan`, then start it with --yes"
                .to_owned(),
        ));
    }
    let request = selection.request()?;
    let (_, plan) = plan::ask(request.clone(), client).await?;
    // The plan is no result: the redrive is.
    plan::lines(&plan, screen.plain()).into_iter().for_each(|line| screen.say(line));
    if plan.matched == 0 {
        screen.say("nothing to send");
        return Ok(Ending::Done);
    }
    if !yes && !asked(plan.matched)? {
        screen.say("nothing was sent");
        return Ok(Ending::Declined);
    }
    let request = Request::post(["v1", "redrives"], Value::from(request).to_string());
    // Should the answer be lost, it is asked for once more: under the same key it is the same redrive.
    let request = request.header("idempotency-key", Uuid::new_v4().to_string()).patience(plan::PATIENCE);
    let answer = match client.ask(&request).await {
        Err(Failure::Unreachable { cause, .. }) => {
            screen.say(format_args!("{} does not answer ({cause}); asking once more", client.server()));
            client.ask(&request).await?
        }
        answered => answered?,
    };
    let job: Job = answer.read()?;
    if job.matched != plan.matched {
        screen.say(format_args!("meanwhile it has become {}", count(job.matched, "dead letter")));
    }
    if *watch {
        return watch::run(&job.id, client, screen).await;
    }
    if screen.is_json() {
        screen.line(answer.body.trim())?;
    } else {
        job::show(&job, screen)?;
        screen.say(format_args!("\nfollow it: tandem redrive watch {}", job.id));
    }
    Ok(Ending::Done)
}

fn asked(matched: u64) -> io::Result<bool> {
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
