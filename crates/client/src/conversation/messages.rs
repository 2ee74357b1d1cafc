//! Own messages that have no answer yet, in the order they were written.

use std::collections::VecDeque;

use protocol::limits::MAX_TEXT_CHARS;
use protocol::{ClientFrame, MessageId, UserText};

use crate::error::SendError;

/// Most own messages without an answer. One more is refused with [`SendError::Full`].
pub(crate) const MAX_MESSAGES: usize = 64;
/// Messages that the server has refused go again as long as no more than this are with it: the answers that a
/// session gives at the same time by default (`PER_USER_MAX`).
const ROOM: usize = 2;

#[derive(Debug)]
pub(super) struct Messages {
    window: usize,
    messages: VecDeque<Message>,
}

#[derive(Debug)]
struct Message {
    id: MessageId,
    text: UserText,
    /// Its `accepted` was told.
    accepted: bool,
    /// It was sent on this connection.
    on_wire: bool,
    /// It was sent at all.
    sent: bool,
    /// It was sent on an earlier connection, too: the server may tell its answer twice.
    again: bool,
    /// Its answer was asked to end.
    stopping: bool,
    /// The server refuses it for now.
    deferred: bool,
    /// The server has refused it: it is sent again in its turn.
    refused: bool,
    /// How often the server has refused it so far.
    tries: u32,
}

impl Messages {
    pub(super) fn new(window: usize) -> Self {
        Self { window: window.max(1), messages: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Adds a message; one whose id is there already changes nothing.
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
            on_wire: false,
            sent: false,
            again: false,
            stopping: false,
            deferred: false,
            refused: false,
            tries: 0,
        };
        self.messages.push_back(message);
        Ok(())
    }

    fn get_mut(&mut self, id: &MessageId) -> Option<&mut Message> {
        self.messages.iter_mut().find(|message| message.id == *id)
    }

    /// Holds `id` back until it is released, if it has been sent fewer than `most` times.
    pub(super) fn defer(&mut self, id: &MessageId, most: u32) -> bool {
        let Some(message) = self.get_mut(id) else { return false };
        message.tries += 1;
        message.deferred = message.tries < most;
        message.refused = true;
        message.on_wire &= !message.deferred;
        message.deferred
    }

    /// Holds `id` back until another own message has its end; false if there is none under way, or if that was
    /// done before.
    pub(super) fn queue(&mut self, id: &MessageId) -> bool {
        if !self.messages.iter().any(|message| message.id != *id && message.on_wire) {
            return false;
        }
        let Some(message) = self.get_mut(id).filter(|message| !message.refused) else { return false };
        (message.refused, message.on_wire) = (true, false);
        true
    }

    pub(super) fn release(&mut self, id: &MessageId) {
        if let Some(message) = self.get_mut(id) {
            message.deferred = false;
        }
    }

    /// Counts a refusal of `id`; says how many there were.
    pub(super) fn count_try(&mut self, id: &MessageId) -> u32 {
        self.get_mut(id).map_or(0, |message| {
            message.tries += 1;
            message.tries
        })
    }

    /// Notes that the answer to `id` is asked to end.
    pub(super) fn stopping(&mut self, id: &MessageId) {
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

    /// The next one to be sent, if there is room in the window. One that was not refused goes at once, before
    /// refused ones that wait: it may say that somebody is in danger. Refused ones go in the order of writing.
    pub(super) fn next(&mut self) -> Option<ClientFrame> {
        let on_wire = self.messages.iter().filter(|message| message.on_wire).count();
        if self.window <= on_wire {
            return None;
        }
        let mut has_room = on_wire < ROOM;
        let next = self.messages.iter_mut().filter(|message| !message.on_wire).find(|message| {
            let is_due = !message.deferred && (has_room || !message.refused);
            // No refused message before an earlier one.
            has_room &= !message.refused;
            is_due
        })?;
        (next.on_wire, next.sent, next.again) = (true, true, next.sent);
        Some(ClientFrame::Message { id: next.id.clone(), text: next.text.clone() })
    }

    /// Notes that `id` was accepted; false if it is unknown or was accepted before.
    pub(super) fn accept(&mut self, id: &MessageId) -> bool {
        let message = self.messages.iter_mut().find(|message| message.id == *id && !message.accepted);
        message.map(|message| message.accepted = true).is_some()
    }

    /// Takes back `id` if no server has seen it, or the server refuses it for now.
    pub(super) fn withdraw(&mut self, id: &MessageId) -> bool {
        let before = self.messages.len();
        self.messages.retain(|message| message.id != *id || (message.sent && !message.deferred));
        self.messages.len() < before
    }

    /// Whether `id` was sent on this connection and on an earlier one.
    pub(super) fn is_repeated(&self, id: &MessageId) -> bool {
        self.messages.iter().any(|message| message.id == *id && message.on_wire && message.again)
    }

    /// It has its answer, or will not get one. False if it is unknown.
    pub(super) fn remove(&mut self, id: &MessageId) -> bool {
        let at = self.messages.iter().position(|message| message.id == *id);
        at.and_then(|at| self.messages.remove(at)).is_some()
    }

    /// Whether any is on its way or being answered on this connection.
    pub(super) fn on_wire(&self) -> bool {
        self.messages.iter().any(|message| message.on_wire)
    }

    /// The connection is gone: what has no answer is sent again on the next one.
    pub(super) fn cut(&mut self) {
        self.messages.iter_mut().for_each(|message| message.on_wire = false);
    }

    /// Another session does not know any of them.
    pub(super) fn forget_acceptance(&mut self) {
        self.messages.iter_mut().for_each(|message| message.accepted = false);
    }
}
