//! The load: orders in, both fake APIs at the other end, one clock for both.
//!
//! One process, because a closed loop must learn at once when both APIs are told, and a message between processes for
//! each order would disturb what is measured. The fake APIs have a thread of their own in it, so that their CPU time
//! can be told from the generator's.

mod apis;
mod book;
mod closed;
mod open;
mod process;
mod protocol;
mod request;
mod wire;

use std::{
    io::{BufRead as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::runtime;

use self::{
    apis::Apis,
    book::Book,
    protocol::{Answer, Hello, Task},
};
pub(super) use self::{
    book::Verdict,
    process::Load,
    protocol::{Drained, Placed, Quantiles, Target, Until},
};

/// The thread of the fake APIs.
const APIS_THREAD: &str = "load-apis";
/// Without any order accepted or told for so long, a run has failed.
const STALLED: Duration = Duration::from_secs(60);

/// The whole process: says where its APIs are, then does what each line of standard input asks, until there are none.
///
/// # Errors
/// It cannot start, or is asked in a form it does not know.
pub(super) fn main() -> Result<()> {
    let book = Book::default();
    let apis = Apis::bind()?;
    say(&Hello { apis: apis.urls()? })?;
    thread::Builder::new().name(APIS_THREAD.to_owned()).spawn({
        let book = book.clone();
        let runtime = one_thread()?;
        move || {
            if let Err(fault) = runtime.block_on(apis.serve(book)) {
                eprintln!("the fake APIs have ended: {fault:#}");
            }
        }
    })?;
    let runtime = one_thread()?;
    for line in std::io::stdin().lock().lines() {
        let task = serde_json::from_str(&line?).context("not a task")?;
        let answer = runtime.block_on(async {
            tokio::select! {
                answer = perform(task, &book) => answer,
                fault = stalled(&book) => Err(fault),
            }
        });
        say(&answer.unwrap_or_else(|fault| Answer::Failed(format!("{fault:#}"))))?;
    }
    Ok(())
}

async fn perform(task: Task, book: &Book) -> Result<Answer> {
    Ok(match task {
        Task::Closed { target, orders, in_flight, until } => {
            Answer::Placed(closed::place(target, orders, in_flight, until, book).await?)
        }
        Task::Open { target, orders, per_second } => {
            Answer::Placed(open::place(target, orders, per_second, book).await?)
        }
        Task::Drain => Answer::Drained(drain(book).await?),
        Task::Audit => Answer::Audited(book.verdict()),
    })
}

/// Waits until both APIs are told of every order so far, and says how evenly that went.
async fn drain(book: &Book) -> Result<Drained> {
    const PARTS: usize = 10;
    let start = Instant::now();
    let before = book.completed();
    let all = book.accepted_so_far();
    book.wait_for_completed(all).await;
    let waited = start.elapsed();
    let completions = book.completions(before);
    let (Some(first), Some(last)) = (completions.first(), completions.last()) else {
        bail!("there is nothing to drain");
    };
    let bound = |part: usize| completions.get((completions.len() * part / PARTS).saturating_sub(1)).unwrap_or(first);
    let tenths = (0..PARTS).map(|part| {
        let orders = completions.len() * (part + 1) / PARTS - completions.len() * part / PARTS;
        per_second(orders, *bound(part + 1) - *bound(part))
    });
    Ok(Drained {
        orders: completions.len() as u64,
        waited_seconds: waited.as_secs_f64(),
        seconds: (*last - *first).as_secs_f64(),
        tenths: tenths.collect(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "numbers of orders are far below 2^52")]
fn per_second(orders: usize, took: Duration) -> f64 {
    orders as f64 / took.as_secs_f64().max(1e-9)
}

/// Ends with a fault when nothing has happened for [`STALLED`].
async fn stalled(book: &Book) -> anyhow::Error {
    let look = || (book.accepted_so_far(), book.completed());
    let mut seen = look();
    loop {
        tokio::time::sleep(STALLED).await;
        let now = look();
        if now == seen {
            return anyhow!("nothing happened for {STALLED:?}: {} orders accepted, {} told to both APIs", now.0, now.1);
        }
        seen = now;
    }
}

fn one_thread() -> std::io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

fn say(what: &impl serde::Serialize) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, what)?;
    stdout.write_all(b"\n")?;
    Ok(stdout.flush()?)
}
