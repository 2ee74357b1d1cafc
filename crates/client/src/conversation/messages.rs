//! Own messages that have no answer yet, in the order they were written.

use std::collections::VecDeque;

use protocol::limits::MAX_TEXT_CHARS;
use protocol::{ClientFrame, MessageId, UserText};

use crate::error::SendError;

/// Most own messages without an answer. One more is refused with [`SendError::Full`].
pub(crate) const MAX_MESSAGES: usize = 64;

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
        self.messages.push_back(Message { id, text, accepted: false, on_wire: false, sent: false, again: false });
        Ok(())
    }

    pub(super) fn contains(&self, id: &MessageId) -> bool {
        self.messages.iter().any(|message| message.id == *id)
    }

    /// The next one to be sent, if there is room in the window.
    pub(super) fn next(&mut self) -> Option<ClientFrame> {
        let on_wire = self.messages.iter().filter(|message| message.on_wire).count();
        let next = self.messages.iter_mut().find(|message| !message.on_wire).filter(|_| on_wire < self.window)?;
        (next.on_wire, next.sent, next.again) = (true, true, next.sent);
        Some(ClientFrame::Message { id: next.id.clone(), text: next.text.clone() })
    }

    /// Notes that `id` was accepted; false if it is unknown or was accepted before.
    pub(super) fn accept(&mut self, id: &MessageId) -> bool {
        let message = self.messages.iter_mut().find(|message| message.id == *id && !message.accepted);
        message.map(|message| message.accepted = true).is_some()
    }

    /// Takes back `id` if nobody has seen it.
    pub(super) fn withdraw(&mut self, id: &MessageId) -> bool {
        let before = self.messages.len();
        self.messages.retain(|message| message.id != *id || message.sent);
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
