//! Effects that a session starts.

use protocol::server_frame::{Exercise, Help, Support};
use protocol::{CloseReason, Country, ErrorCode, Language, Locale, MessageId, ResumeToken, ServerFrame, UserText};
use safety::resources::Need;

use crate::event::SessionEvent;
use crate::ids::{ConnectionId, Ticket};
use crate::message::{Failure, Message, Turn};

/// Action of the session's owner. Effects are started in their order; one that waits, such as a [`StoreRequest`],
/// returns its result as an [`Input`](crate::Input).
#[derive(Debug)]
pub enum Effect {
    /// Queues a frame for connections of this core.
    Send(Recipients, ServerFrame),
    /// Queues the next text of an answer for every connection of this core.
    SendDelta(Delta),
    /// Closes a connection once its queued frames are written. The session has detached it.
    Close(ConnectionId, CloseReason),
    /// Makes every connection check whether it may close: the session is idle.
    Wake,
    /// Starts an operation on the store. At most one is pending; [`Input::Stored`](crate::Input::Stored) has its result.
    Store(StoreRequest),
    /// Starts to generate an answer. At most one turn is in progress.
    StartTurn(Box<Turn>),
    /// Ends the generation of the running turn, with the text so far.
    CancelTurn(MessageId),
    /// Lets the running turn record its answer, and then release its claim. `after`: highest known `seq`; `None`
    /// discards the answer. [`TurnEvent::Ended`](crate::TurnEvent::Ended) has the result.
    RecordTurn {
        /// The message.
        id: MessageId,
        /// Highest known `seq`.
        after: Option<u64>,
    },
    /// Releases the claim to a message that is not answered here after all.
    Release {
        /// The message.
        id: MessageId,
        /// The person stopped it.
        is_stopped: bool,
    },
    /// Reads the claims to the session's messages in flight. [`Input::Claims`](crate::Input::Claims) has the result.
    ReadClaims(ClaimsQuery),
    /// Reads whether a message has a stored answer. [`Input::AnswerRead`](crate::Input::AnswerRead) has the result.
    ReadAnswer(AnswerQuery),
    /// Publishes an event to the other cores.
    Publish {
        /// The event.
        event: SessionEvent,
        /// Number of events received so far; see [`Input::NoSubscribers`](crate::Input::NoSubscribers).
        revision: u64,
    },
    /// Completes a call.
    Complete(Ticket, Result<Completed, Failure>),
    /// Updates a metric.
    Count(Count),
}

/// Connections of this core that get a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipients {
    /// Every connection.
    All,
    /// Every connection but this one.
    AllExcept(ConnectionId),
    /// One connection.
    Only(ConnectionId),
}

/// Next text of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The message.
    pub id: MessageId,
    /// Characters of the answer before `text`.
    pub offset: usize,
    /// Length of `text` in characters.
    pub chars: usize,
    /// The text.
    pub text: UserText,
    /// Exercise that the answer offers or continues.
    pub exercise: Option<Exercise>,
}

impl Delta {
    /// Converts to the wire.
    pub fn into_frame(self) -> ServerFrame {
        let Self { id, offset, text, exercise, .. } = self;
        ServerFrame::Delta { id, offset, text, exercise }
    }
}

/// Operation on the store.
#[derive(Debug, Clone)]
pub enum StoreRequest {
    /// Stores the language.
    SetLocale(Locale),
    /// Stores the country.
    SetCountry(Country),
    /// Checks the limits, claims the message and stores it.
    Admit(AdmissionRequest),
    /// Checks the limits for another attempt to answer a stored message, and claims it.
    Retry(AdmissionRequest),
    /// Appends help that was shown, unless it is stored already.
    AppendHelp {
        /// The help.
        support: Box<Support>,
        /// Highest known `seq`.
        after: u64,
    },
    /// Reads the session's record.
    ReadRecord {
        /// No call waits for it: the owner may bound such reads.
        is_background: bool,
    },
    /// Reads a page of entries.
    ReadEntries {
        /// The page starts after this `seq`.
        after: u64,
        /// Most entries of the page.
        limit: usize,
    },
    /// Replaces the resume token.
    RotateResume(ResumeToken),
    /// Reads the id of the last message.
    ReadLastMessage,
    /// Removes a message with its help and its answer.
    Forget {
        /// The message.
        id: MessageId,
        /// The risk in force, without resources: it outlives the message.
        help: Option<Box<Help>>,
    },
    /// Erases the session.
    Erase,
}

/// Message to admit.
#[derive(Debug, Clone)]
pub struct AdmissionRequest {
    /// The message.
    pub message: Message,
    /// Highest known `seq`.
    pub after: u64,
    /// The person has the most messages in flight on this core.
    pub is_busy: bool,
}

/// Reason to read claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimsQuery {
    /// The next turn may be behind messages that other cores answer.
    Order,
    /// The answer to a message is followed on another core.
    Followed(MessageId),
}

/// Reason to read whether a message is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerQuery {
    /// Its claim is gone.
    Followed(MessageId),
    /// Another core has published this error for it.
    RemoteError(Box<protocol::server_frame::ErrorFrame>),
}

/// Result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completed {
    /// It has taken effect.
    Done,
    /// The session has this resume token from now on.
    Rotated(ResumeToken),
    /// The last message is forgotten.
    Forgotten {
        /// The message; `None` if there was none.
        id: Option<MessageId>,
        /// Number of entries removed.
        erased: u64,
        /// Highest `seq` from now on.
        seq: u64,
    },
    /// The session is erased; it had so many entries.
    Erased(u64),
}

/// Occurrence that is counted in a metric.
#[derive(Debug)]
pub enum Count {
    /// A message was accepted.
    Accepted,
    /// A message was resubmitted.
    Deduplicated,
    /// A message was rejected with this code.
    Rejected(ErrorCode),
    /// A message is answered beyond the limits.
    BeyondLimits,
    /// A turn was stopped before it was started.
    Unstarted(Box<Turn>),
    /// Help was shown.
    HelpShown(Need, Language),
}
