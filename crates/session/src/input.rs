//! Inputs of a session.

use std::time::Instant;

use protocol::server_frame::{Done, Entry, Forgotten};
use protocol::{Country, Locale, MessageId, ResumeToken, ServerFrame, Timestamp};

use crate::effect::{AnswerQuery, ClaimsQuery, Delta};
use crate::event::{CoreId, SessionEvent};
use crate::ids::{ConnectionId, Ticket};
use crate::message::{Failure, Message, MessageRejection, Risk};

/// Time of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Base of durations and deadlines.
    pub instant: Instant,
    /// Calendar time, for entries and for the memory of risk.
    pub wall: Timestamp,
}

/// Input of a session.
#[derive(Debug)]
pub enum Input {
    /// A connection has ended. Its messages are still answered.
    Detach(ConnectionId),
    /// The client closed its sending side: it still receives, but may be gone for good.
    HalfClose(ConnectionId),
    /// A client submits a message; [`Session::assess`](crate::Session::assess) has read it.
    Submit {
        /// The connection.
        from: ConnectionId,
        /// The message.
        message: Message,
        /// Completed once the message is accepted or rejected.
        ticket: Ticket,
    },
    /// A client stops the answer to a message.
    Stop(MessageId),
    /// A client stops the answer to a message that another core holds the claim to.
    StopRemotely(MessageId),
    /// Stores and publishes a language that the person chose.
    SetLocale(Locale, Ticket),
    /// Uses, stores and publishes a country that the person chose.
    SetCountry(Country, Ticket),
    /// Erases the last message with its help and its answer, which is stopped first.
    ForgetLast {
        /// The connection that asks for it, which gets no frame about it.
        from: ConnectionId,
        /// Completed with the result.
        ticket: Ticket,
    },
    /// Replaces the resume token, and closes every other connection.
    RotateResume {
        /// The connection that asks for it, which stays open.
        from: ConnectionId,
        /// The new token.
        token: ResumeToken,
        /// Completed with the token.
        ticket: Ticket,
    },
    /// Erases the session.
    Erase(Ticket),
    /// Publishes entries that are stored and not published here yet.
    CatchUp(Ticket),
    /// Sends recent help again, with the lines of the country in force.
    ResendHelp,
    /// Stores help that was shown for a text that is not submitted.
    SaveHelp,
    /// Publishes a frame to every connection, here and on other cores.
    Broadcast(ServerFrame),
    /// The running turn has made progress.
    Turn(TurnEvent),
    /// Result of [`Effect::Store`](crate::Effect::Store).
    Stored(Result<Stored, Failure>),
    /// Result of [`Effect::ReadClaims`](crate::Effect::ReadClaims).
    Claims(ClaimsQuery, Claims),
    /// Result of [`Effect::ReadAnswer`](crate::Effect::ReadAnswer): the message has a stored answer.
    AnswerRead(AnswerQuery, Result<bool, Failure>),
    /// Another core has published an event.
    Remote(CoreId, SessionEvent),
    /// The subscription to the session's events is active.
    Subscribed,
    /// The event published at this revision reached no other core.
    NoSubscribers(u64),
    /// The store no longer has the session, as a read outside of it has found.
    Missing,
    /// Check for dead cores, at regular intervals. Without a connection to the cluster silence is no sign of death.
    Tick {
        /// The cluster is connected.
        is_connected: bool,
    },
    /// The deadline of [`Session::deadline`](crate::Session::deadline) has passed.
    Timeout,
    /// The server goes away: nothing is retried later.
    Drain,
}

/// Event of the running turn.
#[derive(Debug)]
pub enum TurnEvent {
    /// It goes on.
    Progress(Progress),
    /// All of the answer is generated. The turn waits for [`Effect::RecordTurn`](crate::Effect::RecordTurn).
    Generated,
    /// It is over, and its claim is released.
    Ended(Ended),
}

/// Progress of the running turn.
#[derive(Debug)]
pub enum Progress {
    /// It waits for a model slot behind so many others.
    Queued(usize),
    /// It has its model slot.
    Started,
    /// The next text of the answer.
    Delta(Delta),
    /// Discards the deltas so far: the next one is the answer's first.
    Restarted,
    /// A second opinion has raised the risk of its message.
    RiskRaised(Risk),
}

/// End of a turn.
#[derive(Debug)]
pub enum Ended {
    /// The answer is complete, and stored if it has a `seq`.
    Done(Box<Done>),
    /// The generation has failed, without [`TurnEvent::Generated`] before.
    Failed(Failure),
    /// The answer could not be recorded.
    NotRecorded(Failure),
}

/// Result of a [`StoreRequest`](crate::StoreRequest).
#[derive(Debug)]
pub enum Stored {
    /// Of `SetLocale` and `SetCountry`.
    Saved,
    /// Of `Admit`.
    Admission(Admission),
    /// Of `Retry`.
    Retry(Result<AnswerOwner, MessageRejection>),
    /// Of `AppendHelp`: stored now.
    Appended(Box<Entry>),
    /// Of `AppendHelp`: an entry with its id and role is stored.
    Existing(u64),
    /// Of `ReadRecord`; `None` if the store no longer has the session.
    Record(Option<StoredSession>),
    /// Of `ReadEntries`.
    Entries(EntryPage),
    /// Of `RotateResume`: number of times that the token was replaced.
    Rotated(u64),
    /// Of `ReadLastMessage`.
    LastMessage(Option<MessageId>),
    /// Of `Forget`; `None` if there is no such message any more.
    Forgotten(Option<Erased>),
    /// Of `Erase`: number of entries.
    Erased(u64),
}

/// Decision on a message.
#[derive(Debug)]
pub enum Admission<P = Grant> {
    /// Stored now.
    Accepted(Entry, AnswerOwner<P>),
    /// Stored before: its entry, help and, when there is one, its answer, oldest first.
    Known(Vec<Entry>, AnswerOwner<P>),
    /// It was stored before, and forgotten.
    Forgotten(Forgotten),
    /// Neither stored nor answered.
    Rejected(MessageRejection),
}

impl<P> Admission<P> {
    /// Converts the permit of an answer that this core gives.
    pub fn map_permit<Q>(self, convert: impl FnOnce(P) -> Q) -> Admission<Q> {
        match self {
            Self::Accepted(entry, owner) => Admission::Accepted(entry, owner.map_permit(convert)),
            Self::Known(entries, owner) => Admission::Known(entries, owner.map_permit(convert)),
            Self::Forgotten(forgotten) => Admission::Forgotten(forgotten),
            Self::Rejected(rejection) => Admission::Rejected(rejection),
        }
    }
}

/// Core that answers a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerOwner<P = Grant> {
    /// This core, within a permit. The owner of the session keeps it; the session gets its conditions.
    ThisCore(P),
    /// Another core, which holds the claim.
    OtherCore,
}

impl<P> AnswerOwner<P> {
    /// Converts the permit.
    pub fn map_permit<Q>(self, convert: impl FnOnce(P) -> Q) -> AnswerOwner<Q> {
        match self {
            Self::ThisCore(permit) => AnswerOwner::ThisCore(convert(permit)),
            Self::OtherCore => AnswerOwner::OtherCore,
        }
    }
}

/// Conditions of a permit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grant {
    /// Other messages of the session, perhaps on other cores, are answered first.
    pub is_behind_others: bool,
    /// It was given beyond the limits.
    pub is_beyond_limits: bool,
}

/// Record of the session, as far as it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSession {
    /// Highest `seq`.
    pub seq: u64,
    /// Language of answers.
    pub locale: Locale,
    /// Number of times that the resume token was replaced.
    pub rotations: u64,
}

/// A message that is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// The message, and the number of the erasure.
    pub forgotten: Forgotten,
    /// Number of entries removed.
    pub entries: u64,
}

/// Page of entries.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryPage {
    /// Readable entries, oldest first.
    pub entries: Vec<Entry>,
    /// Forgotten messages, oldest first.
    pub forgotten: Vec<Forgotten>,
    /// Rows of the page, readable or not.
    pub rows: usize,
    /// Highest `seq` of the page, readable or not; `None` for an empty page.
    pub last_seq: Option<u64>,
}

/// Claims to the session's messages in flight, as far as the query needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claims {
    /// The cluster is not connected.
    Unknown,
    /// [`ClaimsQuery::Order`]: another core answers first.
    OtherCoreFirst,
    /// [`ClaimsQuery::Order`]: this core is next.
    ThisCoreFirst,
    /// [`ClaimsQuery::Followed`]: a live core holds the claim.
    Held,
    /// [`ClaimsQuery::Followed`]: no live core does.
    Free,
}
