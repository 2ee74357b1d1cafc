//! Assessment of messages, and the help that it leads to.
//!
//! A message is assessed when its bytes arrive, before any limit and without the store: help must not wait for
//! anything. It is stored as soon as the store is available.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use protocol::server_frame::{Help, Support};
use protocol::{MessageId, Timestamp, UserText};
use safety::Level;
use safety::resources::Need;

use crate::help::wire_help;
use crate::message::MessageRisk;
use crate::watch::Watch;

/// Capacity for help that waits to be stored; the oldest is dropped first.
pub(crate) const MAX_UNSAVED: usize = 8;
/// Pause and number of retries to store help: five minutes in all, longer than a failover. Later messages retry too.
const SAVE_RETRY_PAUSE: Duration = Duration::from_secs(1);
const SAVE_TRIES: u32 = 300;

/// Memory of risk, and of the help that was shown.
#[derive(Debug)]
pub(crate) struct Assessor {
    pub(crate) watch: Watch,
    /// Help that was shown and is not stored yet.
    unsaved: VecDeque<Support>,
    /// Ids of the last good-byes for which help was shown.
    partings: VecDeque<MessageId>,
    retry: SaveRetry,
}

/// Retries to store help.
#[derive(Debug, Default)]
struct SaveRetry {
    /// Failures since the last success.
    tries: u32,
    at: Option<Instant>,
}

impl Assessor {
    pub(crate) fn new(watch: Watch) -> Self {
        Self { watch, unsaved: VecDeque::new(), partings: VecDeque::new(), retry: SaveRetry::default() }
    }

    /// Assesses message `id`, which arrived at `at`. Returns the need to show help for.
    pub(crate) fn assess(&mut self, id: &MessageId, text: &UserText, at: Timestamp) -> Option<Need> {
        self.watch.observe(id, text, at).or_else(|| self.need_at_parting(id, text, at))
    }

    /// Returns the need for a good-bye: a person in risk must not leave without help lines.
    fn need_at_parting(&mut self, id: &MessageId, text: &UserText, at: Timestamp) -> Option<Need> {
        let is_shown = self.is_shown_for(id);
        if is_shown || self.watch.risk(at).level == Level::None || !self.message_risk(id, text).takes_leave {
            return None;
        }
        if self.partings.len() == MAX_UNSAVED {
            self.partings.pop_front();
        }
        self.partings.push_back(id.clone());
        Some(self.watch.standing_need(at))
    }

    /// Returns true if message `id` has brought help.
    fn is_shown_for(&self, id: &MessageId) -> bool {
        self.watch.shown().is_some_and(|(shown, _)| shown == id) || self.partings.contains(id)
    }

    /// Returns the remembered need, if there is a level.
    pub(crate) fn need_in_force(&self, at: Timestamp) -> Option<Need> {
        (self.watch.risk(at).level != Level::None).then(|| self.watch.standing_need(at))
    }

    /// Returns the risk in force as it is stored, without resources; `None` without a level.
    pub(crate) fn help_in_force(&self, at: Timestamp) -> Option<Box<Help>> {
        self.need_in_force(at).map(|need| Box::new(wire_help(need, Vec::new())))
    }

    /// Returns the need for help with a rejection of message `id`; `None` without a level, and if the message itself has
    /// brought help.
    pub(crate) fn need_at_rejection(&self, id: &MessageId, at: Timestamp) -> Option<Need> {
        self.need_in_force(at).filter(|_| !self.is_shown_for(id))
    }

    /// Returns the risk of message `id` alone, as assessed on arrival.
    pub(crate) fn message_risk(&self, id: &MessageId, text: &UserText) -> MessageRisk {
        self.watch.message_risk(id, text).unwrap_or_else(|| MessageRisk::alone(text.expose()))
    }

    // ---- storing ----------------------------------------------------------------------------

    pub(crate) fn keep_unsaved(&mut self, support: Support) {
        if self.unsaved.len() == MAX_UNSAVED {
            self.unsaved.pop_front();
        }
        self.unsaved.push_back(support);
    }

    pub(crate) fn unsaved(&self) -> impl Iterator<Item = &Support> {
        self.unsaved.iter()
    }

    pub(crate) fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    pub(crate) fn next_unsaved(&self) -> Option<&Support> {
        self.unsaved.front()
    }

    pub(crate) fn on_saved(&mut self, id: &MessageId) {
        self.unsaved.retain(|support| support.id != *id);
        self.retry = SaveRetry::default();
    }

    /// Schedules a retry, unless there were enough.
    pub(crate) fn on_save_failed(&mut self, now: Instant) {
        self.retry.tries += 1;
        self.retry.at = (self.retry.tries < SAVE_TRIES).then(|| now + SAVE_RETRY_PAUSE);
    }

    /// Returns the time of the next retry to store help.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry.at
    }

    /// Takes the retry, which begins now.
    pub(crate) fn take_retry(&mut self) {
        self.retry.at = None;
    }
}
