//! Connection URLs of Postgres, as far as the harness changes them.

/// The same server, user and parameters, but another database.
pub(super) fn with_database(url: &str, database: &str) -> String {
    let (before, parameters) = url.split_once('?').map_or((url, None), |(before, after)| (before, Some(after)));
    let (scheme, rest) = before.split_once("://").unwrap_or(("postgres", before));
    let authority = rest.split('/').next().unwrap_or_default();
    let parameters = parameters.map(|parameters| format!("?{parameters}")).unwrap_or_default();
    format!("{scheme}://{authority}/{database}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_of_the_same_server_keeps_user_and_parameters() {
        let url = "postgresql://a:b@host:5433/first?sslmode=disable";
        assert_eq!(with_database(url, "second"), "postgresql://a:b@host:5433/second?sslmode=disable");
        assert_eq!(with_database("postgres://host", "second"), "postgres://host/second");
    }
}
