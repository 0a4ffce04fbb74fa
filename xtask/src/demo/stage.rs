//! The stage: a build, a broker, two fake APIs, the producer, both workers.

use anyhow::{Context, Result, bail};
use console::style;
use tests::{
    binaries,
    broker::Broker,
    queues::Queues,
    system::{Role, System},
    url::address,
};

use super::screen::{heading, line, plain_step, step};
use crate::cargo::cargo;

/// The delay after a first failed attempt: short enough not to bore, long enough to be seen.
const BACKOFF_INITIAL: &str = "300ms";
/// Every step of an order is logged at debug.
const LOG_LEVEL: &str = "info,common=debug,producer=debug";

/// What runs. The system ends before its broker.
pub(super) struct Stage {
    pub(super) system: System,
    broker: Broker,
}

impl Stage {
    /// Builds and starts everything, and says what and where.
    ///
    /// # Errors
    /// Something cannot be built or started; the text says what, why, and what to do.
    pub(super) async fn set() -> Result<Self> {
        plain_step("build", build()).await?;
        let broker = if Broker::is_at_hand() {
            step("RabbitMQ", start_broker()).await?
        } else {
            line("  no RabbitMQ is installed here: trying Docker, then Debian's package");
            plain_step("RabbitMQ", start_broker()).await?
        };
        let mut system = step("fake APIs", start_apis(&broker)).await?;
        step("producer", start_producer(&mut system)).await?;
        step("workers", start_workers(&mut system)).await?;
        Ok(Self { system, broker })
    }

    /// Prints where everything is, and what to try.
    ///
    /// # Errors
    /// A process has ended.
    pub(super) async fn invite(&self) -> Result<()> {
        let Self { system, broker } = self;
        let producer = system.producer()?.url().await?;
        heading("Still running, until Ctrl-C");
        let row = |name: &str, address: &str| line(format_args!("  {name:16}{address}"));
        row("producer", &format!("{producer}  (/docs, /readyz, /metrics)"));
        for (name, role, api) in [
            ("inventory", Role::Inventory, &system.inventory_api),
            ("fulfillment", Role::Fulfillment, &system.fulfillment_api),
        ] {
            row(name, &format!("worker {}", system.process(role)?.url().await?));
            row("", &format!("API    {}/calls", api.url()));
        }
        let amqp_url = match broker {
            // Without its password.
            Broker::External(url) => address(url)?,
            Broker::Private(_) | Broker::Container(_) => broker.url(),
        };
        row("RabbitMQ", &amqp_url);
        row("", &format!("exchange {}", system.names.exchange()));
        row("database", &system.database().display().to_string());
        heading("To try");
        let tandem = built("tandem")?;
        line(format_args!(
            "  curl -i {producer}/v1/orders -H 'prefer: wait=10' \\\n    \
             -H 'content-type: application/json' \\\n    \
             -d '{{\"customer_id\": \"c-1\", \"items\": [{{\"product_id\": \"tea\", \"qty\": 2}}]}}'\n\n  \
             curl -N {producer}/v1/events\n\n  \
             export TANDEM_URL={producer}\n  \
             {tandem} dead groups\n  \
             {tandem} redrive start --destination inventory --status-code 422"
        ));
        let more = "\n  The refused order is refused again: its product_id decides how the API answers.\n  \
                    Try fulfillment-fail-2 or inventory-status-422; for all of them:\n  \
                    cargo run -p tests --bin fake-api -- --help";
        line(style(more).dim());
        Ok(())
    }
}

/// Cargo shows its own progress.
async fn build() -> Result<((), String)> {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let status = cargo(["build", "--workspace", "--bins", "--profile", profile]).await?;
    if !status.success() {
        bail!("the build failed ({status})");
    }
    Ok(((), "the workspace's binaries".to_owned()))
}

/// The path of a binary of this build, relative to the current directory if it is below.
fn built(name: &str) -> Result<String> {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let path = binaries::target_directory()?.join(profile).join(name);
    let here = std::env::current_dir()?;
    Ok(path.strip_prefix(here).unwrap_or(&path).display().to_string())
}

async fn start_broker() -> Result<(Broker, String)> {
    let broker = Broker::find_or_start().await?;
    if let Broker::External(url) = &broker {
        let advice = "AMQP_URL cannot be used; without it, a private RabbitMQ is started";
        Queues::connect(url).await.map(drop).context(advice)?;
    }
    let address = address(&broker.url())?;
    let said = match broker {
        Broker::External(_) => format!("yours (AMQP_URL), at {address}"),
        Broker::Private(_) => format!("a private node at {address}"),
        Broker::Container(_) => format!("a private container at {address}"),
    };
    Ok((broker, said))
}

/// The system, with only the APIs running.
async fn start_apis(broker: &Broker) -> Result<(System, String)> {
    let builder = System::builder().broker(&broker.url()).without(Role::Producer).without_workers();
    let builder = builder.env(Role::Producer, "LOG_LEVEL", LOG_LEVEL).env_of_workers("LOG_LEVEL", LOG_LEVEL);
    let system = builder.env_of_workers("BACKOFF_INITIAL", BACKOFF_INITIAL).start().await?;
    let said = format!("{} and {}", system.inventory_api.url(), system.fulfillment_api.url());
    Ok((system, said))
}

async fn start_producer(system: &mut System) -> Result<((), String)> {
    let url = system.start_ready(Role::Producer).await?.url().await?;
    Ok(((), format!("{url}, with SQLite")))
}

async fn start_workers(system: &mut System) -> Result<((), String)> {
    for role in [Role::Inventory, Role::Fulfillment] {
        system.start_process(role, &[])?;
    }
    for role in [Role::Inventory, Role::Fulfillment] {
        system.process(role)?.ready().await?;
    }
    Ok(((), "inventory and fulfillment, consuming".to_owned()))
}
