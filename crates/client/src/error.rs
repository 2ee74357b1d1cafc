//! What a caller may be told instead of what it wanted.

use protocol::server_frame::ErrorFrame;

use crate::event::Closed;

/// Why a client could not be connected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{closed}")]
pub struct ConnectError {
    /// What ended the attempt.
    pub closed: Closed,
}

/// Why a message or stop was not taken. Nothing of it was or will be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is nothing in it but white space, or it has a U+0000.
    #[error("a message needs text")]
    NoText,
    /// It is longer than a message may be.
    #[error("a message has at most {max} characters")]
    TooLong {
        /// The most it may have, in Unicode scalar values.
        max: usize,
    },
    /// As many as may wait do: take events until an answer is there.
    #[error("too many messages wait for their answers")]
    Full,
    /// The conversation is over.
    #[error("the conversation is over")]
    Closed,
}

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The server answered with an error.
    #[error("{}", .0.message)]
    Refused(ErrorFrame),
    /// Neither result nor error came in time.
    #[error("no answer in time")]
    TimedOut,
    /// The result is none of this method.
    #[error("an answer to something else")]
    Unexpected,
    /// So many events wait that no more are taken in; take some, then ask again.
    #[error("too many events wait")]
    Backlog,
    /// The conversation is over.
    #[error("the conversation is over")]
    Closed,
}
