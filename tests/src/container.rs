//! A container of ours, through testcontainers: under a name of its own, with one port on loopback that stays the same.

use std::{fmt, thread, time::Duration};

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

use crate::{leash::Afterwards, ports::Port};

const ENGINE_DEADLINE: Duration = Duration::from_secs(10);
const PULL_DEADLINE: Duration = Duration::from_secs(300);
/// Starting, stopping, asking, removing; a stop in order is given half of it.
const DEADLINE: Duration = Duration::from_secs(60);
const GRACE_SECONDS: i32 = 30;

/// What to start.
pub(crate) struct Wanted {
    /// The image's name, without its tag.
    pub(crate) image: &'static str,
    pub(crate) tag: &'static str,
    /// The port that it listens on inside.
    pub(crate) port: u16,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Instead of the image's own, unless empty.
    pub(crate) command: Vec<&'static str>,
}

/// A container. Dropping it removes it with its data; so does the end of this process, however it comes.
pub(crate) struct Container {
    name: String,
    port: Port,
    /// Absent until it was started.
    running: Option<Box<ContainerAsync<GenericImage>>>,
    /// Removes it when we are not there to do it, where the client of the engine's command line is installed.
    _guard: Afterwards,
}

impl Container {
    /// Pulls the image if the engine has none of that name, and starts it. Waits for nothing within.
    ///
    /// Cancellation safe: what was started so far is removed.
    ///
    /// # Errors
    /// No engine answers, the image cannot be had, or the container does not start.
    pub(crate) async fn start(wanted: Wanted) -> Result<Self> {
        let Wanted { image, tag, port: inside, environment, command } = wanted;
        let engine = engine().await?;
        if engine.inspect_image(&format!("{image}:{tag}")).await.is_err() {
            eprintln!("pulling the image {image}:{tag} ...");
            let pulled = tokio::time::timeout(PULL_DEADLINE, GenericImage::new(image, tag).pull_image()).await;
            let _request =
                pulled.with_context(|| format!("{image}:{tag} was not pulled within {PULL_DEADLINE:?}"))??;
        }
        let name = format!("tandem-{image}-{}", &Uuid::new_v4().simple().to_string()[..12]);
        let _guard = Afterwards::run(&format!("docker rm --force --volumes {name}"))?;
        // Complete from here on, so that an early return cleans up.
        let mut container = Self { name, port: Port::choose()?, running: None, _guard };
        let published = container.port.number().to_string();
        let mut request = GenericImage::new(image, tag)
            .with_container_name(&container.name)
            // RabbitMQ names its node after its host, and its data after the node: fixed, for a start after a stop.
            .with_hostname(image)
            .with_mapped_port(container.port.number(), inside.tcp())
            .with_startup_timeout(DEADLINE)
            // Otherwise it is open to the network.
            .with_host_config_modifier(move |host| {
                let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(published.clone()) };
                host.port_bindings = Some([(format!("{inside}/tcp"), Some(vec![binding]))].into());
            })
            .with_cmd(command);
        for (name, value) in environment {
            request = request.with_env_var(name, value);
        }
        container.running = Some(Box::new(request.start().await?));
        Ok(container)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    /// SIGTERM or what the image asks for, and waits for its end; its data stays.
    ///
    /// # Errors
    /// The engine says no.
    pub(crate) async fn stop(&self) -> Result<()> {
        self.within(self.running()?.stop_with_timeout(Some(GRACE_SECONDS))).await
    }

    /// SIGKILL; its data stays.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) async fn kill(&self) -> Result<()> {
        let engine = engine().await?;
        self.within(engine.kill_container(&self.name, None::<KillContainerOptions>)).await
    }

    /// Starts it again: same port, same data.
    ///
    /// # Errors
    /// The engine says no.
    pub(crate) async fn start_again(&self) -> Result<()> {
        self.within(self.running()?.start()).await
    }

    /// Runs a command in it; what it prints.
    ///
    /// # Errors
    /// The command fails; the text has what it printed.
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

    fn running(&self) -> Result<&ContainerAsync<GenericImage>> {
        self.running.as_deref().with_context(|| format!("the container {} was not started", self.name))
    }

    async fn within<T, E>(&self, done: impl Future<Output = Result<T, E>>) -> Result<T>
    where
        Result<T, E>: Context<T, E>,
    {
        let done = tokio::time::timeout(DEADLINE, done).await;
        done.with_context(|| format!("the engine was not done with {} after {DEADLINE:?}", self.name))?
            .with_context(|| format!("the engine refuses something of {}", self.name))
    }
}

/// The engine at `DOCKER_HOST`, or at the usual socket.
async fn engine() -> Result<Docker> {
    let engine = docker_client_instance().await.context("no Docker Engine")?;
    let answer = tokio::time::timeout(ENGINE_DEADLINE, engine.ping()).await;
    answer.context("the Docker Engine does not answer")?.context("no Docker Engine answers")?;
    Ok(engine)
}

impl Drop for Container {
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
                // It may be there, if its start was cut short.
                None => {
                    let all = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
                    let _ = engine().await?.remove_container(name, Some(all)).await;
                    Ok(())
                }
            }
        };
        tokio::time::timeout(DEADLINE, removed).await?
    })
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").field("name", &self.name).field("port", &self.port).finish_non_exhaustive()
    }
}
