//! What the compose file starts, as a separate project.

use std::{
    ffi::OsString,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::{http, leash::OnExit, order::Order, ports::Port, waiting::until};
use tokio::process::Command;
use uuid::Uuid;

use crate::images::{self, output};

const BASE_IMAGES: [&str; 3] = ["rust:1-slim-bookworm", "rabbitmq:4", "postgres:17"];

const DOWN: &str = "down --volumes --remove-orphans";

const COMMAND_DEADLINE: Duration = Duration::from_secs(120);
/// For building the image.
const BUILD_DEADLINE: Duration = Duration::from_secs(20 * 60);
/// From `up` to health, on a machine that is busy with other tests.
const HEALTH_DEADLINE: Duration = Duration::from_secs(180);
const DELIVERY_DEADLINE: Duration = Duration::from_secs(120);

/// A running project. Dropping it removes everything; so does the end of this process, however it comes.
pub(super) struct Stack {
    compose: &'static [&'static str],
    directory: PathBuf,
    environment: Vec<(OsString, OsString)>,
    project: String,
    image: String,
    ports: [Port; 2],
    client: reqwest::Client,
    /// Removes everything if this process is killed.
    guard: Option<OnExit>,
}

/// The two producers on one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Producer {
    First,
    Second,
}

/// A container, as `docker inspect` describes it.
pub(super) struct Container(pub(super) Value);

impl Stack {
    /// Finds an engine, a compose and the base images, or returns why that is impossible.
    pub(super) async fn prepare() -> Result<Result<Self, String>> {
        let succeeds = async |words: &[&str]| {
            let output = output(Command::new(words[0]).args(&words[1..]), COMMAND_DEADLINE).await;
            output.is_ok_and(|output| output.status.success())
        };
        let compose: &[&str] = if succeeds(&["docker", "compose", "version"]).await {
            &["docker", "compose"]
        } else if succeeds(&["docker-compose", "version"]).await {
            &["docker-compose"]
        } else {
            return Ok(Err("there is neither `docker compose` nor `docker-compose`".to_owned()));
        };
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        if let Err(reason) = images::provide(&BASE_IMAGES).await? {
            return Ok(Err(reason));
        }
        Self::new(compose, directory).map(Ok)
    }

    fn new(compose: &'static [&'static str], directory: PathBuf) -> Result<Self> {
        let unique = Uuid::new_v4().simple().to_string();
        let project = format!("tandem-test-{}", &unique[..12]);
        let image = format!("tandem-test:{}", &unique[..12]);
        let ports = [Port::choose()?, Port::choose()?];
        let [port, port_2] = [&ports[0], &ports[1]].map(|port| port.number().to_string());
        let set = [
            ("COMPOSE_PROJECT_NAME", project.as_str()),
            ("TANDEM_IMAGE", &image),
            ("COMPOSE_PROFILES", "two-producers"),
            ("TANDEM_PORT", &port),
            ("TANDEM_PORT_2", &port_2),
            ("TANDEM_PROFILE", "dev"),
            // Empty values are the defaults, and outrank a `.env`: above all, no order of a test may reach a real API.
            ("TANDEM_SECRETS", ""),
            ("INVENTORY_API_URL", ""),
            ("FULFILLMENT_API_URL", ""),
            ("LOG_FORMAT", ""),
            ("LOG_LEVEL", ""),
        ];
        let mut environment: Vec<_> = set.iter().map(|(name, value)| (name.into(), value.into())).collect();
        // The client needs these to find its engine and settings.
        environment.extend(std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            matches!(&*name, "HOME" | "PATH") || name.starts_with("DOCKER_")
        }));
        let guard = OnExit::run(&format!(
            "{} -p {project} -f '{}/docker-compose.yml' {DOWN}; docker image rm --force {image}",
            compose.join(" "),
            directory.display()
        ))?;
        let client = http::client()?;
        Ok(Self { compose, directory, environment, project, image, ports, client, guard: Some(guard) })
    }

    /// `up` with these arguments, until everything is healthy.
    pub(super) async fn up(&self, arguments: &[&str]) -> Result<()> {
        // v1.29 cannot wait, and `--wait` of v2 implies `--detach`.
        self.compose(&[&["up", "--detach"], arguments].concat(), BUILD_DEADLINE).await?;
        self.healthy().await
    }

    /// Waits until everything is healthy.
    pub(super) async fn healthy(&self) -> Result<()> {
        let healthy = async || match self.containers().await {
            Ok(containers) => {
                let unhealthy: Vec<_> =
                    containers.iter().filter(|container| container.health() != Some("healthy")).collect();
                let seen =
                    unhealthy.iter().map(|container| format!("{} {:?}", container.service(), container.health()));
                let seen = seen.collect::<Vec<_>>().join(", ");
                if unhealthy.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(seen) }
            }
            Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
        };
        until("every container's health", HEALTH_DEADLINE, healthy).await
    }

    /// Every container of the project, including stopped ones.
    pub(super) async fn containers(&self) -> Result<Vec<Container>> {
        let ids = self.docker(&["ps", "--all", "--quiet", "--filter", &self.label()]).await?;
        let ids: Vec<_> = ids.lines().collect();
        ensure!(!ids.is_empty(), "there are no containers");
        let described = self.docker(&[&["inspect"], &ids[..]].concat()).await?;
        let described: Vec<Value> = serde_json::from_str(&described)?;
        Ok(described.into_iter().map(Container).collect())
    }

    /// The containers of a service.
    pub(super) async fn containers_of(&self, service: &str) -> Result<Vec<Container>> {
        let mut containers = self.containers().await?;
        containers.retain(|container| container.service() == service);
        Ok(containers)
    }

    /// The one container of a service.
    pub(super) async fn only(&self, service: &str) -> Result<Container> {
        let mut containers = self.containers_of(service).await?;
        ensure!(containers.len() == 1, "{service} has {} containers", containers.len());
        containers.pop().context("no container")
    }

    /// Places an order with a producer and returns its id.
    pub(super) async fn place(&self, producer: Producer, order: &Order) -> Result<String> {
        let response = self.client.post(self.url(producer, "/v1/orders")).json(order).send().await?;
        let status = response.status();
        let body: Value = response.json().await?;
        ensure!(status == 202, "not accepted: {status} {body}");
        body["order_id"].as_str().map(str::to_owned).with_context(|| format!("no order_id in {body}"))
    }

    /// Places orders with a producer, one after the other.
    pub(super) async fn place_many(&self, producer: Producer, count: usize, order: &Order) -> Result<Vec<String>> {
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            ids.push(self.place(producer, order).await?);
        }
        Ok(ids)
    }

    /// Waits until this producer shows these orders with this status.
    pub(super) async fn settled(&self, producer: Producer, ids: &[String], wanted: &str) -> Result<()> {
        for id in ids {
            let seen = async || match self.order(producer, id).await {
                Ok(order) if order["status"] == wanted => ControlFlow::Break(()),
                Ok(order) => ControlFlow::Continue(order.to_string()),
                Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
            };
            until(&format!("order {id} to be {wanted}"), DELIVERY_DEADLINE, seen).await?;
        }
        Ok(())
    }

    async fn order(&self, producer: Producer, id: &str) -> Result<Value> {
        let response = self.client.get(self.url(producer, &format!("/v1/orders/{id}"))).send().await?;
        Ok(response.error_for_status()?.json().await?)
    }

    /// Runs the engine's client.
    pub(super) async fn docker(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("docker");
        command.args(arguments);
        let output = output(&mut command, COMMAND_DEADLINE).await?;
        success(&format!("docker {}", arguments.join(" ")), &output)
    }

    /// Stops everything, as a user would.
    pub(super) async fn stop(&self) -> Result<()> {
        self.compose(&["stop"], COMMAND_DEADLINE).await.map(drop)
    }

    /// The last lines of every log.
    pub(super) async fn logs(&self) -> String {
        match self.compose(&["logs", "--no-color", "--tail=40"], COMMAND_DEADLINE).await {
            Ok(logs) => logs,
            Err(fault) => format!("no logs: {fault:#}"),
        }
    }

    /// Removes everything, and lists what is left.
    pub(super) async fn take_down(&mut self) -> Result<Vec<String>> {
        self.compose(&DOWN.split(' ').collect::<Vec<_>>(), COMMAND_DEADLINE).await?;
        self.docker(&["image", "rm", &self.image]).await?;
        self.guard = None;
        let mut left = Vec::new();
        for list in [&["ps", "--all"][..], &["volume", "ls"], &["network", "ls"]] {
            let found = self.docker(&[list, &["--quiet", "--filter", &self.label()]].concat()).await?;
            left.extend(found.lines().map(|id| format!("{} {id}", list[0])));
        }
        Ok(left)
    }

    async fn compose(&self, arguments: &[&str], deadline: Duration) -> Result<String> {
        let mut command = Command::new(self.compose[0]);
        command.args(&self.compose[1..]).args(arguments);
        command.current_dir(&self.directory).env_clear().envs(self.environment.clone());
        success(&format!("compose {}", arguments.join(" ")), &output(&mut command, deadline).await?)
    }

    fn label(&self) -> String {
        format!("label=com.docker.compose.project={}", self.project)
    }

    fn url(&self, producer: Producer, path: &str) -> String {
        let [first, second] = &self.ports;
        let port = match producer {
            Producer::First => first,
            Producer::Second => second,
        };
        format!("http://127.0.0.1:{}{path}", port.number())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if self.guard.is_none() {
            return;
        }
        let mut down = std::process::Command::new(self.compose[0]);
        down.args(&self.compose[1..]).args(DOWN.split(' '));
        down.current_dir(&self.directory).env_clear().envs(self.environment.clone());
        let down = down.output();
        let removed = std::process::Command::new("docker").args(["image", "rm", "--force", &self.image]).output();
        if !down.is_ok_and(|down| down.status.success()) || removed.is_err() {
            eprintln!("the project {} could not be removed", self.project);
        }
    }
}

impl Container {
    pub(super) fn id(&self) -> &str {
        self.0["Id"].as_str().unwrap_or_default()
    }

    pub(super) fn service(&self) -> String {
        self.0["Config"]["Labels"]["com.docker.compose.service"].as_str().unwrap_or_default().to_owned()
    }

    /// The health of a running container.
    pub(super) fn health(&self) -> Option<&str> {
        if self.0["State"]["Running"] == true { self.0["State"]["Health"]["Status"].as_str() } else { None }
    }

    /// The exit code of a stopped container.
    pub(super) fn exit_code(&self) -> Option<i64> {
        if self.0["State"]["Running"] == true { None } else { self.0["State"]["ExitCode"].as_i64() }
    }
}

fn success(shown: &str, output: &Output) -> Result<String> {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("`{shown}` failed ({}):\n{}\n{}", output.status, stdout.trim_end(), stderr.trim_end());
    }
    Ok(stdout.trim_end().to_owned())
}
