//! Cargo, with its own output, in a process group that cannot outlive this process.

use std::{
    ffi::OsStr,
    path::Path,
    process::{ExitStatus, Stdio},
};

use anyhow::{Context, Result};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin, Command},
};

/// Leaves a watcher behind that holds the reading end of a pipe from this process, and becomes cargo. If the pipe is
/// closed before a line comes through, which happens however this process ends, the watcher kills the group: cargo and
/// the compilers.
const SCRIPT: &str = r#"
exec 3<&0 </dev/null
( (
  exec >/dev/null 2>&1
  trap '' INT HUP TERM
  read -r _ <&3 && exit
  kill -s KILL -- -$$
) & )
exec "$@" 3<&-
"#;

/// Runs cargo in the workspace, with the output of this process, and returns how it ended.
///
/// Cancellation safe: cargo and everything it started are killed with the future.
///
/// # Errors
/// Cargo cannot be started.
pub(crate) async fn cargo(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<ExitStatus> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT, "sh"]).arg(cargo).args(arguments).current_dir(workspace()?);
    // These describe xtask, and would make the next cargo rebuild what depends on them.
    for (key, _) in std::env::vars_os() {
        let text = key.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_NAME"].iter().any(|own| text.starts_with(own)) {
            command.env_remove(&key);
        }
    }
    let mut child = command.process_group(0).stdin(Stdio::piped()).spawn().context("cannot start /bin/sh")?;
    let leash = child.stdin.take().context("cargo has no pipe")?;
    let mut group = Group { child, leash };
    let status = group.child.wait().await.context("cannot wait for cargo")?;
    // The line that ends the watcher.
    let _ = group.leash.write_all(b"\n").await;
    Ok(status)
}

/// The directory of the workspace's manifest.
pub(crate) fn workspace() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("there is no workspace")
}

struct Group {
    child: Child,
    leash: ChildStdin,
}

impl Drop for Group {
    fn drop(&mut self) {
        // There is no id after it has been waited for, and nothing to end.
        if let Some(id) = self.child.id() {
            let kill = ["-c", "kill -s KILL -- \"-$1\"", "sh", &id.to_string()];
            let _ = std::process::Command::new("/bin/sh").args(kill).stderr(Stdio::null()).status();
        }
    }
}
