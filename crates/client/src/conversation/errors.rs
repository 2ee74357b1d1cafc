//! What errors of the server mean for the conversation.

use std::time::Duration;

use protocol::server_frame::ErrorFrame;
use protocol::{ErrorCode, MessageId};

use super::requests::Whose;
use super::{Conversation, Next};
use crate::error::RequestError;
use crate::event::{Closed, Event};

/// Where a server that refuses for now does not say how long.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);
/// How often a message is sent to a server that opens the session and then does not know it.
const MAX_NOT_FOUND: u32 = 3;

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
            Some(id) => self.on_error_about(&id, error),
            // Without a session nothing goes here any more.
            None if error.code == ErrorCode::HelloRequired => reconnect(&error),
            None => {
                self.tell(Event::Error(error));
                Next::Continue
            }
        }
    }

    fn on_error_about(&mut self, id: &MessageId, error: ErrorFrame) -> Next {
        if self.requests.end(id, || Err(RequestError::Refused(error.clone()))) != Whose::Nobodys {
            return Next::Continue;
        }
        if error.code == ErrorCode::NotFound {
            return self.on_not_found(id, error);
        }
        // Own messages are in its way: it goes again when one of them has its end.
        if error.code == ErrorCode::UserBusy && self.messages.queue(id) {
            self.answers.begin_again(id);
            return Next::Continue;
        }
        if let Some(after) = self.retry_after(id, &error) {
            self.answers.begin_again(id);
            self.tell(Event::Deferred { error, after });
            return Next::Later { id: id.clone(), after };
        }
        if self.messages.remove(id) {
            self.answers.forget(id);
            self.tell(Event::Refused(error));
            self.fill();
        } else if !self.answers.is_settled(id) {
            self.answers.forget(id);
            self.tell(Event::Error(error));
        }
        Next::Continue
    }

    /// The answer to a stop that came too late: the message has had its end, or will. Without a stop it is
    /// the session that is gone: the message goes to the one that the next connection finds.
    fn on_not_found(&mut self, id: &MessageId, error: ErrorFrame) -> Next {
        if !self.messages.contains(id) || self.messages.is_stopping(id) {
            self.tell(Event::Error(error));
            return Next::Continue;
        }
        if MAX_NOT_FOUND <= self.messages.count_try(id) {
            self.messages.remove(id);
            self.tell(Event::Refused(error));
            self.fill();
            return Next::Continue;
        }
        reconnect(&error)
    }

    /// When message `id` is to be sent again, if it is refused for now and there is a try left.
    fn retry_after(&mut self, id: &MessageId, error: &ErrorFrame) -> Option<Duration> {
        use ErrorCode::{Overloaded, RateLimited, Unavailable, UserBusy};
        if !matches!(error.code, Overloaded | RateLimited | Unavailable | UserBusy) {
            return None;
        }
        let after = error.retry_after_ms.map_or(DEFAULT_RETRY, Duration::from_millis);
        self.messages.defer(id, self.introduction.tries).then_some(after)
    }
}

fn refused(error: ErrorFrame) -> Next {
    Next::Close(Closed::Refused { why: error.message.clone(), error: Some(Box::new(error)) })
}

fn reconnect(error: &ErrorFrame) -> Next {
    Next::Reconnect { why: error.message.clone(), after: error.retry_after_ms.map(Duration::from_millis) }
}
