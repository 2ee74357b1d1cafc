//! Maps server errors to actions and events.

use std::time::Duration;

use protocol::server_frame::ErrorFrame;
use protocol::{ErrorCode, MessageId};

use super::requests::RequestOwner;
use super::{Action, Conversation};
use crate::error::RequestError;
use crate::event::{Closed, Event};

/// Retry delay if a retryable error carries no `retry_after_ms`.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);
/// Attempts at a server that opens the session and then reports it as `not_found`.
const MAX_NOT_FOUND_ATTEMPTS: u32 = 3;

impl Conversation {
    /// Handles an error in reply to `hello`.
    pub(super) fn on_hello_error(&mut self, error: ErrorFrame) -> Action {
        use ErrorCode::{BadFrame, BadResume, InvalidUtf8, LineTooLong, Unauthorized, UnknownType, VersionUnsupported};
        match error.code {
            BadResume if self.options.allow_new_session => {
                self.offer_next_token();
                Action::Continue
            }
            BadResume => Action::Close(Closed::BadResume { error: Box::new(error) }),
            // The same `hello` would fail again.
            VersionUnsupported | Unauthorized | BadFrame | UnknownType | LineTooLong | InvalidUtf8 => refused(error),
            _ => reconnect(&error),
        }
    }

    /// Offers the next earlier session on the same connection, at last a new one. No token is
    /// dropped: the server may run with another database for a while.
    fn offer_next_token(&mut self) {
        self.options.tokens.refused();
        if self.options.tokens.offered().is_none() {
            self.reset_session();
            self.emit(Event::SessionLost);
        }
        self.hello = Some(self.hello_frame());
    }

    /// Switches to another session, which receives the unanswered messages.
    pub(super) fn reset_session(&mut self) {
        self.last_seq = None;
        self.session = None;
        self.messages.forget_acceptance();
    }

    /// Handles an error after `welcome`.
    pub(super) fn on_error(&mut self, error: ErrorFrame) -> Action {
        use ErrorCode::{ShuttingDown, SlowConsumer, TooManyConnections, Unauthorized, VersionUnsupported};
        match error.code {
            VersionUnsupported | Unauthorized => return refused(error),
            SlowConsumer | TooManyConnections | ShuttingDown => return reconnect(&error),
            _ => {}
        }
        match error.id.clone() {
            Some(id) => self.on_message_error(&id, error),
            // The server has no session for this connection: only a new handshake helps.
            None if error.code == ErrorCode::HelloRequired => reconnect(&error),
            None => {
                self.emit(Event::Error(error));
                Action::Continue
            }
        }
    }

    fn on_message_error(&mut self, id: &MessageId, error: ErrorFrame) -> Action {
        // Requests are checked first: they share the id space with messages.
        if self.requests.end(id, || Err(RequestError::Refused(error.clone()))) != RequestOwner::Unknown {
            return Action::Continue;
        }
        if error.code == ErrorCode::NotFound {
            return self.on_not_found(id, error);
        }
        // Own messages occupy the user's slots: retry when one of them finishes, without a timer.
        if error.code == ErrorCode::UserBusy && self.messages.queue(id) {
            self.answers.restart(id);
            return Action::Continue;
        }
        if let Some(after) = self.retry_after(id, &error) {
            self.answers.restart(id);
            self.emit(Event::Deferred { error, after });
            return Action::Retry { id: id.clone(), after };
        }
        if self.messages.remove(id) {
            self.answers.forget(id);
            self.emit(Event::Refused(error));
            self.fill_window();
        } else if !self.answers.is_delivered(id) {
            self.answers.forget(id);
            self.emit(Event::Error(error));
        }
        Action::Continue
    }

    /// Handles `not_found`: after a stop, the stop was too late and the message ends by itself;
    /// otherwise the session is gone and the message goes to the session of the next connection.
    fn on_not_found(&mut self, id: &MessageId, error: ErrorFrame) -> Action {
        if !self.messages.contains(id) || self.messages.is_stopping(id) {
            self.emit(Event::Error(error));
            return Action::Continue;
        }
        if MAX_NOT_FOUND_ATTEMPTS <= self.messages.count_attempt(id) {
            self.messages.remove(id);
            self.emit(Event::Refused(error));
            self.fill_window();
            return Action::Continue;
        }
        reconnect(&error)
    }

    /// Retry delay of message `id`, if the error is retryable and an attempt is left.
    fn retry_after(&mut self, id: &MessageId, error: &ErrorFrame) -> Option<Duration> {
        use ErrorCode::{Overloaded, RateLimited, Unavailable, UserBusy};
        if !matches!(error.code, Overloaded | RateLimited | Unavailable | UserBusy) {
            return None;
        }
        let after = error.retry_after_ms.map_or(DEFAULT_RETRY, Duration::from_millis);
        self.messages.defer(id, self.options.send_attempts).then_some(after)
    }
}

fn refused(error: ErrorFrame) -> Action {
    Action::Close(Closed::Refused { why: error.message.clone(), error: Some(Box::new(error)) })
}

fn reconnect(error: &ErrorFrame) -> Action {
    Action::Reconnect { why: error.message.clone(), after: error.retry_after_ms.map(Duration::from_millis) }
}
