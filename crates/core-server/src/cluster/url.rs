//! Where Redis is: `REDIS_URL`.

use std::fmt;
use std::str::FromStr;

use redis::{Client, IntoConnectionInfo as _, ProtocolVersion};

/// The address of a Redis server. `Display` shows neither user nor password.
#[derive(Clone)]
pub struct RedisUrl(Client);

/// The text is no such address. Does not repeat it: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no address of a Redis server, as in redis://user:password@host:6379/0, or rediss:// for TLS, \
     with other characters than letters and digits of the password as %XX"
)]
pub struct RedisUrlError;

impl RedisUrl {
    /// The whole address, password included: for the one place that connects.
    pub(super) fn client(&self) -> &Client {
        &self.0
    }

    /// The number of the database.
    pub(super) fn database(&self) -> i64 {
        self.0.get_connection_info().redis_settings().db()
    }
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(url: &str) -> Result<Self, RedisUrlError> {
        let info = url.trim().into_connection_info().map_err(|_| RedisUrlError)?;
        // What other cores tell comes over the connection that asks: RESP3.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Client::open(info.set_redis_settings(settings)).map(Self).map_err(|_| RedisUrlError)
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis://{}/{}", self.0.get_connection_info().addr(), self.database())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (url, want) in [
            ("redis://127.0.0.1", Some("redis://127.0.0.1:6379/0")),
            (" redis://ana:secret@cache.example:7000/3 ", Some("redis://cache.example:7000/3")),
            ("rediss://:secret@cache.example", Some("redis://cache.example:6379/0")),
            ("unix:///run/redis.sock", Some("redis:///run/redis.sock/0")),
            ("cache.example", None),
            ("postgres://cache.example", None),
            ("redis://cache.example/notes", None),
        ] {
            let got = url.parse::<RedisUrl>();
            assert_eq!(got.as_ref().ok().map(ToString::to_string).as_deref(), want, "{url}");
            assert!(!format!("{got:?}").contains("secret"));
        }
    }
}
