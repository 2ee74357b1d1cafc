//! Settings of every session.

use std::time::Duration;

use protocol::server_frame::Source;

/// Settings of every session.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Messages of one person in flight at once on this core (`PER_USER_MAX`).
    pub per_user_max: usize,
    /// Time for which an answer continues without a listener (`ORPHAN_SECONDS`).
    pub abandoned_after: Duration,
    /// Time after a message at high risk within which no message is rejected for a limit.
    pub risk_window: Duration,
    /// Origin of answers, as far as it is known before they begin.
    pub source: Source,
}
