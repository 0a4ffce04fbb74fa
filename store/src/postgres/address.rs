//! The address of a database.

use std::time::Duration;

use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

/// How long each address of a host may take to answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The port if none is given.
const DEFAULT_PORT: u16 = 5432;
/// After this time without an acknowledgement of what was sent, the operating system gives a connection up.
const UNANSWERED: Duration = Duration::from_secs(20);
/// How often an idle connection is probed.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The server, the database and the user. Its debug form never shows the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresAddress(Box<Config>);

impl PostgresAddress {
    /// Reads a URL such as `postgres://user:password@host:5432/database`, which may have parameters:
    /// `sslmode` is `disable` for plain text, `prefer` (the default) for TLS if the server offers it, `require`
    /// or `verify-full` for TLS only. The server's certificate is checked against the system's roots in every
    /// case.
    ///
    /// # Errors
    /// What the URL must be, for the operator who set it. It never repeats the text, which may hold a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wanted = "must be a URL such as postgres://user:password@host:5432/database \
                      (special characters percent-encoded)";
        let url = url.replace("sslmode=verify-full", "sslmode=require");
        let mut config: Config = url.parse().map_err(|_| {
            format!(
                "{wanted}; parameters are those of tokio-postgres, sslmode is disable, prefer, require or verify-full"
            )
        })?;
        if config.get_hosts().is_empty() || config.get_user().is_none_or(str::is_empty) {
            return Err(wanted.to_owned());
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(format!("names no database: {wanted}"));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WITHIN);
        }
        config.tcp_user_timeout(UNANSWERED).keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE);
        Ok(Self(Box::new(config)))
    }

    /// The configuration of a connection, with the name under which the server lists it.
    pub(super) fn named(&self, purpose: &str) -> Config {
        let mut config = (*self.0).clone();
        config.application_name(format!("tandem producer: {purpose}"));
        config
    }

    /// The database and its server, for a message to the operator.
    pub(super) fn location(&self) -> String {
        let hosts = self.0.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let ports = self.0.get_ports();
        let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
        let hosts: Vec<_> = hosts.enumerate().map(|(index, host)| format!("{host}:{}", port(index))).collect();
        format!("{:?} at {}", self.0.get_dbname().unwrap_or_default(), hosts.join(", "))
    }

    /// Whether a connection may use TLS.
    pub(super) fn allows_tls(&self) -> bool {
        self.0.get_ssl_mode() != SslMode::Disable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_has_host_user_and_name() {
        for good in [
            "postgres://u:p@h/d",
            "postgresql://u@h:5433/d?sslmode=disable",
            "postgres://u:p%40ss@h/d?sslmode=verify-full",
            "postgres://u@%2Frun%2Fpostgresql/d",
        ] {
            assert!(PostgresAddress::parse(good).is_ok(), "{good}");
        }
        assert!(PostgresAddress::parse("postgres://u@h/d").unwrap().allows_tls());
        assert!(!PostgresAddress::parse("postgres://u@h/d?sslmode=disable").unwrap().allows_tls());
        for bad in [
            "postgres://",
            "postgres://h/d",
            "postgres://u:hush@h",
            "postgres://u:hush@h/d?sslmode=maybe",
            "postgres://u:hush@h:x/d",
        ] {
            let Err(fault) = PostgresAddress::parse(bad) else { panic!("{bad} was accepted") };
            assert!(!fault.contains("hush"), "{fault}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let address = PostgresAddress::parse("postgres://u:hush@h/d").unwrap();
        assert!(!format!("{address:?}").contains("hush"));
        assert_eq!(address.location(), "\"d\" at h:5432");
    }
}
