//! Both downstream APIs as a process, for the demo, the benchmark and the compose file.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command};
use tests::fake_api::{self, CONVENTION, Options};
use tokio::signal::unix::{SignalKind, signal};

/// These take 20 MB: a process that stays up must not grow with every order.
const KEEP_CALLS: usize = 20_000;
/// For each step of a health check.
const HEALTH_DEADLINE: Duration = Duration::from_secs(3);

const ADMINISTRATION: &str = "\
For observers:
  GET /calls?order_id=ID   the newest calls (about one order), in order of arrival
  GET /summary             counts: calls, effects, keys, repeats, faults of the caller
  GET /wait?effects=N      the same, once this many keys have had their effect
  GET /first-times         path,order,first call,first effect: one line per API and order, in microseconds
  GET /mode, PUT /mode     healthy, down, hang, cut, status:500, throttle:2,
                           slow:250ms, random:30
  GET /healthz             200";

fn main() -> ExitCode {
    match run(&command().get_matches()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("fake-api: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Command {
    let option = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    Command::new("fake-api")
        .about("Stands in for both downstream APIs: keeps to the contract, misbehaves on request, records every call")
        .after_help(format!("{CONVENTION}\n\n{ADMINISTRATION}"))
        .arg(option("http-addr", "Address to listen on [env: HTTP_ADDR] [default: 127.0.0.1:8090]").value_name("ADDRESS"))
        .arg(
            option("fulfillment-api-token", "What X-Partner-Auth must be; anything if absent [env: FULFILLMENT_API_TOKEN, FULFILLMENT_API_TOKEN_FILE]")
                .value_name("TOKEN"),
        )
        .arg(option("log", "Append every call to this file, one JSON object per line").value_name("FILE"))
        .arg(option("mode", "How to treat all calls at first [default: healthy]").value_name("MODE"))
        .arg(option("seed", "Seed of the mode random [default: 0]").value_name("NUMBER"))
        .arg(
            option("keep-calls", "How many calls to keep, the newest; all are counted [default: 20000]")
                .value_name("NUMBER"),
        )
        .arg(option("counters-only", "Keep only counters and first times, no calls: for benchmarks").action(ArgAction::SetTrue))
        .subcommand(
            Command::new("healthcheck")
                .about("Exits with 0 if the one that listens on HTTP_ADDR responds"),
        )
}

fn run(matches: &ArgMatches) -> Result<()> {
    let given = |name: &str| matches.get_one::<String>(name).cloned();
    let address =
        given("http-addr").or_else(|| environment("HTTP_ADDR")).unwrap_or_else(|| "127.0.0.1:8090".to_owned());
    let address: SocketAddr = address.parse().context("HTTP_ADDR is not an address such as 127.0.0.1:8090")?;
    if matches.subcommand_matches("healthcheck").is_some() {
        return check_health(address);
    }
    let options = Options {
        token: given("fulfillment-api-token").map_or_else(token, |token| Ok(Some(token)))?,
        log: given("log").map(PathBuf::from),
        counters_only: matches.get_flag("counters-only"),
        keep_calls: Some(
            given("keep-calls").map(|count| count.parse()).transpose().context("--keep-calls")?.unwrap_or(KEEP_CALLS),
        ),
        mode: given("mode").map(|mode| mode.parse()).transpose().context("--mode")?.unwrap_or_default(),
        seed: given("seed").map(|seed| seed.parse()).transpose().context("--seed")?.unwrap_or_default(),
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(address, options))
}

/// For a container, which has no other client.
fn check_health(mut address: SocketAddr) -> Result<()> {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let mut stream = TcpStream::connect_timeout(&address, HEALTH_DEADLINE)
        .with_context(|| format!("nothing listens on {address}"))?;
    stream.set_read_timeout(Some(HEALTH_DEADLINE))?;
    stream.set_write_timeout(Some(HEALTH_DEADLINE))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut status = [0; b"HTTP/1.1 200".len()];
    stream.read_exact(&mut status).context("no response")?;
    ensure!(status == *b"HTTP/1.1 200", "unhealthy: {}", String::from_utf8_lossy(&status));
    Ok(())
}

/// Serves until a signal, and ends at once: there is no work to lose.
async fn serve(address: SocketAddr, options: Options) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server =
        fake_api::bind(address, options).await.with_context(|| format!("HTTP_ADDR: cannot listen on {address}"))?;
    let line = serde_json::json!({
        "timestamp": jiff::Timestamp::now().to_string(),
        "level": "INFO",
        "message": "listening",
        "http_addr": server.address()?.to_string(),
    });
    writeln!(std::io::stdout(), "{line}")?;
    tokio::select! {
        () = server.run() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn token() -> Result<Option<String>> {
    if let Some(file) = environment("FULFILLMENT_API_TOKEN_FILE") {
        let token =
            fs::read_to_string(&file).with_context(|| format!("FULFILLMENT_API_TOKEN_FILE: cannot read {file}"))?;
        return Ok(Some(token.trim_end().to_owned()));
    }
    Ok(environment("FULFILLMENT_API_TOKEN"))
}

fn environment(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok().filter(|value| !value.is_empty())
}
