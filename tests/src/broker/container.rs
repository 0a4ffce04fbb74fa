//! RabbitMQ in a container of ours, where a Docker Engine answers.

use std::{ffi::OsStr, net::Ipv4Addr, ops::ControlFlow, time::Duration};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use uuid::Uuid;

use crate::{
    container::{self, Wanted},
    waiting,
};

const IMAGE: &str = "rabbitmq";
const TAG: &str = "4";
const USER: &str = "tandem";
const START_DEADLINE: Duration = Duration::from_secs(120);

/// A container under a name of its own. Dropping it removes it; so does the end of this process, however it comes.
#[derive(Debug)]
pub struct Container {
    container: container::Container,
    amqp_url: String,
}

impl Container {
    /// Pulls the image if it is not there, and starts it. Returns when it takes connections.
    ///
    /// # Errors
    /// No engine answers, the image cannot be had, or the container does not start.
    pub async fn start() -> Result<Self> {
        let password = Uuid::new_v4().simple().to_string();
        let wanted = Wanted {
            image: IMAGE,
            tag: TAG,
            port: 5672,
            environment: vec![("RABBITMQ_DEFAULT_USER", USER.to_owned()), ("RABBITMQ_DEFAULT_PASS", password.clone())],
            command: Vec::new(),
        };
        let container = container::Container::start(wanted).await?;
        let amqp_url = format!("amqp://{USER}:{password}@127.0.0.1:{}/%2f", container.port());
        let container = Self { container, amqp_url };
        container.ready().await?;
        Ok(container)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.container.name()
    }

    /// Where to connect.
    #[must_use]
    pub fn amqp_url(&self) -> &str {
        &self.amqp_url
    }

    pub(super) async fn stop(&self) -> Result<()> {
        self.container.stop().await
    }

    pub(super) async fn kill(&self) -> Result<()> {
        self.container.kill().await
    }

    pub(super) async fn start_again(&self) -> Result<()> {
        self.container.start_again().await?;
        self.ready().await
    }

    pub(super) async fn ctl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        let arguments = arguments.iter().map(|argument| argument.as_ref().to_string_lossy().into_owned());
        let command = ["rabbitmqctl", "-q"].map(str::to_owned).into_iter().chain(arguments);
        self.container.run(command.collect()).await
    }

    /// The engine's own proxy takes connections at once; only RabbitMQ's answer to the AMQP greeting tells.
    async fn ready(&self) -> Result<()> {
        let greeted = async || match greet(self.container.port()).await {
            Ok(()) => ControlFlow::Break(()),
            Err(fault) => ControlFlow::Continue(fault.to_string()),
        };
        waiting::until("RabbitMQ in its container", START_DEADLINE, greeted).await
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
