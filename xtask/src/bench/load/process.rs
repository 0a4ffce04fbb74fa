//! The load as a child process.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{
    APIS_THREAD,
    book::Verdict,
    protocol::{Answer, Drained, Hello, Placed, Target, Task, Until},
};
use crate::bench::threads;

/// The load process. It ends with its standard input, so it cannot outlive us.
#[derive(Debug)]
pub(crate) struct Load {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    apis: [String; 2],
}

impl Load {
    /// Starts it from this binary.
    pub(crate) async fn start(xtask: &Path) -> Result<Self> {
        let mut command = Command::new(xtask);
        // Its own process group: Ctrl-C in a terminal is for us.
        command.args(["bench", "load"]).process_group(0).kill_on_drop(true);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start the load")?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the load has no pipes");
        };
        let mut stdout = BufReader::new(stdout).lines();
        let hello = stdout.next_line().await?.ok_or_else(|| anyhow!("the load has ended"))?;
        let Hello { apis } = serde_json::from_str(&hello)?;
        let apis = apis.try_into().map_err(|_| anyhow!("not two fake APIs"))?;
        Ok(Self { child, stdin, stdout, apis })
    }

    /// The base URLs of its fake APIs.
    pub(crate) fn apis(&self) -> &[String; 2] {
        &self.apis
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().ok_or_else(|| anyhow!("the load has ended"))
    }

    /// CPU time of the generator and of the fake APIs.
    pub(crate) fn cpu(&self) -> Result<(Duration, Duration)> {
        let by_thread: BTreeMap<String, Duration> = threads::cpu(self.pid()?)?;
        let apis = by_thread.get(APIS_THREAD).copied().unwrap_or_default();
        let all: Duration = ::tests::usage::of(self.pid()?)?.cpu;
        Ok((all.saturating_sub(apis), apis))
    }

    /// Places orders in a closed loop.
    pub(crate) async fn closed(
        &mut self,
        target: Target,
        orders: u64,
        in_flight: usize,
        until: Until,
    ) -> Result<Placed> {
        self.place(Task::Closed { target, orders, in_flight, until }).await
    }

    /// Places orders at a fixed rate.
    pub(crate) async fn open(&mut self, target: Target, orders: u64, per_second: u32) -> Result<Placed> {
        self.place(Task::Open { target, orders, per_second }).await
    }

    /// Asks it to wait for a drain; [`Load::drained`] waits for that.
    pub(crate) async fn drain(&mut self) -> Result<()> {
        self.ask(Task::Drain).await
    }

    /// Waits for the end of the drain.
    pub(crate) async fn drained(&mut self) -> Result<Drained> {
        match self.answer().await? {
            Answer::Drained(drained) => Ok(drained),
            other => Err(unexpected(other)),
        }
    }

    /// Looks at every order so far.
    pub(crate) async fn audit(&mut self) -> Result<Verdict> {
        self.ask(Task::Audit).await?;
        match self.answer().await? {
            Answer::Audited(verdict) => Ok(verdict),
            other => Err(unexpected(other)),
        }
    }

    async fn place(&mut self, task: Task) -> Result<Placed> {
        self.ask(task).await?;
        match self.answer().await? {
            Answer::Placed(placed) => Ok(placed),
            other => Err(unexpected(other)),
        }
    }

    async fn ask(&mut self, task: Task) -> Result<()> {
        let mut line = serde_json::to_vec(&task)?;
        line.push(b'\n');
        self.stdin.write_all(&line).await.context("the load has ended")
    }

    async fn answer(&mut self) -> Result<Answer> {
        let line = self.stdout.next_line().await?.ok_or_else(|| anyhow!("the load has ended"))?;
        Ok(serde_json::from_str(&line)?)
    }
}

fn unexpected(answer: Answer) -> anyhow::Error {
    match answer {
        Answer::Failed(fault) => anyhow!("the load failed: {fault}"),
        other => anyhow!("the load answered {other:?}"),
    }
}
