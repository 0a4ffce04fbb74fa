//! The process that ends our children when we are gone.
//!
//! A shell script of a few lines holds the reading end of a pipe from us. When the pipe closes, which the kernel
//! guarantees however we end, it kills what is still held, waits for that, and then cleans up. It is started with the
//! first child, and needs no unsafe code.

use std::{
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{ChildStdin, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::{Context, Result};

use super::Signal;
use crate::lock::lock;

/// Lines of `hold ID COMMAND` and `release ID`. An id that is a number is a process, and its command the signal that
/// ends it; the other commands are run when all those are dead. A process that does not end of its signal is killed.
/// One that has may stay visible as a zombie where nobody reaps.
const SCRIPT: &str = r#"
trap '' INT HUP TERM
held=''
while read -r what id command; do
  others=''
  for other in $held; do
    [ "$other" = "$id" ] || others="$others $other"
  done
  held=$others
  if [ "$what" = hold ]; then
    held="$held $id"
    eval "command_$id=\$command"
  fi
done
for id in $held; do
  case $id in *[!0-9]*) ;; *) eval "kill -s \$command_$id $id" ;; esac
done
for id in $held; do
  case $id in *[!0-9]*) continue ;; esac
  tries=0
  while kill -0 "$id" && [ "$tries" -lt 40 ] && ! grep -q '^State:.Z' "/proc/$id/status"; do
    tries=$((tries + 1))
    sleep 0.05
  done
  [ "$tries" -lt 40 ] || kill -s KILL "$id"
done
for id in $held; do
  case $id in *[!0-9]*) eval "eval \"\$command_$id\"" ;; esac
done
"#;

static WATCHER: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// A shell command that runs if this process ends while this value lives.
#[derive(Debug)]
pub struct OnExit {
    id: String,
}

impl OnExit {
    /// Registers the command, which is one line.
    ///
    /// # Errors
    /// There is no shell.
    pub fn run(command: &str) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = format!("c{}", NEXT.fetch_add(1, Relaxed));
        send(&format!("hold {id} {command}"))?;
        Ok(Self { id })
    }
}

impl Drop for OnExit {
    fn drop(&mut self) {
        // Without a watcher nothing is registered.
        let _ = send(&format!("release {}", self.id));
    }
}

/// From now on, this process ends with us, by this signal.
pub(super) fn hold(pid: u32, end: Signal) -> Result<()> {
    send(&format!("hold {pid} {}", end.name()))
}

/// It has been waited for, so its id may belong to another process from now on.
pub(super) fn release(pid: u32) {
    // Without a watcher nothing is held.
    let _ = send(&format!("release {pid}"));
}

fn send(line: &str) -> Result<()> {
    let mut watcher = lock(&WATCHER);
    if watcher.is_none() {
        *watcher = Some(start().context("cannot start /bin/sh")?);
    }
    let pipe = watcher.as_mut().context("just started")?;
    pipe.write_all(format!("{line}\n").as_bytes()).context("the watcher of child processes is gone")
}

fn start() -> io::Result<ChildStdin> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT]).current_dir("/");
    // Its own process group: a signal to ours does not end it.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn()?.stdin.ok_or_else(|| io::Error::other("the child has no pipe"))
}
