//! What a server of our own leaves when it ends: nothing.

use std::{fs, ops::ControlFlow, path::Path};

use anyhow::Result;
use tests::waiting::{PATIENCE, until};

/// Processes that work in this directory, with their names: every process of a server does.
pub(super) fn inhabitants(directory: &Path) -> Vec<String> {
    let inhabits = |process: &Path| {
        fs::read_link(process.join("cwd"))
            .is_ok_and(|cwd| cwd.to_string_lossy().starts_with(&*directory.to_string_lossy()))
    };
    let named = |process: &Path| fs::read_to_string(process.join("comm")).unwrap_or_default().trim_end().to_owned();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    processes.filter(|process| inhabits(process)).map(|process| named(&process)).collect()
}

/// Waits until the directory and all who worked in it are gone.
pub(super) async fn wait_until_deserted(directory: &Path) -> Result<()> {
    let left = async || match inhabitants(directory) {
        left if left.is_empty() && !directory.exists() => ControlFlow::Break(()),
        left => ControlFlow::Continue(format!("{left:?}, {} there: {}", directory.display(), directory.exists())),
    };
    until("the server to leave nothing", PATIENCE, left).await
}
