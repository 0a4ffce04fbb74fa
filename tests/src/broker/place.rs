//! What a private node has to itself: a directory, ports, a cookie, an environment.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use uuid::Uuid;

use super::Installation;
use crate::{
    leash::{Afterwards, path},
    ports::Port,
};

/// Each node has a port mapper of its own, so that all may have this name.
pub(super) const NODE: &str = "rabbit@localhost";

/// Where a node lives, on disk and on the network.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) directory: PathBuf,
    /// Removes the directory when we are not there to do it.
    _removal: Afterwards,
    pub(super) amqp: Port,
    distribution: Port,
    pub(super) epmd: Port,
}

impl Place {
    pub(super) fn make(data: &Path) -> Result<Self> {
        let directory = data.join(format!("{}-{}", std::process::id(), &Uuid::new_v4().simple().to_string()[..8]));
        let home = directory.join("home");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&home)
            .with_context(|| format!("cannot make {}", home.display()))?;
        let directory = directory.canonicalize()?;
        let quoted = directory.to_string_lossy().replace('\'', r"'\''");
        let _removal = Afterwards::run(&format!("rm -rf -- '{quoted}'"))?;
        let place =
            Self { _removal, amqp: Port::choose()?, distribution: Port::choose()?, epmd: Port::choose()?, directory };
        place.write_cookie(&Uuid::new_v4().simple().to_string())?;
        place.write_settings()?;
        Ok(place)
    }

    fn write_settings(&self) -> Result<()> {
        let settings = format!("listeners.tcp.1 = 127.0.0.1:{}\n", self.amqp.number());
        fs::write(self.directory.join("rabbitmq.conf"), settings)?;
        fs::write(self.directory.join("enabled_plugins"), "[].\n")?;
        Ok(())
    }

    /// Erlang refuses a cookie that others may read.
    fn write_cookie(&self, cookie: &str) -> Result<()> {
        let path = self.directory.join("home").join(".erlang.cookie");
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path)?;
        std::io::Write::write_all(&mut file, cookie.as_bytes())?;
        Ok(())
    }

    /// All that RabbitMQ takes from its environment, for the server and `rabbitmqctl` alike; nothing of the system's.
    ///
    /// The Erlang VM's schedulers are left as RabbitMQ sets them: one per core, no busy waiting.
    pub(super) fn environment(&self, installation: &Installation, command: &mut Command) {
        let file = |name: &str| self.directory.join(name);
        let mut erlang = "-kernel inet_dist_use_interface {127,0,0,1}".to_owned();
        for code in installation.core_code() {
            let code = code.to_string_lossy();
            // The scripts split this at white space.
            if !code.contains(char::is_whitespace) {
                let _ = write!(erlang, " -pa {code}");
            }
        }
        command
            .env("PATH", path())
            .env("LANG", "C.UTF-8")
            .env("HOME", file("home"))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.epmd.number().to_string())
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .env("RABBITMQ_NODENAME", NODE)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.amqp.number().to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution.number().to_string())
            .env("RABBITMQ_MNESIA_BASE", file("data"))
            .env("RABBITMQ_LOG_BASE", file("log"))
            .env("RABBITMQ_PID_FILE", file("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins"))
            .env("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", file("advanced.config"))
            .env("RABBITMQ_CONF_ENV_FILE", file("rabbitmq-env.conf"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erlang)
            // Several `rabbitmqctl` at a time, each listening on loopback.
            .env("RABBITMQ_CTL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .env("RABBITMQ_CTL_DIST_PORT_MIN", "32000")
            .env("RABBITMQ_CTL_DIST_PORT_MAX", "32700")
            // The script then becomes the Erlang VM instead of starting it, so that our child is the VM.
            .env("RUNNING_UNDER_SYSTEMD", "true");
    }
}
