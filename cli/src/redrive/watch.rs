//! Following a redrive until it has ended.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::job::{self, Job};
use crate::{
    client::{Answer, Client, Request},
    ending::{Ending, Failure, interruptible},
    output::Screen,
    progress::Progress,
};

/// How often it is looked at.
const PERIOD: Duration = Duration::from_millis(500);
/// An API that is away for this long is away.
const PATIENCE: Duration = Duration::from_secs(60);

/// Follows it, and says how it ended. The redrive goes on whether it is watched or not.
///
/// # Errors
/// [`Failure`]; unreachable only after a minute without any answer.
pub(super) async fn run(id: &str, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    let followed = interruptible(follow(id, client, screen)).await;
    let (answer, job) = followed.inspect_err(|fault| {
        if matches!(fault, Failure::Interrupted) {
            screen.say(format_args!(
                "the redrive goes on: tandem redrive watch {id} follows it, tandem redrive pause {id} stops it"
            ));
        }
    })?;
    if screen.is_json() {
        screen.line(answer.body.trim())?;
    } else {
        job::show(&job, screen)?;
        if job.dead_lettered > 0 {
            screen.say("\nwhat is dead again, and why: tandem dead groups");
        }
    }
    Ok(job.ending())
}

async fn follow(id: &str, client: &Client, screen: Screen) -> Result<(Answer, Job), Failure> {
    let request = Request::get(["v1", "redrives", id]);
    let mut progress = Progress::new(0);
    let mut heard = Instant::now();
    let mut last = String::new();
    loop {
        match client.ask(&request).await {
            Ok(answer) => {
                heard = Instant::now();
                let job: Job = answer.read()?;
                if job.has_ended() {
                    return Ok((answer, job));
                }
                progress.set(screen, job.delivered + job.dead_lettered, job.matched, &job.line());
                if screen.is_json() && last != answer.body {
                    screen.line(answer.body.trim())?;
                    last = answer.body;
                }
            }
            Err(Failure::Refused(problem)) if problem.status < 500 && problem.status != 429 => {
                return Err(Failure::Refused(problem));
            }
            Err(fault @ (Failure::Unreachable { .. } | Failure::Refused(_))) if heard.elapsed() < PATIENCE => {
                let said = fault.to_string();
                progress.say(screen, &format!("{}, trying again", said.lines().next().unwrap_or_default()));
            }
            Err(fault) => return Err(fault),
        }
        sleep(PERIOD).await;
    }
}
