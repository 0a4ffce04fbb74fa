//! CPU time by thread, for a process that does two jobs.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context as _, Result};

/// CPU time of the threads of a process, by name; threads of one name are added up.
///
/// # Errors
/// The process is gone.
pub(super) fn cpu(pid: u32) -> Result<BTreeMap<String, Duration>> {
    let tasks = format!("/proc/{pid}/task");
    let mut by_name = BTreeMap::new();
    for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
        let task = task?.path();
        // A thread may end between the listing and this.
        let (Ok(name), Ok(times)) = (fs::read_to_string(task.join("comm")), fs::read_to_string(task.join("schedstat")))
        else {
            continue;
        };
        // The first number is the time on a processor, in nanoseconds.
        let nanos = times.split_ascii_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or_default();
        *by_name.entry(name.trim_end().to_owned()).or_default() += Duration::from_nanos(nanos);
    }
    Ok(by_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_thread_that_ran() {
        let total: Duration = cpu(std::process::id()).unwrap().values().sum();
        assert!(total > Duration::ZERO);
    }
}
