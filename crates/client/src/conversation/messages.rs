//! Own messages without an answer, in the order written.

use std::collections::VecDeque;

use protocol::limits::MAX_TEXT_CHARS;
use protocol::{ClientFrame, MessageId, UserText};

use crate::error::SendError;

/// Bound on own messages without an answer; one more fails with [`SendError::Full`].
pub(crate) const MAX_MESSAGES: usize = 64;
/// Refused messages are retried while fewer than this are in flight: the default of `PER_USER_MAX`, beyond
/// which the server would refuse them again.
const RETRY_WINDOW: usize = 2;

#[derive(Debug)]
pub(super) struct Messages {
    window: usize,
    messages: VecDeque<Message>,
}

#[derive(Debug)]
struct Message {
    id: MessageId,
    text: UserText,
    /// `accepted` was delivered.
    accepted: bool,
    /// Sent on this connection.
    in_flight: bool,
    /// Sent on any connection.
    sent: bool,
    /// Sent on an earlier connection too: the server may send its answer twice.
    resent: bool,
    /// A stop was requested.
    stopping: bool,
    /// Waits for `release`.
    deferred: bool,
    /// Refused at least once: retried in order of writing.
    refused: bool,
    /// Refusals so far.
    attempts: u32,
}

impl Messages {
    pub(super) fn new(window: usize) -> Self {
        Self { window: window.max(1), messages: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Adds a message; a known id is a no-op.
    pub(super) fn add(&mut self, id: MessageId, text: UserText) -> Result<(), SendError> {
        if text.expose().trim().is_empty() || text.expose().contains('\0') {
            return Err(SendError::NoText);
        }
        if MAX_TEXT_CHARS < text.chars() {
            return Err(SendError::TooLong { max: MAX_TEXT_CHARS });
        }
        if self.contains(&id) {
            return Ok(());
        }
        if MAX_MESSAGES <= self.messages.len() {
            return Err(SendError::Full);
        }
        let message = Message {
            id,
            text,
            accepted: false,
            in_flight: false,
            sent: false,
            resent: false,
            stopping: false,
            deferred: false,
            refused: false,
            attempts: 0,
        };
        self.messages.push_back(message);
        Ok(())
    }

    fn get_mut(&mut self, id: &MessageId) -> Option<&mut Message> {
        self.messages.iter_mut().find(|message| message.id == *id)
    }

    /// Holds `id` back until `release`, if fewer than `max_attempts` were made; false otherwise.
    pub(super) fn defer(&mut self, id: &MessageId, max_attempts: u32) -> bool {
        let Some(message) = self.get_mut(id) else { return false };
        message.attempts += 1;
        message.deferred = message.attempts < max_attempts;
        message.refused = true;
        message.in_flight &= !message.deferred;
        message.deferred
    }

    /// Holds `id` back until another own message finishes; false if none is in flight, or if `id` was held back
    /// before: a second refusal has another cause.
    pub(super) fn queue(&mut self, id: &MessageId) -> bool {
        if !self.messages.iter().any(|message| message.id != *id && message.in_flight) {
            return false;
        }
        let Some(message) = self.get_mut(id).filter(|message| !message.refused) else { return false };
        (message.refused, message.in_flight) = (true, false);
        true
    }

    pub(super) fn release(&mut self, id: &MessageId) {
        if let Some(message) = self.get_mut(id) {
            message.deferred = false;
        }
    }

    /// Counts a refusal of `id`; returns the total.
    pub(super) fn count_attempt(&mut self, id: &MessageId) -> u32 {
        self.get_mut(id).map_or(0, |message| {
            message.attempts += 1;
            message.attempts
        })
    }

    pub(super) fn mark_stopping(&mut self, id: &MessageId) {
        if let Some(message) = self.get_mut(id) {
            message.stopping = true;
        }
    }

    pub(super) fn is_stopping(&self, id: &MessageId) -> bool {
        self.messages.iter().any(|message| message.id == *id && message.stopping)
    }

    pub(super) fn contains(&self, id: &MessageId) -> bool {
        self.messages.iter().any(|message| message.id == *id)
    }

    /// Next message to send, if the window has room. New messages precede refused ones: one may report danger,
    /// and help must not wait behind a retry. Refused ones keep the order of writing.
    pub(super) fn next(&mut self) -> Option<ClientFrame> {
        let in_flight = self.messages.iter().filter(|message| message.in_flight).count();
        if self.window <= in_flight {
            return None;
        }
        let mut has_room = in_flight < RETRY_WINDOW;
        let next = self.messages.iter_mut().filter(|message| !message.in_flight).find(|message| {
            let is_due = !message.deferred && (has_room || !message.refused);
            // A refused message must not overtake an earlier refused one.
            has_room &= !message.refused;
            is_due
        })?;
        (next.in_flight, next.sent, next.resent) = (true, true, next.sent);
        Some(ClientFrame::Message { id: next.id.clone(), text: next.text.clone() })
    }

    /// Marks `id` as accepted; false if it is unknown or was accepted before.
    pub(super) fn accept(&mut self, id: &MessageId) -> bool {
        let message = self.messages.iter_mut().find(|message| message.id == *id && !message.accepted);
        message.map(|message| message.accepted = true).is_some()
    }

    /// Removes `id` if it was never sent, or is deferred; false otherwise.
    pub(super) fn withdraw(&mut self, id: &MessageId) -> bool {
        let before = self.messages.len();
        self.messages.retain(|message| message.id != *id || (message.sent && !message.deferred));
        self.messages.len() < before
    }

    /// True if `id` was sent on this connection and on an earlier one.
    pub(super) fn is_repeated(&self, id: &MessageId) -> bool {
        self.messages.iter().any(|message| message.id == *id && message.in_flight && message.resent)
    }

    /// Removes a finished message; false if it is unknown.
    pub(super) fn remove(&mut self, id: &MessageId) -> bool {
        let at = self.messages.iter().position(|message| message.id == *id);
        at.and_then(|at| self.messages.remove(at)).is_some()
    }

    /// True if any message is in flight on this connection.
    pub(super) fn in_flight(&self) -> bool {
        self.messages.iter().any(|message| message.in_flight)
    }

    /// Marks all messages for resending on the next connection.
    pub(super) fn on_disconnect(&mut self) {
        self.messages.iter_mut().for_each(|message| message.in_flight = false);
    }

    /// Clears `accepted`, because the next session has none of the messages.
    pub(super) fn forget_acceptance(&mut self) {
        self.messages.iter_mut().for_each(|message| message.accepted = false);
    }
}
