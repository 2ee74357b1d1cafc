//! Client errors.

use protocol::server_frame::ErrorFrame;

use crate::event::Closed;

/// Connecting failed for good.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{closed}")]
pub struct ConnectError {
    /// The final condition, as in [`Event::Closed`](crate::Event::Closed).
    pub closed: Closed,
}

/// A message or stop was rejected locally. Nothing was sent or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The text is blank or contains U+0000.
    #[error("a message needs text")]
    NoText,
    /// The text exceeds the contract's limit.
    #[error("a message has at most {max} characters")]
    TooLong {
        /// Limit in Unicode scalar values.
        max: usize,
    },
    /// Too many messages are pending: take events until an answer has arrived.
    #[error("too many messages wait for their answers")]
    Full,
    /// The conversation is over.
    #[error("the conversation is over")]
    Closed,
}

/// A request failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The server answered with an error.
    #[error("{}", .0.message)]
    Refused(ErrorFrame),
    /// Neither result nor error arrived in time.
    #[error("no answer in time")]
    TimedOut,
    /// The result is of another method.
    #[error("an answer to something else")]
    Unexpected,
    /// The event queue is full: take events, then repeat the request.
    #[error("too many events wait")]
    Backlog,
    /// The conversation is over.
    #[error("the conversation is over")]
    Closed,
}
