//! A server in a container, through testcontainers, with one port on loopback that stays the same.

use std::{fmt, ops::ControlFlow, thread, time::Duration};

use anyhow::{Context, Result, bail};
use testcontainers::{
    ContainerAsync, GenericImage, ImageExt, TestcontainersError,
    bollard::{
        Docker,
        models::PortBinding,
        query_parameters::{KillContainerOptions, RemoveContainerOptionsBuilder},
    },
    core::{ExecCommand, IntoContainerPort, client::docker_client_instance},
    runners::AsyncRunner,
};
use uuid::Uuid;

use super::Software;
use crate::{
    leash::OnExit,
    waiting::{PATIENCE, until},
};

const ENGINE_DEADLINE: Duration = Duration::from_secs(10);
const PULL_DEADLINE: Duration = Duration::from_secs(300);
const GRACE_SECONDS: i32 = 30;

/// How to start a server in a container.
#[derive(Clone, Debug)]
pub struct Image {
    /// The image's name, without its tag.
    pub name: &'static str,
    /// Its tag.
    pub tag: &'static str,
    /// The port on 127.0.0.1.
    pub published: u16,
    /// The port that it listens on inside.
    pub port: u16,
    /// Its environment.
    pub environment: Vec<(&'static str, String)>,
    /// Instead of the image's own command, unless empty.
    pub command: Vec<&'static str>,
}

/// A container. Dropping it removes it with its data; so does the end of this process, however it comes.
pub struct Container<S: Software> {
    pub(crate) software: S,
    name: String,
    /// Absent until it was started.
    running: Option<Box<ContainerAsync<GenericImage>>>,
    /// Removes it if this process is killed and the client of the engine is installed.
    _guard: OnExit,
}

impl<S: Software> Container<S> {
    /// Pulls the image if the engine has none of that name, and starts it. Returns when it accepts connections.
    ///
    /// Cancellation safe: what was started so far is removed.
    ///
    /// # Errors
    /// No engine responds, the image is not available, or the container does not start.
    pub async fn start(options: S::Options) -> Result<Self> {
        let software = S::choose(options)?;
        let Image { name: image, tag, published, port, environment, command } = software.image();
        let engine = engine().await?;
        if engine.inspect_image(&format!("{image}:{tag}")).await.is_err() {
            eprintln!("pulling the image {image}:{tag} ...");
            let pulled = tokio::time::timeout(PULL_DEADLINE, GenericImage::new(image, tag).pull_image()).await;
            let _request =
                pulled.with_context(|| format!("{image}:{tag} was not pulled within {PULL_DEADLINE:?}"))??;
        }
        let name = format!("tandem-{image}-{}", &Uuid::new_v4().simple().to_string()[..12]);
        let _guard = OnExit::run(&format!("docker rm --force --volumes {name}"))?;
        // Complete from here on, so that an early return cleans up.
        let mut container = Self { software, name, running: None, _guard };
        let mut request = GenericImage::new(image, tag)
            .with_container_name(&container.name)
            // RabbitMQ names its node after its host, and its data after the node: fixed, for a start after a stop.
            .with_hostname(image)
            .with_mapped_port(published, port.tcp())
            .with_startup_timeout(PATIENCE)
            // By default it would be open to the network.
            .with_host_config_modifier(move |host| {
                let binding =
                    PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(published.to_string()) };
                host.port_bindings = Some([(format!("{port}/tcp"), Some(vec![binding]))].into());
            })
            .with_cmd(command);
        for (name, value) in environment {
            request = request.with_env_var(name, value);
        }
        container.running = Some(Box::new(request.start().await?));
        container.ready().await?;
        container.software.set_up().await?;
        Ok(container)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where to connect, with all rights.
    #[must_use]
    pub fn url(&self) -> String {
        self.software.url()
    }

    /// Sends SIGTERM, or what the image defines, and waits for the end; its data stays.
    pub(super) async fn stop(&self) -> Result<()> {
        self.within(self.running()?.stop_with_timeout(Some(GRACE_SECONDS))).await
    }

    /// SIGKILL; its data stays.
    pub(super) async fn kill(&self) -> Result<()> {
        let engine = engine().await?;
        self.within(engine.kill_container(&self.name, None::<KillContainerOptions>)).await
    }

    /// Starts it again: same port, same data.
    pub(super) async fn start_again(&self) -> Result<()> {
        self.within(self.running()?.start()).await?;
        self.ready().await
    }

    /// Runs a command in it, and returns what it prints.
    pub(crate) async fn run(&self, command: Vec<String>) -> Result<String> {
        let shown = command.join(" ");
        let running = self.running()?;
        let ran = async {
            let mut ran = running.exec(ExecCommand::new(command)).await?;
            let (stdout, stderr) = (ran.stdout_to_vec().await?, ran.stderr_to_vec().await?);
            Ok::<_, TestcontainersError>((ran.exit_code().await?, stdout, stderr))
        };
        let (code, stdout, stderr) = self.within(ran).await?;
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        if code != Some(0) {
            bail!("`{shown}` in {} failed ({code:?}): {}{}", self.name, stdout.trim_end(), stderr.trim_end());
        }
        Ok(stdout.trim_end().to_owned())
    }

    /// The proxy of the engine accepts connections at once, so only a response counts.
    async fn ready(&self) -> Result<()> {
        let connected = async || match self.software.connect().await {
            Ok(()) => ControlFlow::Break(()),
            Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
        };
        until(&format!("{} in its container", S::NAME), PATIENCE, connected).await
    }

    fn running(&self) -> Result<&ContainerAsync<GenericImage>> {
        self.running.as_deref().with_context(|| format!("the container {} was not started", self.name))
    }

    async fn within<T, E>(&self, done: impl Future<Output = Result<T, E>>) -> Result<T>
    where
        Result<T, E>: Context<T, E>,
    {
        let done = tokio::time::timeout(PATIENCE, done).await;
        done.with_context(|| format!("the engine did not finish with {} in {PATIENCE:?}", self.name))?
            .with_context(|| format!("the engine reports a fault with {}", self.name))
    }
}

/// The engine at `DOCKER_HOST`, or at the usual socket.
async fn engine() -> Result<Docker> {
    let engine = docker_client_instance().await.context("no Docker Engine")?;
    let pong = tokio::time::timeout(ENGINE_DEADLINE, engine.ping()).await;
    pong.context("the Docker Engine does not respond")?.context("no Docker Engine responds")?;
    Ok(engine)
}

impl<S: Software> Drop for Container<S> {
    fn drop(&mut self) {
        let (name, running) = (self.name.clone(), self.running.take());
        // A thread, since a test's runtime cannot wait in here.
        let remover = thread::spawn(move || remove(&name, running));
        if !remover.join().is_ok_and(|removed| removed.is_ok()) {
            eprintln!("the container {} could not be removed", self.name);
        }
    }
}

fn remove(name: &str, running: Option<Box<ContainerAsync<GenericImage>>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let removed = async {
            match running {
                Some(running) => running.rm().await.context("not removed"),
                // It may exist, if its start was interrupted.
                None => {
                    let all = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
                    let _ = engine().await?.remove_container(name, Some(all)).await;
                    Ok(())
                }
            }
        };
        tokio::time::timeout(PATIENCE, removed).await?
    })
}

impl<S: Software> fmt::Debug for Container<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").field("name", &self.name).finish_non_exhaustive()
    }
}
