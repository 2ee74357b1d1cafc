//! Names in Redis.

use boot::Household;
use protocol::UserLabel;

use super::WindowKind;

impl WindowKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::New => "",
            Self::Retry => "again-",
        }
    }
}

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

    /// Messages of a person that they stopped before there was an answer, by when.
    pub(super) fn stopped(&self, user: UserLabel) -> String {
        format!("{}stopped:{}", self.prefix, user.0)
    }

    /// Events of a person, by time.
    pub(super) fn window(&self, kind: WindowKind, user: UserLabel) -> String {
        format!("{}{}window:{}", self.prefix, kind.prefix(), user.0)
    }

    /// Events of an address, by time.
    pub(super) fn address_window(&self, kind: WindowKind, from: Household) -> String {
        format!("{}{}address-window:{from}", self.prefix, kind.prefix())
    }

    /// Tokens that all cores have used on a day.
    pub(super) fn tokens(&self, day: u64) -> String {
        format!("{}tokens:{day}", self.prefix)
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
