//! What a process has used, from `/proc`.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// Linux counts CPU time for user space in hundredths of a second, whatever the kernel's own tick.
const TICK: Duration = Duration::from_millis(10);

/// The resources of one process at one moment. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user and kernel mode, all threads, in steps of 10 ms; of children only those that were waited for.
    pub cpu: Duration,
    /// Memory resident now.
    pub rss: u64,
    /// The most that was ever resident.
    pub peak_rss: u64,
    /// Memory resident now, shared pages counted by their share; absent if the kernel does not provide it.
    pub pss: Option<u64>,
    /// Threads.
    pub threads: u64,
}

/// What the process with this id has used.
///
/// # Errors
/// It is gone, or this is not Linux.
pub fn of(pid: u32) -> Result<Usage> {
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let status = read("status")?;
    let field = |name: &str| kilobytes(&status, name).with_context(|| format!("/proc/{pid}/status has no {name}"));
    Ok(Usage {
        cpu: cpu(&read("stat")?).with_context(|| format!("/proc/{pid}/stat is in an unknown form"))?,
        rss: field("VmRSS:")?,
        peak_rss: field("VmHWM:")?,
        pss: read("smaps_rollup").ok().and_then(|rollup| kilobytes(&rollup, "Pss:")),
        threads: number(&status, "Threads:").unwrap_or_default(),
    })
}

/// What the process with this id and its children have used together, for a server that is one process per connection.
/// Memory that they share counts once for each of them in `rss`, and once in `pss`.
///
/// # Errors
/// It is gone, or this is not Linux.
pub fn with_children(pid: u32) -> Result<Usage> {
    let mut sum = of(pid)?;
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // One that has just ended is counted by its parent the next time.
    for child in children.split_ascii_whitespace().filter_map(|child| of(child.parse().ok()?).ok()) {
        sum.cpu += child.cpu;
        sum.rss += child.rss;
        sum.peak_rss += child.peak_rss;
        sum.pss = sum.pss.zip(child.pss).map(|(sum, more)| sum + more);
        sum.threads += child.threads;
    }
    Ok(sum)
}

/// The fields after the command's name, which is in parentheses and may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    let (user, system, children_user, children_system) = (next()?, next()?, next()?, next()?);
    TICK.checked_mul(user + system + children_user + children_system)
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    number(text, name).map(|kilobytes| kilobytes * 1_024)
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_after_any_command_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 0 0 0 0 0 150 50 3 2 20 0 4 0 100 0 0";
        assert_eq!(cpu(stat), Some(Duration::from_millis(2_050)));
    }

    #[test]
    fn this_process_has_used_something() {
        let usage = of(std::process::id()).unwrap();
        assert!(usage.rss > 0 && usage.peak_rss >= usage.rss && usage.threads > 0, "{usage:?}");
    }
}
