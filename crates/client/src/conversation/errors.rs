//! What errors of the server mean for the conversation.

use std::time::Duration;

use protocol::ErrorCode;
use protocol::server_frame::ErrorFrame;

use super::requests::Whose;
use super::{Conversation, Next};
use crate::error::RequestError;
use crate::event::{Closed, Event};

impl Conversation {
    /// An error in place of `welcome`.
    pub(super) fn on_refusal(&mut self, error: ErrorFrame) -> Next {
        use ErrorCode::{BadFrame, BadResume, InvalidUtf8, LineTooLong, Unauthorized, UnknownType, VersionUnsupported};
        match error.code {
            BadResume if self.introduction.anew => {
                self.offer_next();
                Next::Continue
            }
            BadResume => Next::Close(Closed::BadResume { error: Box::new(error) }),
            // The same hello would be refused again.
            VersionUnsupported | Unauthorized | BadFrame | UnknownType | LineTooLong | InvalidUtf8 => refused(error),
            _ => reconnect(&error),
        }
    }

    /// The server does not know the session: the same connection offers the next earlier one, or at
    /// last asks for another. No token is dropped: the server may have the wrong database for now.
    fn offer_next(&mut self) {
        self.introduction.tokens.refused();
        if self.introduction.tokens.offered().is_none() {
            self.leave_session();
            self.tell(Event::SessionLost);
        }
        self.hello = Some(self.introduce());
    }

    /// Another session goes on. Messages that have no answer go there.
    pub(super) fn leave_session(&mut self) {
        self.held = None;
        self.session = None;
        self.messages.forget_acceptance();
    }

    /// An error after `welcome`.
    pub(super) fn on_error(&mut self, error: ErrorFrame) -> Next {
        use ErrorCode::{ShuttingDown, SlowConsumer, TooManyConnections, Unauthorized, VersionUnsupported};
        match error.code {
            VersionUnsupported | Unauthorized => return refused(error),
            SlowConsumer | TooManyConnections | ShuttingDown => return reconnect(&error),
            _ => {}
        }
        match error.id.clone() {
            Some(id) => {
                self.on_error_about(&id, error);
                Next::Continue
            }
            // Without a session nothing goes here any more.
            None if error.code == ErrorCode::HelloRequired => reconnect(&error),
            None => {
                self.tell(Event::Error(error));
                Next::Continue
            }
        }
    }

    fn on_error_about(&mut self, id: &protocol::MessageId, error: ErrorFrame) {
        if self.requests.end(id, || Err(RequestError::Refused(error.clone()))) != Whose::Nobodys {
            return;
        }
        if error.code == ErrorCode::NotFound {
            // The answer to a stop that came too late; the message has had its end, or will.
            self.tell(Event::Error(error));
        } else if self.messages.remove(id) {
            self.answers.forget(id);
            self.tell(Event::Refused(error));
            self.fill();
        } else if !self.answers.is_settled(id) {
            self.answers.forget(id);
            self.tell(Event::Error(error));
        }
    }
}

fn refused(error: ErrorFrame) -> Next {
    Next::Close(Closed::Refused { why: error.message.clone(), error: Some(Box::new(error)) })
}

fn reconnect(error: &ErrorFrame) -> Next {
    Next::Reconnect { why: error.message.clone(), after: error.retry_after_ms.map(Duration::from_millis) }
}
