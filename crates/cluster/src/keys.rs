//! Names of keys and channels in Redis. Running cores of other versions share them: they must not change.

use limits::ClientSubnet;
use protocol::UserLabel;

use crate::claim::WindowKind;

impl WindowKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::New => "",
            Self::Retry => "again-",
        }
    }
}

/// Builds the names. Channels are global to the server, so the prefix has the number of the database.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(database: i64) -> Self {
        Self { prefix: format!("psicoia:{database}:") }
    }

    /// Sorted set of cores, scored by the expiry of their last heartbeat.
    pub(crate) fn cores(&self) -> String {
        format!("{}cores", self.prefix)
    }

    /// Hash of the model calls that each core needs and holds.
    pub(crate) fn shares(&self) -> String {
        format!("{}shares", self.prefix)
    }

    /// Sorted set of the session's claims, scored by time.
    pub(crate) fn claims(&self, user: UserLabel) -> String {
        format!("{}claims:{}", self.prefix, user.0)
    }

    /// Sorted set of messages that the person stopped before they were answered, scored by time.
    pub(crate) fn stopped(&self, user: UserLabel) -> String {
        format!("{}stopped:{}", self.prefix, user.0)
    }

    /// Sorted set of the person's rate-limit events, scored by time.
    pub(crate) fn window(&self, kind: WindowKind, user: UserLabel) -> String {
        format!("{}{}window:{}", self.prefix, kind.prefix(), user.0)
    }

    /// Sorted set of the subnet's rate-limit events, scored by time.
    pub(crate) fn address_window(&self, kind: WindowKind, from: ClientSubnet) -> String {
        format!("{}{}address-window:{from}", self.prefix, kind.prefix())
    }

    /// Counter of model tokens used on a day (days since 1970).
    pub(crate) fn tokens(&self, day: u64) -> String {
        format!("{}tokens:{day}", self.prefix)
    }

    /// Channel of the session.
    pub(crate) fn channel(&self, user: UserLabel) -> String {
        format!("{}session:{}", self.prefix, user.0)
    }

    /// Session of a channel.
    pub(crate) fn user_of(&self, channel: &str) -> Option<UserLabel> {
        channel.strip_prefix(&self.prefix)?.strip_prefix("session:")?.parse().ok().map(UserLabel)
    }
}
