//! Claims to messages and their outcomes, as plain data.

use std::time::Duration;

use limits::ClientSubnet;
use protocol::{MessageId, UserLabel};
use tokio::time::Instant;

/// Rate-limit windows in which an attempt counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowKind {
    /// New messages, and retries after the person stopped the last attempt.
    New,
    /// Retries of messages whose last attempt failed through no fault of the person.
    Retry,
}

/// Sequence number of a claim of this core: a late release must not remove a newer claim to the same
/// message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimNumber(pub(crate) u64);

/// Claim of this core to answer a message.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The session's person.
    pub user: UserLabel,
    /// The message.
    pub id: &'a MessageId,
    /// Distinguishes repeated claims to one message.
    pub number: ClaimNumber,
}

/// Attempt as counted in the windows of a person and of a subnet.
#[derive(Debug, Clone, Copy)]
pub struct CountedAttempt {
    /// Windows that count it.
    pub kind: WindowKind,
    /// Subnet of the sender.
    pub from: ClientSubnet,
    /// Time of the attempt.
    pub at: Instant,
}

/// Outcome of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// This core answers the message.
    Granted {
        /// Earlier claims of the session, on any core.
        before: usize,
        /// True if the person stopped the last attempt to answer the message.
        was_stopped: bool,
    },
    /// Another live core holds the claim.
    Held,
    /// The person stopped the last attempt: only a claim that counts as a new message is granted.
    Stopped,
    /// The person has the maximum of pending messages.
    Busy,
    /// The rate limit of the person or of the subnet is exceeded.
    RateLimited {
        /// Time until one more message is allowed.
        wait: Duration,
    },
}

/// Claimed messages of a session in the order of the claims, each with whether this core holds it.
/// Claims of dead cores are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight(pub(crate) Vec<(String, bool)>);

impl InFlight {
    /// Returns whether any live core holds the message.
    pub fn contains(&self, id: &MessageId) -> bool {
        self.0.iter().any(|(claimed, _)| claimed == id.as_str())
    }

    /// Returns whether another core holds the message.
    pub fn is_held_remotely(&self, id: &MessageId) -> bool {
        self.0.iter().any(|(claimed, here)| claimed == id.as_str() && !here)
    }

    /// Returns whether this core must wait for another one: the holder of the first claim answers all that it
    /// claimed before any other core begins. One fixed order prevents deadlock.
    pub fn is_other_cores_turn(&self) -> bool {
        self.0.iter().any(|(_, here)| *here) && self.0.first().is_some_and(|(_, here)| !here)
    }
}
