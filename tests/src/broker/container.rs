//! RabbitMQ in a container of ours, where a Docker Engine answers. By its command line: nothing to compile.

use std::{ffi::OsStr, net::Ipv4Addr, ops::ControlFlow, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};
use uuid::Uuid;

use crate::{command, leash::Afterwards, ports::Port, waiting};

const IMAGE: &str = "rabbitmq:4";
const USER: &str = "tandem";
const ENGINE_DEADLINE: Duration = Duration::from_secs(10);
const PULL_DEADLINE: Duration = Duration::from_secs(300);
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);
const START_DEADLINE: Duration = Duration::from_secs(120);

/// A container under a name of its own. Dropping it removes it; so does the end of this process, however it comes.
#[derive(Debug)]
pub struct Container {
    name: String,
    amqp_url: String,
    port: Port,
    /// Removes the container when we are not there to do it.
    _guard: Afterwards,
}

impl Container {
    /// Pulls the image if it is not there, and starts it. Returns when it takes connections.
    ///
    /// # Errors
    /// No engine answers, the image cannot be had, or the container does not start.
    pub async fn start() -> Result<Self> {
        docker(&["version", "--format", "{{.Server.Version}}"], ENGINE_DEADLINE)
            .await
            .context("no Docker Engine answers")?;
        if docker(&["image", "inspect", IMAGE], COMMAND_DEADLINE).await.is_err() {
            eprintln!("pulling the image {IMAGE} ...");
            docker(&["pull", "--quiet", IMAGE], PULL_DEADLINE).await?;
        }
        let unique = Uuid::new_v4().simple().to_string();
        let (name, password) = (format!("tandem-rabbitmq-{}", &unique[..12]), &unique[12..]);
        let port = Port::choose()?;
        let guard = Afterwards::run(&format!("docker rm --force --volumes {name}"))?;
        let amqp_url = format!("amqp://{USER}:{password}@127.0.0.1:{}/%2f", port.number());
        let container = Self { name, amqp_url, _guard: guard, port };
        let publish = format!("127.0.0.1:{}:5672", container.port.number());
        let (user, password) = (format!("RABBITMQ_DEFAULT_USER={USER}"), format!("RABBITMQ_DEFAULT_PASS={password}"));
        // The host's name is part of the node's name, and that of its data: fixed, for a start after a stop.
        let run = ["run", "--detach", "--name", &container.name, "--hostname", "rabbitmq", "--publish", &publish];
        docker(&[&run[..], &["--env", &user, "--env", &password, IMAGE]].concat(), COMMAND_DEADLINE).await?;
        container.ready().await?;
        Ok(container)
    }

    /// Whether an engine answers that has the image already.
    pub async fn is_at_hand() -> bool {
        docker(&["image", "inspect", IMAGE], ENGINE_DEADLINE).await.is_ok()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where to connect.
    #[must_use]
    pub fn amqp_url(&self) -> &str {
        &self.amqp_url
    }

    pub(super) async fn stop(&self) -> Result<()> {
        docker(&["stop", "--time", "30", &self.name], COMMAND_DEADLINE).await?;
        Ok(())
    }

    pub(super) async fn kill(&self) -> Result<()> {
        docker(&["kill", &self.name], COMMAND_DEADLINE).await?;
        Ok(())
    }

    pub(super) async fn start_again(&self) -> Result<()> {
        docker(&["start", &self.name], COMMAND_DEADLINE).await?;
        self.ready().await
    }

    pub(super) async fn ctl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        let mut command = Command::new("docker");
        command.args(["exec", &self.name, "rabbitmqctl", "-q"]).args(arguments);
        command::run(&mut command, COMMAND_DEADLINE).await
    }

    /// The engine's own proxy takes connections at once; only RabbitMQ's answer to the AMQP greeting tells.
    async fn ready(&self) -> Result<()> {
        let greeted = async || match greet(self.port.number()).await {
            Ok(()) => ControlFlow::Break(()),
            Err(fault) => ControlFlow::Continue(fault.to_string()),
        };
        waiting::until("RabbitMQ in its container", START_DEADLINE, greeted).await
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let arguments = ["rm", "--force", "--volumes", &self.name];
        let removed = std::process::Command::new("docker").args(arguments).output();
        if !removed.is_ok_and(|output| output.status.success()) {
            eprintln!("the container {} could not be removed", self.name);
        }
    }
}

async fn greet(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
    // Connection.Start begins as a method frame on channel 0.
    let mut start = [0; 3];
    stream.read_exact(&mut start).await?;
    if start == [1, 0, 0] { Ok(()) } else { Err(std::io::Error::other("the answer is not AMQP 0-9-1")) }
}

async fn docker(arguments: &[&str], deadline: Duration) -> Result<String> {
    command::run(Command::new("docker").args(arguments), deadline).await
}
