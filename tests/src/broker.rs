//! A RabbitMQ for tests, demo and bench: found, or started and ended with us. One that we did not start is only used.

mod container;
mod installation;
mod node;
mod place;

use std::{ffi::OsStr, path::Path};

use anyhow::{Result, anyhow, bail};
use tokio::sync::OnceCell;

pub use self::{container::Container, installation::Installation, node::PrivateNode};
use crate::{apt, binaries, environment, usage::Usage};

/// A RabbitMQ to use.
#[derive(Debug)]
pub enum Broker {
    /// One that was there: the value of `AMQP_URL`.
    External(String),
    /// A private node of the RabbitMQ installed here.
    Node(PrivateNode),
    /// A container of ours.
    Container(Container),
}

impl Broker {
    /// The first that can be had of: `AMQP_URL`; a private node of an installed `rabbitmq-server`; a container, where a
    /// Docker Engine answers; a private node after installing Debian's package, where we may. What is started keeps its
    /// data below `data`, and ends with this process.
    ///
    /// # Errors
    /// None can be had; the text says why not each, and what to install.
    pub async fn find_or_start(data: &Path) -> Result<Self> {
        if let Some(url) = environment::variable("AMQP_URL") {
            return Ok(Self::External(url));
        }
        if let Some(installation) = Installation::find() {
            return PrivateNode::start(&installation, data).await.map(Self::Node);
        }
        let no_container = match Container::start().await {
            Ok(container) => return Ok(Self::Container(container)),
            Err(fault) => fault,
        };
        let no_package = match apt::install_rabbitmq().await {
            Ok(()) => match Installation::find() {
                Some(installation) => return PrivateNode::start(&installation, data).await.map(Self::Node),
                None => {
                    anyhow!("the package rabbitmq-server was installed, but its scripts are not where they should be")
                }
            },
            Err(fault) => fault,
        };
        bail!(
            "no RabbitMQ can be had. Do one of these:\n\
             - set AMQP_URL to a RabbitMQ that runs, such as amqp://user:password@127.0.0.1:5672/%2f;\n\
             - install one: `sudo apt-get install --no-install-recommends rabbitmq-server` (Debian, Ubuntu), \
             `brew install rabbitmq` (macOS), or https://www.rabbitmq.com/docs/download;\n\
             - install Docker, with access to its engine.\n\
             What was tried:\n\
             - rabbitmq-server: not found, with Erlang's epmd, on PATH nor below /usr/lib/rabbitmq, /opt/rabbitmq;\n\
             - Docker: {no_container:#};\n\
             - apt-get: {no_package:#}"
        )
    }

    /// Where to connect.
    #[must_use]
    pub fn amqp_url(&self) -> &str {
        match self {
            Self::External(url) => url,
            Self::Node(node) => node.amqp_url(),
            Self::Container(container) => container.amqp_url(),
        }
    }

    /// Ends it in order; its data stays for [`Broker::start`].
    ///
    /// # Errors
    /// It is not ours, or does not end.
    pub async fn stop(&self) -> Result<()> {
        match self {
            Self::External(_) => Err(not_ours()),
            Self::Node(node) => node.stop().await,
            Self::Container(container) => container.stop().await,
        }
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It is not ours, or does not run.
    pub async fn kill(&self) -> Result<()> {
        match self {
            Self::External(_) => Err(not_ours()),
            Self::Node(node) => node.kill().await,
            Self::Container(container) => container.kill().await,
        }
    }

    /// Starts it again after [`Broker::stop`] or [`Broker::kill`]: same port, same data. Returns when it takes connections.
    ///
    /// # Errors
    /// It is not ours, or does not start.
    pub async fn start(&self) -> Result<()> {
        match self {
            Self::External(_) => Err(not_ours()),
            Self::Node(node) => node.start_again().await,
            Self::Container(container) => container.start_again().await,
        }
    }

    /// `rabbitmqctl` with these arguments; what it prints.
    ///
    /// # Errors
    /// It is not ours, or the command fails.
    pub async fn ctl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        match self {
            Self::External(_) => Err(not_ours()),
            Self::Node(node) => node.ctl(arguments).await,
            Self::Container(container) => container.ctl(arguments).await,
        }
    }

    /// What its Erlang process has used since it was started last; `None` if that is not a process of ours.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Node(node) => node.usage().ok(),
            Self::External(_) | Self::Container(_) => None,
        }
    }
}

/// The RabbitMQ that the tests of this process share. Nobody stops it: for that, start a [`PrivateNode`].
///
/// Cancellation safe: another caller then starts it.
///
/// # Errors
/// None can be had, for every caller alike.
pub async fn shared() -> Result<&'static Broker> {
    static SHARED: OnceCell<Result<Broker, String>> = OnceCell::const_new();
    let start = async || {
        let data = binaries::target_directory().map(|target| target.join("broker"));
        match data {
            Ok(data) => Broker::find_or_start(&data).await.map_err(|fault| format!("{fault:#}")),
            Err(fault) => Err(format!("{fault:#}")),
        }
    };
    SHARED.get_or_init(start).await.as_ref().map_err(|fault| anyhow!("{fault}"))
}

/// The same broker, reached through another address, such as that of a fault proxy.
///
/// # Errors
/// The URL has no host and port.
pub fn through(amqp_url: &str, address: std::net::SocketAddr) -> Result<String> {
    let (scheme, rest) = amqp_url.split_once("://").ok_or_else(|| anyhow!("not a URL"))?;
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let credentials = authority.rsplit_once('@').map(|(credentials, _)| format!("{credentials}@")).unwrap_or_default();
    let path = path.map(|path| format!("/{path}")).unwrap_or_default();
    Ok(format!("{scheme}://{credentials}{address}{path}"))
}

/// The address in an AMQP URL, as `host:port`.
///
/// # Errors
/// The URL has no host.
pub fn address(amqp_url: &str) -> Result<String> {
    let (scheme, rest) = amqp_url.split_once("://").ok_or_else(|| anyhow!("not a URL"))?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() {
        bail!("the AMQP URL has no host");
    }
    let default = if scheme == "amqps" { 5671 } else { 5672 };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if has_port { host.to_owned() } else { format!("{host}:{default}") })
}

fn not_ours() -> anyhow::Error {
    anyhow!("the broker at AMQP_URL was not started here, so it is not ours to stop, start or administer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_through_a_proxy_with_the_same_rights_and_virtual_host() {
        let proxy = "127.0.0.1:7".parse().unwrap();
        let through = through("amqp://a:b@broker:5672/%2f?heartbeat=10", proxy).unwrap();
        assert_eq!(through, "amqp://a:b@127.0.0.1:7/%2f?heartbeat=10");
    }

    #[test]
    fn the_address_of_a_broker_has_the_default_port() {
        assert_eq!(address("amqp://a:b@broker/%2f").unwrap(), "broker:5672");
        assert_eq!(address("amqps://broker").unwrap(), "broker:5671");
        assert_eq!(address("amqp://[::1]:7/%2f").unwrap(), "[::1]:7");
    }
}
