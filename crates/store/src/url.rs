//! Address of the database: `DATABASE_URL`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// Default port of PostgreSQL.
const POSTGRES_PORT: u16 = 5432;

/// Address of a database. `Display` shows neither user nor password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// File of an SQLite database.
    Sqlite(PathBuf),
    /// PostgreSQL server.
    Postgres(PostgresUrl),
}

/// Address of a PostgreSQL server. `Display` shows neither user nor password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(Box<Config>);

impl PostgresUrl {
    /// The whole address, password included. Only for connecting.
    pub(super) fn config(&self) -> &Config {
        &self.0
    }
}

/// Error for an unusable database address. Does not repeat the address, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Unknown scheme.
    #[error("it begins with neither sqlite:// nor postgres://")]
    Scheme,
    /// `sqlite://` without a path.
    #[error("after sqlite:// comes the path of a file, as in sqlite://data/psicoia.db")]
    Path,
    /// Malformed `postgres://` address.
    #[error(
        "it is no address of a PostgreSQL server, as in postgres://user:password@host:5432/database?sslmode=require, \
         with other characters than letters and digits of the password as %XX"
    )]
    Server,
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(url: &str) -> Result<Self, DatabaseUrlError> {
        match url.trim().split_once("://") {
            Some(("sqlite", path)) if path.is_empty() || path.contains('?') => Err(DatabaseUrlError::Path),
            Some(("sqlite", path)) => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", _)) => url.trim().parse().map(Self::Postgres),
            _ => Err(DatabaseUrlError::Scheme),
        }
    }
}

impl FromStr for PostgresUrl {
    type Err = DatabaseUrlError;

    fn from_str(url: &str) -> Result<Self, DatabaseUrlError> {
        // Certificates and host names are always verified, so the two modes are one here.
        let url = url.replace("sslmode=verify-full", "sslmode=require");
        let mut config: Config = url.parse().map_err(|_| DatabaseUrlError::Server)?;
        if config.get_hosts().is_empty() {
            return Err(DatabaseUrlError::Server);
        }
        // Not the usual default `prefer`: it would fail on the self-signed certificates of many servers.
        if !url.split_once('?').is_some_and(|(_, options)| options.contains("sslmode=")) {
            config.ssl_mode(SslMode::Disable);
        }
        Ok(Self(Box::new(config)))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        let ports = self.0.get_ports();
        for (index, host) in self.0.get_hosts().iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            // A single port applies to all hosts.
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(POSTGRES_PORT);
            match host {
                Host::Tcp(host) if host.contains(':') => write!(f, "{comma}[{host}]:{port}")?,
                Host::Tcp(host) => write!(f, "{comma}{host}:{port}")?,
                Host::Unix(folder) => write!(f, "{comma}{}:{port}", folder.display())?,
            }
        }
        write!(f, "/{}", self.0.get_dbname().or(self.0.get_user()).unwrap_or_default())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_and_debug_hide_the_password() {
        let cases = [
            ("sqlite://data/psicoia.db", "sqlite://data/psicoia.db"),
            ("postgres://ana:s3cret@db.example/psicoia", "postgres://db.example:5432/psicoia"),
            ("postgresql://ana:s3cret@db:6432/psicoia?sslmode=verify-full", "postgres://db:6432/psicoia"),
            (
                "postgres://ana:s%40cret@a:1,b:2/p?target_session_attrs=read-write&sslmode=prefer",
                "postgres://a:1,b:2/p",
            ),
            ("postgres://ana:s3cret@[::1]", "postgres://[::1]:5432/ana"),
            ("postgres://ana:s3cret@%2Frun%2Fpostgresql/p", "postgres:///run/postgresql:5432/p"),
        ];
        for (url, want) in cases {
            let parsed: DatabaseUrl = url.parse().unwrap();
            assert_eq!(parsed.to_string(), want);
            assert!(!format!("{parsed:?}").contains("cret"), "{parsed:?}");
        }
    }

    #[test]
    fn rejects_malformed_addresses_without_repeating_them() {
        let cases = [
            ("mysql://a/b", DatabaseUrlError::Scheme),
            ("data/psicoia.db", DatabaseUrlError::Scheme),
            ("sqlite://", DatabaseUrlError::Path),
            ("postgres://", DatabaseUrlError::Server),
            ("postgres://ana:cret@host/db?unknown=1", DatabaseUrlError::Server),
            ("postgres://ana:cret@host:port/db", DatabaseUrlError::Server),
            ("postgres://ana:cret@host/db?sslmode=sometimes", DatabaseUrlError::Server),
        ];
        for (url, want) in cases {
            let error = url.parse::<DatabaseUrl>().unwrap_err();
            assert_eq!(error, want, "{url}");
            assert!(!error.to_string().contains("cret"), "{error}");
        }
    }

    #[test]
    fn tls_follows_sslmode_and_is_off_by_default() {
        for (options, want) in [
            ("", SslMode::Disable),
            ("?sslmode=disable", SslMode::Disable),
            ("?sslmode=prefer", SslMode::Prefer),
            ("?connect_timeout=1&sslmode=require", SslMode::Require),
            ("?sslmode=verify-full", SslMode::Require),
        ] {
            let url: PostgresUrl = format!("postgres://ana@host/db{options}").parse().unwrap();
            assert_eq!(url.config().get_ssl_mode(), want, "{options}");
        }
    }
}
