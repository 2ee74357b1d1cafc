//! Identifiers of connections and calls.

/// Identifies a connection within its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub(crate) u64);

/// Identifies a call that awaits an [`Effect::Complete`](crate::Effect::Complete).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);
