//! URLs of servers, changed for a test.

use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow};
use reqwest::Url;

/// The same server, reached through another address, such as that of a fault proxy.
///
/// # Errors
/// The URL has no host.
pub fn through(url: &str, address: SocketAddr) -> Result<String> {
    changed(url, |url| {
        url.set_ip_host(address.ip())?;
        url.set_port(Some(address.port()))
    })
}

/// The same server, as another user.
///
/// # Errors
/// The URL has no host.
pub fn as_user(url: &str, user: &str, password: &str) -> Result<String> {
    changed(url, |url| {
        url.set_username(user)?;
        url.set_password(Some(password))
    })
}

/// The same server, user and parameters, but another database.
pub(crate) fn with_database(url: &str, database: &str) -> Result<String> {
    changed(url, |url| {
        url.set_path(database);
        Ok(())
    })
}

/// The address in a URL, as `host:port`.
///
/// # Errors
/// The URL has no host, or no port and none is usual.
pub fn address(url: &str) -> Result<String> {
    let url = parsed(url)?;
    let host = url.host_str().filter(|host| !host.is_empty()).context("the URL has no host")?;
    let usual = match url.scheme() {
        "amqp" => Some(5672),
        "amqps" => Some(5671),
        "postgres" | "postgresql" => Some(5432),
        _ => url.port_or_known_default(),
    };
    Ok(format!("{host}:{}", url.port().or(usual).context("the URL has no port")?))
}

fn changed(url: &str, change: impl FnOnce(&mut Url) -> Result<(), ()>) -> Result<String> {
    let mut url = parsed(url)?;
    change(&mut url).map_err(|()| anyhow!("the URL has no host"))?;
    Ok(url.into())
}

fn parsed(url: &str) -> Result<Url> {
    // The URL itself is not shown: it may hold a password.
    Url::parse(url).context("not a URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_through_a_proxy_with_the_same_user_and_virtual_host() {
        let proxy = "127.0.0.1:7".parse().unwrap();
        let through = through("amqp://a:b@broker:5672/%2f?heartbeat=10", proxy).unwrap();
        assert_eq!(through, "amqp://a:b@127.0.0.1:7/%2f?heartbeat=10");
        assert_eq!(as_user(&through, "c", "d").unwrap(), "amqp://c:d@127.0.0.1:7/%2f?heartbeat=10");
    }

    #[test]
    fn another_database_of_the_same_server_keeps_user_and_parameters() {
        let url = "postgresql://a:b@host:5433/first?sslmode=disable";
        assert_eq!(with_database(url, "second").unwrap(), "postgresql://a:b@host:5433/second?sslmode=disable");
        assert_eq!(with_database("postgres://host", "second").unwrap(), "postgres://host/second");
    }

    #[test]
    fn an_address_has_the_usual_port() {
        assert_eq!(address("amqp://a:b@broker/%2f").unwrap(), "broker:5672");
        assert_eq!(address("amqps://broker").unwrap(), "broker:5671");
        assert_eq!(address("postgres://[::1]/a").unwrap(), "[::1]:5432");
        assert_eq!(address("amqp://[::1]:7/%2f").unwrap(), "[::1]:7");
    }
}
