//! Following a redrive until it has ended.

use std::time::Duration;

use api::Redrive;
use tokio::time::{Instant, sleep};

use super::view;
use crate::{
    client::{Client, Request, Response},
    exit::{Exit, Failure, interruptible},
    output::Screen,
    progress::Progress,
    results::document,
};

/// How often the redrive is read.
const PERIOD: Duration = Duration::from_millis(500);
/// How long the API may be away before the command gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Follows a redrive, and shows it when it has ended. The redrive continues whether it is watched or not.
///
/// # Errors
/// [`Failure`]; unreachable only after a minute without any response.
pub(super) async fn run(id: &str, client: &Client, screen: Screen) -> Result<Exit, Failure> {
    let followed = interruptible(follow(id, client, screen)).await;
    let (response, redrive) = followed.inspect_err(|fault| {
        if matches!(fault, Failure::Interrupted) {
            screen.say(format_args!(
                "the redrive continues: tandem redrive watch {id} follows it, tandem redrive pause {id} stops it"
            ));
        }
    })?;
    document(&response, screen, view::show)?;
    if !screen.is_json() && redrive.dead_lettered > 0 {
        screen.say("\nwhat is dead again, and why: tandem dead groups");
    }
    Ok(view::exit(&redrive))
}

async fn follow(id: &str, client: &Client, screen: Screen) -> Result<(Response, Redrive), Failure> {
    let request = Request::get(["v1", "redrives", id]);
    let mut progress = Progress::new(0);
    let mut heard = Instant::now();
    let mut last = String::new();
    loop {
        match client.send(&request).await {
            Ok(response) => {
                heard = Instant::now();
                let redrive: Redrive = response.read()?;
                if view::exit(&redrive) != Exit::Pending {
                    return Ok((response, redrive));
                }
                let ended = redrive.delivered + redrive.dead_lettered;
                progress.set(screen, ended, redrive.matched, &view::progress(&redrive));
                if screen.is_json() && last != response.body {
                    screen.line(response.body.trim())?;
                    last = response.body;
                }
            }
            Err(fault) if fault.is_temporary() && heard.elapsed() < PATIENCE => {
                progress.say(screen, &format!("{}, trying again", fault.first_line()));
            }
            Err(fault) => return Err(fault),
        }
        sleep(PERIOD).await;
    }
}
