//! Tandem's binaries: built once per process, found beside the running one.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

/// A build that takes longer than this is announced.
const ANNOUNCED_AFTER: Duration = Duration::from_secs(2);

/// How to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// As the running program was built.
    Running,
    /// Optimised: for measurements.
    Release,
}

/// The binaries of one profile, up to date.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// The path of a binary.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        if path.is_file() { Ok(path) } else { bail!("there is no binary {}", path.display()) }
    }
}

/// Builds all binaries of the workspace, if they are not up to date; once per process and profile. Blocks. With
/// `TANDEM_BINARIES`, takes those in that directory instead, such as those of another version.
///
/// # Errors
/// They cannot be built: cargo's output is on standard error. Every later call fails too.
pub fn build(profile: Profile) -> Result<&'static Binaries> {
    static RUNNING: OnceLock<Result<Binaries, String>> = OnceLock::new();
    static RELEASE: OnceLock<Result<Binaries, String>> = OnceLock::new();
    let built = match profile {
        Profile::Running => &RUNNING,
        Profile::Release => &RELEASE,
    };
    let built = built.get_or_init(|| cargo_build(profile).map_err(|fault| format!("{fault:#}")));
    built.as_ref().map_err(|fault| anyhow!("{fault}"))
}

/// The build directory of the running program, usually `target`.
///
/// # Errors
/// The running program is not in one.
pub fn target_directory() -> Result<PathBuf> {
    let profile = running_profile()?;
    profile.parent().map(Path::to_owned).context("the running program is not in a build directory")
}

/// `target/debug` for `target/debug/xtask` and from `target/debug/deps/it-0123`.
fn running_profile() -> Result<PathBuf> {
    let program = env::current_exe().context("the path of the running program is not known")?;
    let directory = program.parent().context("the running program is in no directory")?;
    let deps = directory.file_name().is_some_and(|name| name == "deps");
    let profile = if deps { directory.parent().unwrap_or(directory) } else { directory };
    Ok(profile.to_owned())
}

fn cargo_build(profile: Profile) -> Result<Binaries> {
    if let Some(directory) = env::var_os("TANDEM_BINARIES").filter(|directory| !directory.is_empty()) {
        return Ok(Binaries { directory: directory.into() });
    }
    let running = running_profile()?;
    let target = target_directory()?;
    let name = match profile {
        Profile::Release => "release".to_owned(),
        Profile::Running => running.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace is not found")?;
    let mut command = Command::new(cargo);
    // No test needs these, and xtask may be what is running.
    command.args([
        "build",
        "--workspace",
        "--exclude",
        "xtask",
        "--exclude",
        "bench",
        "--bins",
        "--profile",
        if name == "debug" { "dev" } else { &name },
    ]);
    command.arg("--target-dir").arg(&target).current_dir(root);
    // What cargo sets for the program that it runs is not meant for the next cargo.
    for (key, _) in env::vars_os() {
        let text = key.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_BIN_NAME" {
            command.env_remove(&key);
        }
    }
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    let announced = format!("building the binaries ({name}) ...");
    std::thread::spawn(move || {
        if waiting.recv_timeout(ANNOUNCED_AFTER) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{announced}");
        }
    });
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output().context("cannot run cargo")?;
    drop(done);
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        bail!("cargo build failed ({})", output.status);
    }
    if start.elapsed() > ANNOUNCED_AFTER {
        eprintln!("built in {:.0} s", start.elapsed().as_secs_f32());
    }
    Ok(Binaries { directory: target.join(name) })
}
