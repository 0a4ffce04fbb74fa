//! Where an installed RabbitMQ keeps its scripts.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::server::search::{below, on_path};

/// The scripts of an installed RabbitMQ that any user may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The directory of `rabbitmq-server` and `rabbitmqctl`.
    sbin: PathBuf,
    /// Erlang's port mapper daemon.
    epmd: PathBuf,
}

impl Installation {
    /// Looks where Debian's package and the official tarball put it, and then on `PATH`.
    #[must_use]
    pub fn find() -> Option<Self> {
        let sbin = below(Path::new("/usr/lib/rabbitmq/lib"), "rabbitmq_server-")
            .map(|version| version.join("sbin"))
            .chain([PathBuf::from("/opt/rabbitmq/sbin")])
            .chain(on_path("rabbitmq-server").filter_map(|script| script.parent().map(Path::to_owned)))
            .find(|sbin| is_usable(&sbin.join("rabbitmq-server")) && sbin.join("rabbitmqctl").is_file())?;
        let epmd = on_path("epmd").next().or_else(|| {
            let erl = on_path("erl").next()?;
            // .../erlang/bin/erl and .../erlang/bin/epmd, or .../erlang/erts-*/bin/epmd.
            let bin = erl.parent()?;
            let beside = bin.join("epmd");
            if beside.is_file() {
                Some(beside)
            } else {
                below(bin.parent()?, "erts-").map(|erts| erts.join("bin/epmd")).find(|epmd| epmd.is_file())
            }
        })?;
        Some(Self { sbin, epmd })
    }

    pub(super) fn server(&self) -> PathBuf {
        self.sbin.join("rabbitmq-server")
    }

    pub(super) fn ctl(&self) -> PathBuf {
        self.sbin.join("rabbitmqctl")
    }

    pub(super) fn epmd(&self) -> &Path {
        &self.epmd
    }

    /// The code of RabbitMQ's core, for the front of the code path.
    ///
    /// Otherwise the Erlang VM searches the directories of some seventy plugins for each of a few hundred modules. This
    /// makes the start a quarter faster, and changes nothing else.
    pub(super) fn core_code(&self) -> Vec<PathBuf> {
        let Some(plugins) = self.sbin.parent().map(|home| home.join("plugins")) else { return Vec::new() };
        ["rabbit-", "rabbit_common-", "rabbitmq_prelaunch-", "ra-", "osiris-"]
            .iter()
            .flat_map(|name| below(&plugins, name))
            .map(|application| application.join("ebin"))
            .filter(|code| code.is_dir())
            .collect()
    }
}

/// Debian's wrapper insists on running as root or as the user `rabbitmq`, with the system's settings.
fn is_usable(script: &Path) -> bool {
    fs::read_to_string(script).is_ok_and(|text| text.contains("rabbitmq-env"))
}
