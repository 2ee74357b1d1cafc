//! Names in Redis.

use boot::Household;
use protocol::UserLabel;

/// Makes the names. Channels know no databases, so each database has names of its own.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(database: i64) -> Self {
        Self { prefix: format!("psicoia:{database}:") }
    }

    /// Cores by the time until which they count as alive.
    pub(super) fn cores(&self) -> String {
        format!("{}cores", self.prefix)
    }

    /// How many model calls each core wants and may make.
    pub(super) fn shares(&self) -> String {
        format!("{}shares", self.prefix)
    }

    /// Messages of a person that are under way, by when they were claimed.
    pub(super) fn claims(&self, user: UserLabel) -> String {
        format!("{}claims:{}", self.prefix, user.0)
    }

    /// Messages of a person, by time.
    pub(super) fn window(&self, user: UserLabel) -> String {
        format!("{}window:{}", self.prefix, user.0)
    }

    /// Messages of an address, by time.
    pub(super) fn address_window(&self, from: Household) -> String {
        format!("{}address-window:{from}", self.prefix)
    }

    /// The channel of a session.
    pub(super) fn channel(&self, user: UserLabel) -> String {
        format!("{}session:{}", self.prefix, user.0)
    }

    /// Whose channel it is.
    pub(super) fn user_of(&self, channel: &str) -> Option<UserLabel> {
        channel.strip_prefix(&self.prefix)?.strip_prefix("session:")?.parse().ok().map(UserLabel)
    }
}
