//! What a private server leaves behind: nothing.

use std::{fs, ops::ControlFlow, path::Path};

use anyhow::Result;
use tests::waiting::{PATIENCE, until};

/// The names of the processes whose working directory is in this one, as with every process of a server.
pub(super) fn processes_in(directory: &Path) -> Vec<String> {
    let is_in = |process: &Path| {
        fs::read_link(process.join("cwd"))
            .is_ok_and(|cwd| cwd.to_string_lossy().starts_with(&*directory.to_string_lossy()))
    };
    let name = |process: &Path| fs::read_to_string(process.join("comm")).unwrap_or_default().trim_end().to_owned();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    processes.filter(|process| is_in(process)).map(|process| name(&process)).collect()
}

/// Waits until the directory and its processes are gone.
pub(super) async fn wait_until_removed(directory: &Path) -> Result<()> {
    let left = async || match processes_in(directory) {
        left if left.is_empty() && !directory.exists() => ControlFlow::Break(()),
        left => ControlFlow::Continue(format!("{left:?}, {} exists: {}", directory.display(), directory.exists())),
    };
    until("the server to be gone", PATIENCE, left).await
}
