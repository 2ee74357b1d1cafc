//! Queue of operations on the store.
//!
//! One at a time: from before an entry is stored until it is published no other one is stored by this core, so that
//! every connection gets entries in the order of their `seq`, and limits are checked for one message at a time.

use std::collections::VecDeque;

use protocol::server_frame::{Done, Entry};
use protocol::{Country, Locale, MessageId, ResumeToken};

use crate::ids::{ConnectionId, Ticket};
use crate::input::{AnswerOwner, Erased};
use crate::message::Message;
use crate::replicas::StoredMessage;

/// Entries per read of a catch-up.
pub(crate) const PAGE_ENTRIES: usize = 200;

/// A submitted message, until it is accepted or rejected.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) from: ConnectionId,
    pub(crate) message: Message,
    pub(crate) ticket: Ticket,
}

/// A resume token to be replaced.
#[derive(Debug)]
pub(crate) struct Rotation {
    pub(crate) from: ConnectionId,
    /// The new token.
    pub(crate) token: ResumeToken,
    pub(crate) ticket: Ticket,
}

/// A message to be forgotten.
#[derive(Debug)]
pub(crate) struct Forgetting {
    pub(crate) from: ConnectionId,
    pub(crate) ticket: Ticket,
    /// The last message, once it is known.
    pub(crate) id: Option<MessageId>,
}

/// Operation that is to be started.
#[derive(Debug)]
pub(crate) enum Commit {
    Admit(Box<Submission>),
    /// Records the answer of the turn that has ended its generation.
    Record(MessageId),
    /// Stores the oldest help that is not stored yet.
    SaveHelp,
    CatchUp(CatchUpReason),
    /// Answers a message here that no other core answers.
    TakeOver(MessageId),
    SetLocale(Locale, Ticket),
    SetCountry(Country, Ticket),
    RotateResume(Rotation),
    Forget(Forgetting),
    Erase(Ticket),
    /// Ends a session that is not kept.
    Expire,
}

/// Reason of a catch-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CatchUpReason {
    /// Events were missed.
    Gap,
    /// A call awaits it.
    Call(Ticket),
    /// The end of a followed answer may have been missed.
    Followed(MessageId),
}

/// Operation in progress.
#[derive(Debug)]
pub(crate) enum Active {
    /// The language that was detected, before the admission behind it.
    SaveLocale(Locale, Option<Ticket>),
    /// The country that a message has named, or that the person chose.
    SaveCountry(Country, Option<Ticket>),
    Admit(Box<Submission>),
    Record,
    AppendHelp(MessageId),
    /// Reads the record. `spoken`: the language at that time.
    ReadRecord {
        reason: CatchUpReason,
        spoken: Locale,
    },
    Retry(Box<StoredMessage>),
    RotateResume(Rotation),
    ReadLastMessage(Forgetting),
    Forget(Forgetting),
    Erase(Ticket),
    Expire,
    /// Reads and publishes missed entries, and continues.
    ReadEntries(Box<CatchUp>),
}

/// Missed entries that are being read.
#[derive(Debug)]
pub(crate) struct CatchUp {
    /// Highest `seq` to publish.
    pub(crate) last: u64,
    /// Message whose entries the connection that has resubmitted it gets separately.
    pub(crate) own: Option<(ConnectionId, MessageId)>,
    pub(crate) then: Then,
}

/// Continuation of a commit, once every entry before its own is published.
#[derive(Debug)]
pub(crate) enum Then {
    Accept(Box<Submission>, Entry, AnswerOwner),
    Resubmit(Box<Submission>, Vec<Entry>, AnswerOwner),
    PublishDone(Box<Done>),
    PublishHelp(Box<Entry>),
    /// The help of this message was stored before.
    ForgetHelp(MessageId),
    Forget(Forgetting, Erased),
    CaughtUp(CatchUpReason),
}

/// Operations on the store, first come, first served.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    queue: VecDeque<Commit>,
    active: Option<Active>,
}

impl Commits {
    pub(crate) fn push(&mut self, commit: Commit) {
        // One catch-up that has not begun covers all gaps so far.
        let is_covered = matches!(&commit, Commit::CatchUp(CatchUpReason::Gap))
            && self.queue.iter().any(|queued| matches!(queued, Commit::CatchUp(_)));
        if !is_covered {
            self.queue.push_back(commit);
        }
    }

    /// Puts an operation before all others.
    pub(crate) fn push_front(&mut self, commit: Commit) {
        self.queue.push_front(commit);
    }

    /// Takes the next operation, if none is in progress.
    pub(crate) fn next(&mut self) -> Option<Commit> {
        if self.active.is_some() {
            return None;
        }
        let commit = self.queue.pop_front();
        if self.queue.is_empty() {
            // Frees the buffer: most sessions are idle.
            self.queue = VecDeque::new();
        }
        commit
    }

    pub(crate) fn begin(&mut self, active: Active) {
        self.active = Some(active);
    }

    pub(crate) fn active(&self) -> Option<&Active> {
        self.active.as_ref()
    }

    pub(crate) fn take_active(&mut self) -> Option<Active> {
        self.active.take()
    }

    /// Number of messages in admission.
    pub(crate) fn admissions(&self) -> usize {
        let queued = self.queue.iter().filter(|commit| matches!(commit, Commit::Admit(_))).count();
        let active = match &self.active {
            Some(Active::Admit(_)) => true,
            Some(Active::ReadEntries(catch_up)) => matches!(catch_up.then, Then::Accept(..) | Then::Resubmit(..)),
            _ => false,
        };
        queued + usize::from(active)
    }

    /// Returns true if help is being stored, or will be.
    pub(crate) fn is_saving_help(&self) -> bool {
        let is_active = match &self.active {
            Some(Active::AppendHelp(_)) => true,
            Some(Active::ReadEntries(it)) => matches!(it.then, Then::PublishHelp(_) | Then::ForgetHelp(_)),
            _ => false,
        };
        is_active || self.queue.iter().any(|commit| matches!(commit, Commit::SaveHelp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap() -> Commit {
        Commit::CatchUp(CatchUpReason::Gap)
    }

    /// Returns the kinds of the operations, in their order.
    fn drained(commits: &mut Commits) -> Vec<&'static str> {
        let kind = |commit| match commit {
            Commit::SaveHelp => "help",
            Commit::CatchUp(CatchUpReason::Gap) => "gap",
            Commit::CatchUp(_) => "call",
            _ => "other",
        };
        std::iter::from_fn(|| commits.next()).map(kind).collect()
    }

    #[test]
    fn one_catch_up_covers_all_gaps_before_it_begins() {
        let call = || Commit::CatchUp(CatchUpReason::Call(Ticket(1)));
        for (pushed, want) in [
            (vec![gap(), gap()], vec!["gap"]),
            (vec![call(), gap()], vec!["call"]),
            // Every call gets its completion.
            (vec![gap(), call(), call()], vec!["gap", "call", "call"]),
        ] {
            let mut commits = Commits::default();
            pushed.into_iter().for_each(|commit| commits.push(commit));
            assert_eq!(drained(&mut commits), want);
        }
        let mut commits = Commits::default();
        commits.push(gap());
        commits.next();
        commits.push(gap());
        assert_eq!(drained(&mut commits), ["gap"], "the first has begun");
    }

    #[test]
    fn one_operation_is_in_progress_at_once() {
        let mut commits = Commits::default();
        commits.push(gap());
        commits.push_front(Commit::SaveHelp);
        commits.begin(Active::Record);
        assert!(commits.next().is_none() && commits.is_saving_help());
        commits.take_active();
        assert_eq!(drained(&mut commits), ["help", "gap"]);
        assert!(!commits.is_saving_help());
    }
}
