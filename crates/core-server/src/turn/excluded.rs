//! Messages that a provider has refused, excluded from later prompts: sent again with every prompt, one of them would
//! cost the person the model for as long as it stays in their history. Not shared: another core, or this one after a
//! restart, learns it again from the refusal of a prompt.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use llm::{CallContext, CompletionStream, LlmError, Model};
use protocol::UserLabel;
use protocol::server_frame::{Entry, Finish, Role, Source};
use store::StoreError;

use super::context::{Context, Prompt};
use super::exchange::Exchange;

use super::generate::Generation;

/// Capacity, for all sessions together; the oldest is evicted first. An evicted message is found again.
const MAX_EXCLUDED: usize = 4_096;

/// Bounded set of excluded messages, by their `seq`. Not stored: another provider, or the next version of a filter, may
/// accept them.
#[derive(Debug, Default)]
pub(super) struct ExcludedMessages(Mutex<Excluded>);

#[derive(Debug, Default)]
struct Excluded {
    known: HashSet<(UserLabel, u64)>,
    /// The same, oldest first.
    order: VecDeque<(UserLabel, u64)>,
}

/// An exchange in a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PromptExchange {
    pub(super) seq: u64,
    pub(super) bytes: usize,
    /// The model has not answered it, or not completely: perhaps because it was refused.
    pub(super) is_suspect: bool,
}

/// Part of the history that a prompt omits.
#[derive(Debug)]
pub(super) enum Omitted {
    /// Messages that may have been flagged, by their `seq`: no summary replaces them.
    Suspects(Vec<u64>),
    /// The oldest messages, by their `seq`, replaced by the summary.
    Oldest(Vec<u64>),
    /// All of the history, with the summary.
    Everything,
}

/// A prompt that every provider refused, and the last error.
struct RefusedPrompt {
    prompt: Prompt,
    error: LlmError,
}

/// Error of every prompt that was tried.
pub(super) enum OpenError {
    Model(LlmError),
    Store(StoreError),
}

impl PromptExchange {
    pub(super) fn of(exchange: &Exchange) -> Self {
        let answer = exchange.answer.as_ref().map_or(0, |answer| answer.expose().len());
        let bytes = exchange.question.expose().len() + answer;
        Self { seq: exchange.seq, bytes, is_suspect: exchange.answer.is_none() }
    }
}

impl Prompt {
    /// Returns true if it has more than the instructions and the message itself.
    fn has_history(&self) -> bool {
        self.has_summary || !self.shown.is_empty()
    }
}

impl ExcludedMessages {
    /// Excludes the messages of `user` with these `seqs` from later prompts.
    fn note(&self, user: UserLabel, seqs: impl IntoIterator<Item = u64>) {
        let mut kept = self.kept();
        for message in seqs.into_iter().map(|seq| (user, seq)) {
            if kept.known.insert(message) {
                kept.order.push_back(message);
            }
        }
        while MAX_EXCLUDED < kept.order.len() {
            if let Some(oldest) = kept.order.pop_front() {
                kept.known.remove(&oldest);
            }
        }
    }

    /// Filters excluded messages from `user`'s `exchanges`.
    pub(super) fn without(&self, user: UserLabel, mut exchanges: Vec<Exchange>) -> Vec<Exchange> {
        let kept = self.kept();
        exchanges.retain(|exchange| !kept.known.contains(&(user, exchange.seq)));
        exchanges
    }

    fn kept(&self) -> MutexGuard<'_, Excluded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the `seq` of messages that the companion has answered, or the model not completely: a partial answer may
/// be the part before a filter.
pub(super) fn unanswered_by_model(entries: &[Entry]) -> HashSet<u64> {
    let is_none = |entry: &&Entry| {
        entry.role == Role::Assistant
            && (entry.source == Some(Source::Companion) || entry.finish == Some(Finish::Error))
    };
    let ids: HashSet<_> = entries.iter().filter(is_none).map(|entry| &entry.id).collect();
    entries.iter().filter(|entry| entry.role == Role::User && ids.contains(&entry.id)).map(|entry| entry.seq).collect()
}

impl Generation<'_> {
    /// Opens the answer of `model` with `prompt`. After a refusal, retries without the part of the history that
    /// may be the cause, and excludes from then on the part that proves to be it. Returns the prompt that was answered.
    pub(super) async fn open<'a>(
        self,
        model: &'a Model,
        prompt: Prompt,
        context: CallContext,
    ) -> Result<(CompletionStream<'a>, Prompt), OpenError> {
        let error = match model.stream_completion(&prompt.messages, prompt.temperature_at_most, context).await {
            Ok(answer) => return Ok((answer, prompt)),
            Err(error) => error,
        };
        if error.is_flagged() {
            self.retry_unfiltered(model, RefusedPrompt { prompt, error }, context).await
        } else if error.is_too_long() {
            self.retry_shorter(model, RefusedPrompt { prompt, error }, context).await
        } else {
            if error.is_filtered() {
                self.note_filtered(&prompt);
            }
            Err(OpenError::Model(error))
        }
    }

    /// Handles an answer that a filter has withdrawn. No retry: it would cost the tokens of another answer. The next
    /// prompt omits the suspects: the message itself and suspected ones of its history, or all of the history if the
    /// message before this one was flagged too.
    fn note_filtered(self, prompt: &Prompt) {
        let (user, suspects) = (self.turn.label.user, suspects(&prompt.shown));
        let Context { flagged, omitted, .. } = &self.service.context;
        if prompt.follows_flagged {
            omitted.note(user, prompt.shown.iter().map(|shown| shown.seq));
        }
        if suspects.is_empty() {
            flagged.note(user, [self.turn.seq]);
        } else {
            flagged.note(user, suspects);
            omitted.note(user, [self.turn.seq]);
        }
    }

    /// Retries after a filter's refusal of a prompt: first without the suspected messages, then without any history. If
    /// that is refused as well, the message itself is the cause.
    async fn retry_unfiltered<'a>(
        self,
        model: &'a Model,
        failed: RefusedPrompt,
        context: CallContext,
    ) -> Result<(CompletionStream<'a>, Prompt), OpenError> {
        let RefusedPrompt { mut prompt, mut error } = failed;
        let (user, flagged) = (self.turn.label.user, &self.service.context.flagged);
        let mut all: HashSet<u64> = prompt.shown.iter().map(|shown| shown.seq).collect();
        for omitted in [Omitted::Suspects(suspects(&prompt.shown)), Omitted::Everything] {
            let is_smaller = match &omitted {
                Omitted::Suspects(seqs) | Omitted::Oldest(seqs) => !seqs.is_empty(),
                Omitted::Everything => prompt.has_history(),
            };
            if !is_smaller {
                continue;
            }
            let smaller = self
                .service
                .context
                .build_without(&*self.service.store, self.turn, &omitted)
                .await
                .map_err(OpenError::Store)?;
            error = match model.retry_completion(&smaller.messages, smaller.temperature_at_most, context).await {
                Ok(answer) => {
                    match omitted {
                        Omitted::Suspects(seqs) | Omitted::Oldest(seqs) => flagged.note(user, seqs),
                        // One of them, or the summary, is the cause: most are harmless, and may be summarized.
                        Omitted::Everything => self.service.context.omitted.note(user, all),
                    }
                    return Ok((answer, smaller));
                }
                Err(error) if error.is_filtered() => error,
                Err(error) => return Err(OpenError::Model(error)),
            };
            // Older exchanges may have taken the room of omitted ones.
            all.extend(smaller.shown.iter().map(|shown| shown.seq));
            prompt = smaller;
        }
        flagged.note(user, [self.turn.seq]);
        Err(OpenError::Model(error))
    }

    /// Retries after the refusal of a prompt that is too long, with its newer half.
    async fn retry_shorter<'a>(
        self,
        model: &'a Model,
        failed: RefusedPrompt,
        context: CallContext,
    ) -> Result<(CompletionStream<'a>, Prompt), OpenError> {
        let RefusedPrompt { prompt, error } = failed;
        let (user, omitted) = (self.turn.label.user, &self.service.context.omitted);
        let oldest = excess(&prompt.shown, self.turn.message.text.expose().len());
        if oldest.is_empty() {
            omitted.note(user, [self.turn.seq]);
            return Err(OpenError::Model(error));
        }
        let without = Omitted::Oldest(oldest.clone());
        let smaller = self
            .service
            .context
            .build_without(&*self.service.store, self.turn, &without)
            .await
            .map_err(OpenError::Store)?;
        match model.retry_completion(&smaller.messages, smaller.temperature_at_most, context).await {
            Ok(answer) => {
                omitted.note(user, oldest);
                Ok((answer, smaller))
            }
            Err(error) => {
                if error.is_too_long() {
                    // Without a history the message itself is too long.
                    omitted.note(user, if smaller.shown.is_empty() { vec![self.turn.seq] } else { oldest });
                } else if error.is_filtered() && !smaller.has_history() {
                    self.service.context.flagged.note(user, [self.turn.seq]);
                }
                Err(OpenError::Model(error))
            }
        }
    }
}

/// Returns the messages of a prompt that may have been flagged themselves.
fn suspects(shown: &[PromptExchange]) -> Vec<u64> {
    shown.iter().filter(|shown| shown.is_suspect).map(|shown| shown.seq).collect()
}

/// Returns the older messages of a prompt that is too long, so that at most half of its bytes remain. Bytes, not
/// characters: the estimate by characters has just proved wrong, and texts for which it is wrong have more bytes per
/// character. `message`: bytes of the message itself, which stays.
fn excess(shown: &[PromptExchange], message: usize) -> Vec<u64> {
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
    fn keeps_newest_within_capacity() {
        let excluded = ExcludedMessages::default();
        let left = |user| {
            let exchanges = excluded.without(UserLabel(user), [1, 3, 5].map(exchange).into());
            exchanges.iter().map(|exchange| exchange.seq).collect::<Vec<_>>()
        };
        excluded.note(UserLabel(1), [3, 3]);
        assert_eq!((left(1), left(2)), (vec![1, 5], vec![1, 3, 5]));
        excluded.note(UserLabel(2), 10..10 + MAX_EXCLUDED as u64);
        assert_eq!(left(1), [1, 3, 5]);
        assert_eq!(excluded.kept().known.len(), MAX_EXCLUDED);
    }

    #[test]
    fn excess_keeps_at_most_half_of_the_bytes() {
        let shown = |bytes: &[usize]| -> Vec<PromptExchange> {
            (1..).zip(bytes).map(|(seq, bytes)| PromptExchange { seq, bytes: *bytes, is_suspect: false }).collect()
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
            assert_eq!(excess(&shown(bytes), message), want, "{bytes:?} and {message}");
        }
    }
}
