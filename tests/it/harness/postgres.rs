use std::{collections::HashSet, fs, io::Write, path::Path};

use anyhow::{Context, Result};
use tests::{
    postgres::{self, Database, Installation, Postgres, PrivateCluster, Syncs, connect},
    process::Program,
    waiting::PATIENCE,
};

use super::{
    durability::postgres_keeps_its_data,
    leftovers::{processes_in, wait_until_removed},
};

/// `None` and a message if no Postgres is installed.
fn installation() -> Option<Installation> {
    let found = Installation::find();
    if found.is_none() {
        eprintln!("skipped: no server binaries of Postgres are installed here");
    }
    found
}

async fn setting(cluster: &PrivateCluster, name: &str) -> Result<String> {
    let row = connect(&cluster.url()).await?.query_one(&format!("SHOW {name}"), &[]).await?;
    Ok(row.get(0))
}

/// The id of the segment of shared memory that the cluster holds, from its own file.
fn segment(cluster: &PrivateCluster) -> Result<String> {
    let text = fs::read_to_string(cluster.directory().join("data/postmaster.pid"))?;
    let line = text.lines().nth(6).context("the file of the postmaster has no line about shared memory")?;
    Ok(line.split_ascii_whitespace().next_back().context("id")?.to_owned())
}

fn segments() -> Result<HashSet<String>> {
    let table = fs::read_to_string("/proc/sysvipc/shm")?;
    Ok(table.lines().filter_map(|line| line.split_ascii_whitespace().nth(1)).map(str::to_owned).collect())
}

#[tokio::test]
async fn each_test_gets_its_own_database_which_is_dropped_afterwards() -> Result<()> {
    let (one, other) = tokio::try_join!(postgres::fresh_database(), postgres::fresh_database())?;
    let (in_one, in_other) = (one.connect().await?, other.connect().await?);
    in_one.batch_execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)").await?;
    assert!(in_other.query("SELECT id FROM kept", &[]).await.is_err(), "the other has no such table");

    let (name, url) = (one.name().to_owned(), one.url().to_owned());
    // Even with an open connection.
    drop(one);
    assert!(in_one.query("SELECT id FROM kept", &[]).await.is_err(), "its connections are gone");
    assert!(connect(&url).await.is_err(), "{name} is dropped");
    in_other.query("SELECT 1", &[]).await?;
    Ok(())
}

#[tokio::test]
async fn the_owner_of_a_fresh_database_has_no_other_rights() -> Result<()> {
    let Some(installation) = installation() else { return Ok(()) };
    let cluster = Postgres::Private(PrivateCluster::start(installation, Syncs::Off).await?);
    let database = cluster.fresh_database().await?;
    let client = database.connect().await?;
    let denied = client.batch_execute("CREATE DATABASE another").await.unwrap_err();
    assert!(denied.to_string().contains("db error") && denied.code().is_some_and(|code| code.code() == "42501"));
    let wrong = database.url().replacen("tandem:", "tandem:not", 1);
    assert!(connect(&wrong).await.is_err(), "a password is asked for");
    Ok(())
}

#[tokio::test]
async fn a_private_cluster_keeps_its_data_through_stop_and_crash() -> Result<()> {
    let Some(installation) = installation() else { return Ok(()) };
    let postgres = Postgres::Private(PrivateCluster::start(installation, Syncs::On).await?);
    let Postgres::Private(cluster) = &postgres else { unreachable!() };
    assert_eq!(setting(cluster, "fsync").await?, "on");
    postgres_keeps_its_data(&postgres).await?;
    assert!(cluster.log_tail(50).contains("automatic recovery in progress"), "{}", cluster.log_tail(50));
    let usage = postgres.usage().context("usage")?;
    assert!(usage.rss > 0 && usage.threads > 1, "{usage:?}");
    Ok(())
}

#[tokio::test]
async fn private_clusters_start_side_by_side_and_leave_nothing_when_dropped() -> Result<()> {
    let Some(installation) = installation() else { return Ok(()) };
    let start = |installation| PrivateCluster::start(installation, Syncs::Off);
    let (one, other) = tokio::try_join!(start(installation.clone()), start(installation))?;
    assert_ne!(one.url(), other.url());
    assert_eq!(setting(&one, "fsync").await?, "off");
    let directories = [one.directory().to_owned(), other.directory().to_owned()];
    let held = [segment(&one)?, segment(&other)?];
    for directory in &directories {
        assert!(processes_in(directory).contains(&"postgres".to_owned()));
    }
    drop((one, other));
    for directory in &directories {
        wait_until_removed(directory).await?;
    }
    assert!(held.iter().all(|id| !segments().is_ok_and(|all| all.contains(id))), "{held:?}");
    Ok(())
}

#[tokio::test]
async fn a_private_cluster_does_not_outlive_an_owner_that_is_killed() -> Result<()> {
    if installation().is_none() {
        return Ok(());
    }
    let owner = Program::new(std::env::current_exe()?)
        .env("OWNER_OF_A_CLUSTER", "1")
        .arg("harness::postgres::owner_of_a_cluster_that_is_killed")
        .arg("--exact")
        .arg("--nocapture")
        .start()?;
    let line =
        owner.log().wait_for("the cluster's directory", PATIENCE, |line| line.field("directory").is_some()).await?;
    let directory = Path::new(line.field("directory").context("directory")?).to_owned();
    let held = line.field("segment").context("segment")?;
    assert!(processes_in(&directory).contains(&"postgres".to_owned()));
    assert!(segments()?.contains(held), "{held}");
    owner.kill9().await?;
    wait_until_removed(&directory).await?;
    assert!(!segments()?.contains(held), "shared memory {held} was left");
    Ok(())
}

/// Not a test, but the process that the test above kills.
#[tokio::test]
async fn owner_of_a_cluster_that_is_killed() -> Result<()> {
    if std::env::var_os("OWNER_OF_A_CLUSTER").is_none() {
        return Ok(());
    }
    let Some(installation) = installation() else { return Ok(()) };
    let postgres = Postgres::Private(PrivateCluster::start(installation, Syncs::Off).await?);
    let Postgres::Private(cluster) = &postgres else { unreachable!() };
    // A client is connected when it ends.
    let database: Database = postgres.fresh_database().await?;
    let _client = database.connect().await?;
    let line = serde_json::json!({"directory": cluster.directory(), "segment": segment(cluster)?});
    writeln!(std::io::stdout(), "\n{line}")?;
    std::future::pending().await
}
