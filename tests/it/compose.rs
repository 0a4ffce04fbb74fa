//! The compose file, unchanged, on a real engine.

mod stack;

use std::io::Write as _;

use anyhow::{Context, Result, ensure};
use tests::order::Order;

use stack::{
    Container,
    Producer::{First, Second},
    Stack,
};

#[tokio::test]
async fn the_compose_file_delivers_every_order_while_containers_come_and_go() -> Result<()> {
    let mut stack = match Stack::prepare().await? {
        Ok(stack) => stack,
        Err(reason) => {
            // The test runner does not capture this: a test that did not run must say so.
            writeln!(std::io::stderr(), "SKIPPED the compose file: {reason}")?;
            return Ok(());
        }
    };
    let ended = scenario(&stack).await;
    if ended.is_err() {
        writeln!(std::io::stderr(), "{}", stack.logs().await)?;
    }
    let left = stack.take_down().await;
    ended?;
    ensure!(left?.is_empty(), "`down` left something behind");
    Ok(())
}

async fn scenario(stack: &Stack) -> Result<()> {
    stack.up(&["--build"]).await?;
    for container in stack.containers().await? {
        hardened(&container).with_context(|| container.service())?;
    }
    broker_has_only_the_services_as_users(stack).await?;
    producer_has_only_rights_on_its_tables(stack).await?;

    // One that recovers, one that is refused, and a healthy one. Both producers show all of them.
    let recovering = stack.place(First, &Order::of("fulfillment-fail-2")).await?;
    let refused = stack.place(Second, &Order::of("inventory-status-422")).await?;
    let healthy = stack.place(Second, &Order::healthy()).await?;
    for producer in [First, Second] {
        stack.settled(producer, &[recovering.clone(), healthy.clone()], "delivered").await?;
        stack.settled(producer, std::slice::from_ref(&refused), "partially_delivered").await?;
    }

    // Four workers share the queue; one of them is killed during calls.
    stack.up(&["--scale", "worker-inventory=4"]).await?;
    let workers = stack.containers_of("worker-inventory").await?;
    ensure!(workers.len() == 4, "{} workers instead of 4", workers.len());
    let orders = stack.place_many(First, 100, &Order::of("inventory-slow-1s")).await?;
    stack.docker(&["kill", workers[0].id()]).await?;
    stack.settled(First, &orders, "delivered").await?;
    stack.docker(&["start", workers[0].id()]).await?;

    // A producer is killed after its 202s. The other one shows what becomes of the orders, and so does it after a start.
    let orders = stack.place_many(First, 100, &Order::healthy()).await?;
    let producer = stack.only("producer").await?;
    stack.docker(&["kill", producer.id()]).await?;
    stack.settled(Second, &orders, "delivered").await?;
    stack.docker(&["start", producer.id()]).await?;
    stack.settled(First, &orders, "delivered").await?;

    // Orders are accepted while the broker is down, and delivered when it is back.
    let broker = stack.only("rabbitmq").await?;
    stack.docker(&["stop", broker.id()]).await?;
    let orders =
        [stack.place_many(First, 10, &Order::healthy()).await?, stack.place_many(Second, 10, &Order::healthy()).await?]
            .concat();
    stack.docker(&["start", broker.id()]).await?;
    stack.settled(First, &orders, "delivered").await?;

    // The database crashes and comes back: earlier orders are still there, and new ones are accepted.
    let before = stack.place_many(First, 20, &Order::healthy()).await?;
    let database = stack.only("postgres").await?;
    stack.docker(&["kill", database.id()]).await?;
    stack.docker(&["start", database.id()]).await?;
    stack.healthy().await?;
    stack.settled(Second, &before, "delivered").await?;
    let after = stack.place_many(Second, 10, &Order::healthy()).await?;
    stack.settled(First, &after, "delivered").await?;

    // SIGTERM reaches each process, and each exits by itself.
    stack.stop().await?;
    for container in stack.containers().await? {
        ensure!(container.exit_code() == Some(0), "{} ended with {:?}", container.service(), container.exit_code());
    }
    Ok(())
}

fn hardened(container: &Container) -> Result<()> {
    let host = &container.0["HostConfig"];
    let user = container.0["Config"]["User"].as_str().unwrap_or_default();
    ensure!(!matches!(user, "" | "0" | "root" | "0:0"), "runs as root");
    ensure!(host["ReadonlyRootfs"] == true, "can write to its root file system");
    ensure!(host["CapDrop"] == serde_json::json!(["ALL"]) && host["CapAdd"].is_null(), "has capabilities");
    ensure!(host["Privileged"] == false, "is privileged");
    let no_new_privileges = |option: &serde_json::Value| option == "no-new-privileges:true";
    ensure!(
        host["SecurityOpt"].as_array().is_some_and(|options| options.iter().any(no_new_privileges)),
        "can gain privileges"
    );
    ensure!(host["Memory"].as_u64().is_some_and(|bytes| bytes > 0), "has no memory limit");
    ensure!(host["LogConfig"]["Config"]["max-size"].is_string(), "has unlimited logs");
    ensure!(host["RestartPolicy"]["Name"] == "unless-stopped", "is not restarted");
    let published = host["PortBindings"].as_object().into_iter().flatten();
    for (port, bindings) in published {
        let local = bindings.as_array().into_iter().flatten().all(|binding| binding["HostIp"] == "127.0.0.1");
        let takes_orders = matches!(&*container.service(), "producer" | "producer-2");
        ensure!(takes_orders && local, "publishes {port}: {bindings}");
    }
    Ok(())
}

async fn broker_has_only_the_services_as_users(stack: &Stack) -> Result<()> {
    let broker = stack.only("rabbitmq").await?;
    let users = stack.docker(&["exec", broker.id(), "rabbitmqctl", "-q", "list_users", "--no-table-headers"]).await?;
    let mut users: Vec<_> = users.lines().filter_map(|line| line.split_whitespace().next()).collect();
    users.sort_unstable();
    ensure!(users == ["producer", "worker-fulfillment", "worker-inventory"], "the broker's users are {users:?}");
    Ok(())
}

async fn producer_has_only_rights_on_its_tables(stack: &Stack) -> Result<()> {
    let database = stack.only("postgres").await?;
    let rights = "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls, \
                  has_database_privilege('producer', 'tandem', 'CREATE, TEMPORARY'), \
                  has_database_privilege('producer', 'postgres', 'CONNECT') FROM pg_roles WHERE rolname = 'producer'";
    let ask = ["exec", database.id(), "psql", "--no-psqlrc", "--tuples-only", "--no-align", "--dbname=tandem"];
    let found = stack.docker(&[&ask[..], &["--command", rights]].concat()).await?;
    ensure!(found.trim() == "f|f|f", "the producer has more rights than its tables need: {found}");
    Ok(())
}
