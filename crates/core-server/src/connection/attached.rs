//! Membership of a connection in its session.

use std::sync::Arc;

use protocol::server_frame::NoticeCode;
use protocol::trace::Traceparent;
use protocol::{Language, MessageId, ServerFrame, UserText};
use safety::guide;
use tokio::time::Instant;

use super::link::Link;
use crate::sessions::LiveSession;
use session::ConnectionId;
use session::Message;

/// Membership in a session; dropping it detaches the connection.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) session: Arc<LiveSession>,
    pub(super) id: ConnectionId,
    /// Due time of the reminder that answers come from no person.
    pub(super) reminder_at: Option<Instant>,
}

/// A message as it was read.
#[derive(Debug)]
pub(super) struct NewMessage {
    pub(super) id: MessageId,
    pub(super) text: UserText,
    pub(super) trace: Traceparent,
}

impl Attached {
    pub(super) fn new(session: Arc<LiveSession>, id: ConnectionId) -> Self {
        Self { session, id, reminder_at: None }
    }

    pub(super) fn language(&self) -> Language {
        self.session.language()
    }

    /// Assesses a message. Returns true if help was shown.
    pub(super) fn assess(&self, id: &MessageId, text: &UserText) -> bool {
        self.session.adopt_answered_country(text);
        self.session.assess(id, text)
    }

    /// Submits a message to the session; the next line waits until it is accepted or refused.
    pub(super) fn submit(&mut self, message: NewMessage, link: &mut Link) {
        let NewMessage { id, text, trace } = message;
        // A message read before its session was opened, or during another one, is not assessed in this session yet.
        self.assess(&id, &text);
        self.reminder_at = self.session.note_use(Instant::now());
        let message = Message { id, text, trace, address: link.peer.address, risk: self.session.risk() };
        link.await_submission(self.session.submit(self.id, message));
    }

    /// Reminds all connections of the session when due, unless one of them already did.
    pub(super) fn remind_if_due(&mut self, now: Instant) {
        if self.reminder_at.take_if(|at| *at <= now).is_some() {
            let notice = |language| ai_notice(guide::reminder(language));
            self.reminder_at = self.session.remind_if_due(now, notice);
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.session.detach(self.id);
    }
}

/// Builds the notice that answers come from no person.
pub(super) fn ai_notice(text: &str) -> ServerFrame {
    ServerFrame::Notice { code: NoticeCode::Ai, text: Some(text.to_owned()), reconnect_in_ms: None }
}
