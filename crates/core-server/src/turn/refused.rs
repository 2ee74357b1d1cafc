//! Messages that a provider has refused, left out of what the model gets to read later: sent again with every prompt,
//! one of them would cost the person the model for as long as it stands in their history.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::UserLabel;
use protocol::server_frame::{Entry, Role, Source};

use super::context::Prompt;
use super::exchange::Exchange;
use super::{Engine, Job};
use crate::llm::{Answer, CallContext, LlmError, Model};
use crate::store::StoreError;

/// Most messages that are remembered, of all sessions together, the newest. A forgotten one is found out again.
const MOST: usize = 4_096;

/// Messages that are left out, by their `seq`. Not stored: another provider, or the next version of a filter, may take
/// them.
#[derive(Debug, Default)]
pub(super) struct RefusedMessages(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    known: HashSet<(UserLabel, u64)>,
    /// The same, oldest first.
    order: VecDeque<(UserLabel, u64)>,
}

/// An exchange that a prompt holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) seq: u64,
    /// Length of its texts.
    pub(super) bytes: usize,
    /// The companion answered it: perhaps because it was refused.
    pub(super) by_companion: bool,
}

/// Why no prompt was answered.
pub(super) enum NoAnswer {
    Model(LlmError),
    Store(StoreError),
}

impl Shown {
    /// `exchange` as it stands in a prompt.
    pub(super) fn of(exchange: &Exchange) -> Self {
        let answer = exchange.answer.as_ref().map_or(0, |answer| answer.expose().len());
        Self { seq: exchange.seq, bytes: exchange.question.expose().len() + answer, by_companion: false }
    }
}

impl RefusedMessages {
    /// Leaves the messages of `user` with these `seqs` out of later prompts.
    fn note(&self, user: UserLabel, seqs: impl IntoIterator<Item = u64>) {
        let mut kept = self.kept();
        for message in seqs.into_iter().map(|seq| (user, seq)) {
            if kept.known.insert(message) {
                kept.order.push_back(message);
            }
        }
        while MOST < kept.order.len() {
            if let Some(oldest) = kept.order.pop_front() {
                kept.known.remove(&oldest);
            }
        }
    }

    /// Those of `exchanges`, which are `user`'s, that may be sent.
    pub(super) fn without(&self, user: UserLabel, mut exchanges: Vec<Exchange>) -> Vec<Exchange> {
        let kept = self.kept();
        exchanges.retain(|exchange| !kept.known.contains(&(user, exchange.seq)));
        exchanges
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The `seq` of the messages among `entries` that the companion has answered.
pub(super) fn answered_by_companion(entries: &[Entry]) -> HashSet<u64> {
    let is_companions = |entry: &&Entry| entry.role == Role::Assistant && entry.source == Some(Source::Companion);
    let ids: HashSet<_> = entries.iter().filter(is_companions).map(|entry| &entry.id).collect();
    entries.iter().filter(|entry| entry.role == Role::User && ids.contains(&entry.id)).map(|entry| entry.seq).collect()
}

impl Engine {
    /// Opens the answer of `model` to `job` with `prompt`. What is refused is asked once more without the part of the
    /// history that may be the cause; the prompt that was answered is given back. What proves to be the cause is
    /// left out from then on.
    pub(super) async fn open_answer<'a>(
        &self,
        model: &'a Model,
        job: &Job,
        prompt: Prompt,
        context: CallContext,
    ) -> Result<(Answer<'a>, Prompt), NoAnswer> {
        let error = match model.open(&prompt.messages, context).await {
            Ok(answer) => return Ok((answer, prompt)),
            Err(error) => error,
        };
        let (user, refused) = (job.label.user, &self.context.refused);
        let cause = if error.is_flagged() {
            suspects(&prompt.shown)
        } else if error.is_too_long() {
            too_much(&prompt.shown, job.text.expose().len())
        } else {
            if error.is_filtered() {
                refused.note(user, [job.seq]);
            }
            return Err(NoAnswer::Model(error));
        };
        if cause.is_empty() {
            refused.note(user, [job.seq]);
            return Err(NoAnswer::Model(error));
        }
        let smaller = self.context.build_without(&*self.store, job, &cause).await.map_err(NoAnswer::Store)?;
        match model.open(&smaller.messages, context).await {
            Ok(answer) => {
                refused.note(user, cause);
                Ok((answer, smaller))
            }
            Err(error) => {
                if error.is_flagged() {
                    refused.note(user, [job.seq]);
                } else if error.is_too_long() {
                    // Without a history it is the message itself.
                    refused.note(user, if smaller.shown.is_empty() { vec![job.seq] } else { cause });
                }
                Err(NoAnswer::Model(error))
            }
        }
    }
}

/// Messages of an earlier prompt that may have been flagged themselves: the model has not answered them.
fn suspects(shown: &[Shown]) -> Vec<u64> {
    shown.iter().filter(|shown| shown.by_companion).map(|shown| shown.seq).collect()
}

/// The older messages of a prompt that is too long, so that at most half of its bytes remain. Bytes and not
/// characters: the estimate by characters has just proved wrong, and what it is wrong about has more bytes to a
/// character. `message`: the bytes of the message itself, which has to stay.
fn too_much(shown: &[Shown], message: usize) -> Vec<u64> {
    let total = message + shown.iter().map(|shown| shown.bytes).sum::<usize>();
    let mut room = (total / 2).saturating_sub(message);
    let fitting = shown.iter().rev().take_while(|shown| {
        let fits = shown.bytes <= room;
        room = room.saturating_sub(shown.bytes);
        fits
    });
    let kept = fitting.count();
    shown[..shown.len() - kept].iter().map(|shown| shown.seq).collect()
}

#[cfg(test)]
mod tests {
    use protocol::UserText;

    use super::*;

    fn exchange(seq: u64) -> Exchange {
        Exchange { seq, question: UserText::new("q"), answer: None, help_lines: false }
    }

    #[test]
    fn only_the_newest_are_remembered() {
        let refused = RefusedMessages::default();
        let left = |user| {
            let exchanges = refused.without(UserLabel(user), [1, 3, 5].map(exchange).into());
            exchanges.iter().map(|exchange| exchange.seq).collect::<Vec<_>>()
        };
        refused.note(UserLabel(1), [3, 3]);
        assert_eq!((left(1), left(2)), (vec![1, 5], vec![1, 3, 5]));
        refused.note(UserLabel(2), 10..10 + MOST as u64);
        assert_eq!(left(1), [1, 3, 5]);
        assert_eq!(refused.kept().known.len(), MOST);
    }

    #[test]
    fn half_of_the_bytes_remain() {
        let shown = |bytes: &[usize]| -> Vec<Shown> {
            (1..).zip(bytes).map(|(seq, bytes)| Shown { seq, bytes: *bytes, by_companion: false }).collect()
        };
        for (bytes, message, want) in [
            (&[][..], 10, &[][..]),
            (&[10], 1, &[1]),
            (&[10, 10], 0, &[1]),
            (&[10, 10, 10, 10], 0, &[1, 2]),
            (&[900, 10, 10], 10, &[1]),
            (&[10, 900, 10], 10, &[1, 2]),
            (&[10, 10, 900], 10, &[1, 2, 3]),
            (&[10, 10], 900, &[1, 2]),
        ] {
            assert_eq!(too_much(&shown(bytes), message), want, "{bytes:?} and {message}");
        }
    }
}
