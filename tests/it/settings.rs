//! Starting with an unusable configuration or environment, and the other commands of a process.

use anyhow::{Context, Result};
use lapin::types::{AMQPValue, FieldTable};
use tests::{
    binaries::{self, Profile},
    order::Order,
    process::{Process, Program},
    system::{Role, System},
};

use crate::{broker_proxy::broker_proxy, exit::Exit, orders};

/// `EX_CONFIG` of `sysexits.h`.
const EX_CONFIG: i32 = 78;

fn program(role: Role) -> Result<Program> {
    Ok(Program::new(binaries::build(Profile::Running)?.path(role.binary())?).env("HTTP_ADDR", "127.0.0.1:0"))
}

/// Starts it, waits for its exit, and returns the exit code and the output.
async fn output_of(program: &Program) -> Result<(Option<i32>, String)> {
    let exit = Exit::of(&program.start()?).await?;
    Ok((exit.code, exit.text()))
}

#[tokio::test]
async fn every_configuration_fault_is_reported_by_name_without_secrets() -> Result<()> {
    let common = [
        ("AMQP_URL", "amqp:/guest:hush-hush@nowhere"),
        ("EXCHANGE", "amq.mine"),
        ("HTTP_ADDR", "everywhere"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "=,=loud"),
        ("SHUTDOWN_GRACE", "25"),
    ];
    let of_workers = [
        ("CONCURRENCY", "0"),
        ("MAX_ATTEMPTS", "many"),
        ("REQUEST_TIMEOUT", "5"),
        ("BACKOFF_INITIAL", "-1s"),
        ("BACKOFF_MAX", "1y"),
    ];
    let of_one: [(Role, Vec<(&str, &str)>); 3] = [
        (
            Role::Producer,
            vec![
                ("DATABASE_URL", "mysql://root:hush-hush@host/db"),
                ("DESTINATIONS", "inventory,,outcomes"),
                ("INTAKE_QUEUE", "0"),
                ("OUTBOX_LIMIT", "none"),
                ("DEAD_LETTER_COLLECTOR", "maybe"),
            ],
        ),
        (Role::Inventory, vec![("INVENTORY_API_URL", "ftp://me:hush-hush@host")]),
        (Role::Fulfillment, vec![("FULFILLMENT_API_URL", "partner"), ("FULFILLMENT_API_TOKEN", "hush-hush\u{7}")]),
    ];
    for (role, own) in of_one {
        let mut settings = common.to_vec();
        settings.extend(own);
        if role != Role::Producer {
            settings.extend(of_workers);
        }
        let program = settings.iter().fold(program(role)?, |program, (name, value)| program.env(name, value));
        let (code, said) = output_of(&program).await?;
        assert_eq!(code, Some(EX_CONFIG), "{said}");
        for (name, _) in &settings {
            assert!(said.contains(&format!("{name}: ")), "{} does not name {name}:\n{said}", role.binary());
        }
        assert!(!said.contains("hush-hush"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn required_settings_must_be_given_and_empty_counts_as_absent() -> Result<()> {
    let required = [
        (Role::Inventory, vec!["INVENTORY_API_URL"]),
        (Role::Fulfillment, vec!["FULFILLMENT_API_URL", "FULFILLMENT_API_TOKEN"]),
    ];
    for (role, names) in required {
        let empty = names.iter().fold(program(role)?, |program, name| program.env(name, ""));
        for program in [program(role)?, empty] {
            let (code, said) = output_of(&program).await?;
            assert_eq!(code, Some(EX_CONFIG), "{said}");
            for name in &names {
                assert!(said.contains(&format!("{name}: is required")), "{said}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused() -> Result<()> {
    let worker = program(Role::Inventory)?.env("INVENTORY_API_URL", "http://127.0.0.1:9");
    let contradictions = [
        ("BACKOFF_MAX", vec![("BACKOFF_MAX", "2h"), ("RETRY_FOR", "1h")]),
        ("BACKOFF_INITIAL", vec![("BACKOFF_INITIAL", "10s"), ("BACKOFF_MAX", "5s")]),
    ];
    for (blamed, settings) in contradictions {
        let program = settings.iter().fold(worker.clone(), |program, (name, value)| program.env(name, value));
        let (code, said) = output_of(&program).await?;
        assert_eq!(code, Some(EX_CONFIG), "{said}");
        assert!(said.contains(&format!("{blamed}: ")), "{said}");
    }
    let token = std::env::temp_dir().join(format!("token-{}", uuid::Uuid::new_v4()));
    std::fs::write(&token, "hush-hush\n")?;
    let twice = program(Role::Fulfillment)?
        .env("FULFILLMENT_API_URL", "http://127.0.0.1:9")
        .env("FULFILLMENT_API_TOKEN", "hush-hush")
        .env("FULFILLMENT_API_TOKEN_FILE", &token);
    let (code, said) = output_of(&twice).await?;
    std::fs::remove_file(token)?;
    assert_eq!(code, Some(EX_CONFIG), "{said}");
    assert!(said.contains("FULFILLMENT_API_TOKEN: is set twice") && !said.contains("hush-hush"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_secret_is_taken_from_its_file() -> Result<()> {
    let mut system = System::builder().without(Role::Fulfillment).start().await?;
    let token = system.directory().join("token");
    std::fs::write(&token, "token-for-tests\n")?;
    let file = token.to_string_lossy().into_owned();
    // An empty value counts as absent, so only the file counts.
    let settings = [("FULFILLMENT_API_TOKEN", ""), ("FULFILLMENT_API_TOKEN_FILE", &*file)];
    system.start_process(Role::Fulfillment, &settings)?.ready().await?;
    let placed = system.place(&Order::healthy()).await?;
    orders::delivered_once(&system, &[placed.order_id]).await
}

#[tokio::test]
async fn a_queue_with_other_properties_is_an_error_at_start() -> Result<()> {
    let mut system = System::builder().without(Role::Producer).without_workers().start().await?;
    let queue = system.names.inventory();
    let mut classic = FieldTable::default();
    classic.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    system.queues().await?.declare_queue(&queue, classic).await?;
    for role in [Role::Producer, Role::Inventory] {
        refused(system.start_process(role, &[])?, &[&queue, "inequivalent arg", "delete", "EXCHANGE"]).await?;
    }
    // So is an exchange of another type under the name.
    system.queues().await?.delete_queue(&queue).await?;
    let exchange = system.names.exchange().to_owned();
    system.queues().await?.delete_exchange(&exchange).await?;
    system.queues().await?.declare_exchange(&exchange, lapin::ExchangeKind::Topic).await?;
    refused(system.start_process(Role::Fulfillment, &[])?, &[&exchange, "topic", "fanout", "delete"]).await
}

#[tokio::test]
async fn a_file_or_address_that_cannot_be_opened_is_an_error_at_start() -> Result<()> {
    let mut system = System::start().await?;
    let taken = system.producer()?.http_addr().await?.to_string();
    let database = system.directory().join("missing").join("tandem.db").to_string_lossy().into_owned();
    let database_url = format!("sqlite://{database}");
    refused(system.start_process(Role::Producer, &[("DATABASE_URL", &database_url)])?, &[&database]).await?;
    refused(system.start_process(Role::Producer, &[("HTTP_ADDR", &taken)])?, &["HTTP_ADDR", &taken]).await
}

/// Waits for its exit, which must be a failure whose last line has all these words.
async fn refused(process: &Process, words: &[&str]) -> Result<()> {
    let exit = Exit::of(process).await?;
    let last = &exit.lines.last().context("no line")?.text;
    assert_eq!(exit.code, Some(1), "{last}");
    for word in words {
        assert!(last.contains(word), "{word:?} is not in {last}");
    }
    Ok(())
}

#[tokio::test]
async fn the_health_check_asks_the_process_with_the_same_settings() -> Result<()> {
    let (proxy, url) = broker_proxy().await?;
    let system = System::builder().amqp_url(Role::Inventory, &url).start().await?;
    let check = async |role: Role| {
        let program = program(role)?
            .env("HTTP_ADDR", system.process(role)?.http_addr().await?.to_string())
            .env("INVENTORY_API_URL", "http://127.0.0.1:9")
            .arg("healthcheck");
        output_of(&program).await
    };
    for role in [Role::Producer, Role::Inventory] {
        let (code, said) = check(role).await?;
        assert_eq!((code, said.contains("\"ready\"")), (Some(0), true), "{said}");
    }
    proxy.down().await?;
    system.process(Role::Inventory)?.wait_for_readiness("not ready", |seen| seen.status == 503).await?;
    let (code, said) = check(Role::Inventory).await?;
    assert_eq!((code, said.contains("\"not_ready\"")), (Some(1), true), "{said}");

    let not_running = program(Role::Producer)?.env("HTTP_ADDR", "127.0.0.1:9").arg("healthcheck");
    assert_eq!(output_of(&not_running).await?.0, Some(1));
    Ok(())
}

#[tokio::test]
async fn every_setting_is_a_flag_that_outranks_the_environment() -> Result<()> {
    let (code, help) = output_of(&program(Role::Fulfillment)?.arg("--help")).await?;
    assert_eq!(code, Some(0));
    for flag in ["--amqp-url", "--amqp-url-file", "--http-addr", "--fulfillment-api-token-file", "--max-attempts"] {
        assert!(help.contains(flag), "{help}");
    }
    let flagged = program(Role::Inventory)?.env("LOG_FORMAT", "json").arg("--log-format").arg("xml");
    let (code, said) = output_of(&flagged).await?;
    assert_eq!(code, Some(EX_CONFIG));
    assert!(said.contains("LOG_FORMAT: "), "{said}");
    Ok(())
}
