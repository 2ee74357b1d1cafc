//! Events of a cluster member.

use protocol::UserLabel;

/// Event received over the connection to Redis.
#[derive(Debug, Clone)]
pub enum ClusterEvent {
    /// Connected or reconnected; earlier claims of this core are void.
    Connected,
    /// The subscription to the session's channel is active: no later event is missed.
    Subscribed(UserLabel),
    /// An undecoded event of the session.
    Published(UserLabel, Vec<u8>),
    /// The event published with this revision reached no other core.
    NoSubscribers(UserLabel, u64),
}
