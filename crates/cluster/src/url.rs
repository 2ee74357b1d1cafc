//! Address of Redis: `REDIS_URL`.

use std::fmt;
use std::str::FromStr;

use redis::{Client, IntoConnectionInfo as _, ProtocolVersion};

/// Address of a Redis server. `Display` shows neither user nor password.
#[derive(Clone)]
pub struct RedisUrl(Client);

/// Error for text that is no address of Redis. Does not repeat the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no address of a Redis server, as in redis://user:password@host:6379/0, or rediss:// for TLS, \
     with other characters than letters and digits of the password as %XX"
)]
pub struct RedisUrlError;

impl RedisUrl {
    /// The whole address, password included. Only for connecting.
    pub(crate) fn client(&self) -> &Client {
        &self.0
    }

    /// Number of the database.
    pub(crate) fn database(&self) -> i64 {
        self.0.get_connection_info().redis_settings().db()
    }
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(url: &str) -> Result<Self, RedisUrlError> {
        let info = url.trim().into_connection_info().map_err(|_| RedisUrlError)?;
        // RESP3 delivers published events over the connection that sends requests.
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
    fn urls_parse_and_hide_credentials() {
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
