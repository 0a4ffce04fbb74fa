//! A whole Tandem for one test: producer, both workers and two fake APIs, under its own names on the broker.

mod builder;
mod names;
mod response;

use std::{fmt, ops::ControlFlow, path::Path, thread};

use anyhow::{Context, Result};
use api::{DeadLetter, DeadLetterItem, DeliveryStatus, List};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::{
    builder::SystemBuilder,
    names::{Names, Role},
    response::{Placed, Response},
};
use crate::{
    fake_api::FakeApi,
    metrics::Metrics,
    order::Order,
    process::{Process, Readiness},
    queues::Queues,
    waiting::{self, PATIENCE},
};

/// A running system. Dropping it kills its processes and removes its database file; on the broker at `AMQP_URL` it
/// deletes its queues as well. On a panic, it prints the last lines of each process first.
#[derive(Debug)]
pub struct System {
    /// The API that the inventory worker calls.
    pub inventory_api: FakeApi,
    /// The API that the fulfillment worker calls.
    pub fulfillment_api: FakeApi,
    /// The names on the broker.
    pub names: Names,
    processes: Vec<(Role, Process)>,
    settings: builder::Settings,
    http: reqwest::Client,
    queues: tokio::sync::OnceCell<Queues>,
}

impl System {
    /// The usual system on the shared broker, complete and ready.
    ///
    /// # Errors
    /// Something does not start; the text says what and why.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// A system that differs from the usual one.
    #[must_use]
    pub fn builder() -> SystemBuilder {
        SystemBuilder::default()
    }

    /// Places an order, with the first producer.
    ///
    /// # Errors
    /// It is not accepted.
    pub async fn place(&self, order: &Order) -> Result<Placed> {
        self.place_with(self.producer()?, order).await
    }

    /// Places an order, with this producer.
    ///
    /// # Errors
    /// It is not accepted.
    pub async fn place_with(&self, producer: &Process, order: &Order) -> Result<Placed> {
        Placed::from_response(&self.post_to(producer, &serde_json::to_vec(order)?, &[]).await?)
    }

    /// `POST /v1/orders` of the first producer with this body, as `application/json` unless the headers say otherwise;
    /// any response will do.
    ///
    /// # Errors
    /// There is no response.
    pub async fn post(&self, body: &[u8], headers: &[(&str, &str)]) -> Result<Response> {
        self.post_to(self.producer()?, body, headers).await
    }

    /// The same, of this producer.
    ///
    /// # Errors
    /// There is no response.
    pub async fn post_to(&self, producer: &Process, body: &[u8], headers: &[(&str, &str)]) -> Result<Response> {
        self.send(producer, "/v1/orders", body, headers).await
    }

    /// `POST` to this path of the first producer; any response will do.
    ///
    /// # Errors
    /// There is no response.
    pub async fn post_at(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Result<Response> {
        self.send(self.producer()?, path, body.to_string().as_bytes(), headers).await
    }

    async fn send(&self, producer: &Process, path: &str, body: &[u8], headers: &[(&str, &str)]) -> Result<Response> {
        let url = format!("{}{path}", producer.url().await?);
        let mut request = self.http.post(url).body(body.to_vec());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Response::read(request.send().await.with_context(|| format!("POST {path}"))?).await
    }

    /// What the first producer shows at this path.
    ///
    /// # Errors
    /// The status is not 200, or the body is of another type.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.get_from(self.producer()?, path).await
    }

    /// What this producer shows at this path.
    ///
    /// # Errors
    /// The status is not 200, or the body is of another type.
    pub async fn get_from<T: DeserializeOwned>(&self, producer: &Process, path: &str) -> Result<T> {
        let response = Response::read(producer.get(path).await?).await?;
        response.expect(200).with_context(|| format!("GET {path}"))
    }

    /// Waits until what the first producer shows at this path is as wanted, and returns it. The producer may be away in
    /// the meantime.
    ///
    /// # Errors
    /// It is not in time; the text has what was shown last.
    pub async fn wait_for<T: DeserializeOwned + fmt::Debug>(
        &self,
        path: &str,
        what: &str,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<T> {
        let asked = async || match self.get::<T>(path).await {
            Ok(shown) if wanted(&shown) => ControlFlow::Break(shown),
            Ok(shown) => ControlFlow::Continue(format!("{shown:?}")),
            Err(fault) => ControlFlow::Continue(format!("{fault:#}")),
        };
        waiting::until(&format!("{path} to be {what}"), PATIENCE, asked).await
    }

    /// An order.
    ///
    /// # Errors
    /// The status is not 200.
    pub async fn order(&self, order_id: &str) -> Result<api::Order> {
        self.get(&format!("/v1/orders/{order_id}")).await
    }

    /// Waits until the order is as wanted, and returns it.
    ///
    /// # Errors
    /// It is not in time; the text has the order.
    pub async fn wait_for_order(
        &self,
        order_id: &str,
        what: &str,
        wanted: impl Fn(&api::Order) -> bool,
    ) -> Result<api::Order> {
        self.wait_for(&format!("/v1/orders/{order_id}"), what, wanted).await
    }

    /// Waits until the status of a delivery is this, and returns the order.
    ///
    /// # Errors
    /// It is not in time; the text has the order.
    pub async fn wait_for_delivery(
        &self,
        order_id: &str,
        destination: &str,
        status: DeliveryStatus,
    ) -> Result<api::Order> {
        let what = format!("{} at {destination}", status.as_str());
        let wanted = |order: &api::Order| order.deliveries.get(destination).is_some_and(|it| it.status == status);
        self.wait_for_order(order_id, &what, wanted).await
    }

    /// Waits until no delivery of the order is pending, and returns the order.
    ///
    /// # Errors
    /// It stays pending; the text has the order.
    pub async fn wait_settled(&self, order_id: &str) -> Result<api::Order> {
        self.wait_for_order(order_id, "settled", api::Order::is_settled).await
    }

    /// Waits until this many dead letters match a filter (a query, such as `reason=rejected`), and returns them.
    ///
    /// # Errors
    /// It is another number all the time; the text has what is listed.
    pub async fn wait_for_dead_letters(&self, filter: &str, count: usize) -> Result<Vec<DeadLetterItem>> {
        let path = format!("/v1/dead-letters?limit=500&{filter}");
        let wanted = |list: &List<DeadLetterItem>| list.items.len() == count;
        Ok(self.wait_for(path.trim_end_matches('&'), &format!("{count} dead letters"), wanted).await?.items)
    }

    /// A dead letter with everything.
    ///
    /// # Errors
    /// The status is not 200.
    pub async fn dead_letter(&self, id: &str) -> Result<DeadLetter> {
        self.get(&format!("/v1/dead-letters/{id}")).await
    }

    /// The first producer.
    ///
    /// # Errors
    /// There is none.
    pub fn producer(&self) -> Result<&Process> {
        self.process(Role::Producer)
    }

    /// All producers, in the order in which they were started.
    #[must_use]
    pub fn producers(&self) -> Vec<&Process> {
        self.processes(Role::Producer).collect()
    }

    /// The first process in this role that was started and not taken out.
    ///
    /// # Errors
    /// There is none.
    pub fn process(&self, role: Role) -> Result<&Process> {
        self.processes(role).next().with_context(|| format!("there is no {} in this system", role.binary()))
    }

    /// All processes in this role.
    pub fn processes(&self, role: Role) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(move |(of, _)| *of == role).map(|(_, process)| process)
    }

    /// Starts another process in this role, with the settings of the system and these. Waits for nothing: not every
    /// process that starts can become ready.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_process(&mut self, role: Role, environment: &[(&str, &str)]) -> Result<&Process> {
        let mut program = self.settings.program(role, &self.names, &self.inventory_api, &self.fulfillment_api)?;
        for (name, value) in environment {
            program = program.env(name, value);
        }
        self.processes.push((role, program.start()?));
        let (_, process) = self.processes.last().context("just started")?;
        Ok(process)
    }

    /// The same, and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be started or does not become ready.
    pub async fn start_ready(&mut self, role: Role) -> Result<&Process> {
        let process = self.start_process(role, &[])?;
        process.ready().await?;
        Ok(process)
    }

    /// Takes the first process in this role out of the system, for the test to observe or end.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&mut self, role: Role) -> Result<Process> {
        let at = self.processes.iter().position(|(of, _)| *of == role);
        let at = at.with_context(|| format!("there is no {} in this system", role.binary()))?;
        Ok(self.processes.remove(at).1)
    }

    /// Puts a process that was taken out back into the system.
    pub fn put(&mut self, role: Role, process: Process) {
        self.processes.push((role, process));
    }

    /// Kills the first process in this role with SIGKILL, and returns what is left: its log.
    ///
    /// # Errors
    /// There is none, or it had ended.
    pub async fn kill9(&mut self, role: Role) -> Result<Process> {
        let process = self.take(role)?;
        process.kill9().await?;
        Ok(process)
    }

    /// Ends the first process in this role with SIGTERM, waits for its end, and returns what is left: its log.
    ///
    /// # Errors
    /// There is none, or it does not end.
    pub async fn terminate(&mut self, role: Role) -> Result<Process> {
        let process = self.take(role)?;
        process.terminate()?;
        process.wait_exit().await?;
        Ok(process)
    }

    /// Kills the first process in this role with SIGKILL and starts another one; waits until that is ready.
    ///
    /// # Errors
    /// There is none, or the other one does not become ready.
    pub async fn replace(&mut self, role: Role) -> Result<&Process> {
        self.kill9(role).await?;
        self.start_ready(role).await
    }

    /// `GET /metrics` of the first process in this role.
    ///
    /// # Errors
    /// There is none, or it does not respond.
    pub async fn metrics(&self, role: Role) -> Result<Metrics> {
        self.process(role)?.metrics().await
    }

    /// `GET /readyz` of the first process in this role.
    ///
    /// # Errors
    /// There is none, or it does not respond.
    pub async fn readyz(&self, role: Role) -> Result<Readiness> {
        self.process(role)?.readyz().await
    }

    /// The test's own connection to the broker, not through a proxy; made at the first call.
    ///
    /// # Errors
    /// The broker cannot be reached.
    pub async fn queues(&self) -> Result<&Queues> {
        self.queues.get_or_try_init(|| Queues::connect(self.settings.broker_url())).await
    }

    /// Deletes a queue that the services declare, such as [`Names::inventory`]. Its consumer is sent a message that it
    /// must reject, which ends as a dead letter.
    ///
    /// # Errors
    /// See [`Queues::delete_dead_lettering_queue`].
    pub async fn delete_queue(&self, queue: &str) -> Result<()> {
        self.queues().await?.delete_dead_lettering_queue(queue, &self.names.dead_letter_exchange()).await
    }

    /// The producer's database file, unless it was given another database.
    #[must_use]
    pub fn database(&self) -> std::path::PathBuf {
        self.settings.database()
    }

    /// The system's own directory, removed with it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.settings.directory()
    }

    /// Prints the last lines of each process to standard error.
    pub fn print_tails(&self) {
        for (_, process) in &self.processes {
            process.print_tail();
        }
    }

    /// For a test that ends with an error instead of a panic: prints the logs, and returns the error.
    #[must_use]
    pub fn with_logs(&self, fault: anyhow::Error) -> anyhow::Error {
        self.print_tails();
        fault
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // Printed by each process itself if this thread is panicking.
        self.processes.clear();
        // A broker that this process started ends with all its queues.
        if !self.settings.is_external_broker() {
            return;
        }
        // A thread, since a test's runtime cannot wait in here.
        let cleaned = thread::scope(|scope| scope.spawn(|| clean(&self.names, &self.settings)).join());
        match cleaned {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => eprintln!("queues were left on the broker: {fault:#}"),
            Err(_) => eprintln!("queues were left on the broker: the cleaner panicked"),
        }
    }
}

fn clean(names: &Names, settings: &builder::Settings) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let queues = Queues::connect(settings.broker_url()).await?;
        names.delete(&queues, &settings.destinations()).await
    })
}
