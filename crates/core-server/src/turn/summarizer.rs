//! Older exchanges folded into a summary, in the background: never in the way of an answer.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::server_frame::Usage;
use protocol::trace::Traceparent;
use protocol::{Language, MessageLabel, UserLabel, UserText};
use safety::screen::{Screen, ScreenContext, Violation};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::context::SummaryPrompt;
use super::exchange::exchanges;
use super::{Risk, TurnService};
use crate::llm::{CallContext, LlmError, Model, SamplingParams};
use crate::store::{Page, StoreError, Summary};

/// Summaries made at once, of all sessions together.
const MAX_CONCURRENT_SUMMARIES: usize = 4;
/// A summary is to repeat what was said, not to invent.
const TEMPERATURE: f32 = 0.2;
/// What a model that does not keep to its limit of tokens may write, in characters to a token.
const CHARS_PER_TOKEN_MAX: usize = 8;

/// Bounds on summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SummarySettings {
    /// Longest summary, in tokens.
    pub max_tokens: u32,
    /// At most one call in so many messages of a session; at least 1.
    pub every_messages: u64,
}

/// What is to be folded into a session's summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryJob {
    /// The message on whose occasion.
    pub(super) label: MessageLabel,
    /// The language of the summary.
    pub(super) language: Language,
    /// Risk in force with it.
    pub(super) risk: Risk,
    /// Where that message stands in its trace.
    pub(super) trace: Traceparent,
    /// `seq` of the first message that is to stand for itself.
    pub(super) before: u64,
    /// The summary so far.
    pub(super) earlier: Option<Summary>,
}

/// The summaries being made.
#[derive(Debug)]
pub struct Summarizer {
    draining: CancellationToken,
    running: Mutex<HashSet<UserLabel>>,
}

/// Why there is no summary.
#[derive(Debug, thiserror::Error)]
enum SummarizeError {
    #[error("there are slots for answers only")]
    Busy,
    #[error("an answer needs the slot")]
    Preempted,
    #[error("the core is draining")]
    Draining,
    #[error("nothing is left to be summed up, or there is no room for it")]
    NothingToSummarize,
    #[error("it breaks a rule for answers")]
    Screened,
    #[error(transparent)]
    Model(#[from] LlmError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a later one is there, or what it draws on has gone")]
    Superseded,
}

/// Without what was said: the error is logged.
impl From<Violation> for SummarizeError {
    fn from(_: Violation) -> Self {
        Self::Screened
    }
}

/// A summary as the model made it.
struct GeneratedSummary {
    summary: Summary,
    exchanges: usize,
    usage: Option<Usage>,
}

impl Summarizer {
    /// None is under way. Those that are end with `draining`.
    pub fn new(draining: CancellationToken) -> Self {
        Self { draining, running: Mutex::default() }
    }

    /// `None` while one of `user` is under way, or as many as may be.
    fn try_start(&self, user: UserLabel) -> Option<SummaryPermit<'_>> {
        let mut running = self.running();
        // Not `then_some`: a place that is not given must not be made, because dropping it gives it back.
        (running.len() < MAX_CONCURRENT_SUMMARIES && running.insert(user))
            .then(|| SummaryPermit { summarizer: self, user })
    }

    fn running(&self) -> MutexGuard<'_, HashSet<UserLabel>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct SummaryPermit<'a> {
    summarizer: &'a Summarizer,
    user: UserLabel,
}

impl Drop for SummaryPermit<'_> {
    fn drop(&mut self) {
        self.summarizer.running().remove(&self.user);
    }
}

impl TurnService {
    /// Folds what `summary_job` says into its session's summary: with a slot that nobody wants, with one
    /// call, and not at all if anything is in the way. There will be another occasion.
    pub async fn summarize(&self, summary_job: SummaryJob) {
        let (Some(model), Some(_permit)) = (&self.model, self.summarizer.try_start(summary_job.label.user)) else {
            return;
        };
        let span = tracing::info_span!("summary", message.label = %summary_job.label, otel.kind = "internal");
        boot::telemetry::set_parent(&span, summary_job.trace);
        let (trace_id, label) = (summary_job.trace.trace_id, summary_job.label);
        match self.summarize_with(model, summary_job).instrument(span).await {
            Ok(GeneratedSummary { summary, exchanges, usage }) => tracing::info!(
                %trace_id, message.label = %label, summary.exchanges = exchanges, summary.chars = summary.text.chars(),
                tokens.prompt = usage.map(|usage| usage.prompt_tokens),
                tokens.completion = usage.map(|usage| usage.completion_tokens), "older messages summed up"
            ),
            Err(error) => tracing::debug!(%trace_id, message.label = %label, %error, "summarization skipped"),
        }
    }

    async fn summarize_with(&self, model: &Model, summary_job: SummaryJob) -> Result<GeneratedSummary, SummarizeError> {
        let slot = self.slots.try_acquire_background().ok_or(SummarizeError::Busy)?;
        let generated = tokio::select! {
            biased;
            () = self.summarizer.draining.cancelled() => Err(SummarizeError::Draining),
            () = slot.preempted() => Err(SummarizeError::Preempted),
            generated = self.generate_summary(model, &summary_job) => generated,
        };
        drop(slot);
        let generated = generated?;
        let put = self.store.put_summary(summary_job.label.user, generated.summary.clone()).await?;
        if put { Ok(generated) } else { Err(SummarizeError::Superseded) }
    }

    async fn generate_summary(
        &self,
        model: &Model,
        summary_job: &SummaryJob,
    ) -> Result<GeneratedSummary, SummarizeError> {
        let limit = self.context.max_entries_to_summarize();
        let page = match &summary_job.earlier {
            Some(earlier) => Page::After { seq: earlier.last, limit },
            // Of a long conversation that has none yet, only the end is summed up.
            None => Page::Before { seq: u64::MAX, limit },
        };
        let entries = self.store.readable_entries(summary_job.label.user, page).await?.entries;
        // What was only too long for a prompt is summed up: it is shortened for that.
        let exchanges = self.context.flagged.without(summary_job.label.user, exchanges(entries, summary_job.before));
        let summary_prompt =
            self.context.summary_prompt(summary_job, exchanges).ok_or(SummarizeError::NothingToSummarize)?;
        let params = SamplingParams { temperature: TEMPERATURE, max_tokens: summary_prompt.max_tokens };
        let trace = boot::telemetry::current_traceparent(&tracing::Span::current(), summary_job.trace);
        let mut answer =
            model.try_once(&summary_prompt.messages, params, CallContext { label: summary_job.label, trace }).await?;
        let mut screened = ScreenedText::new(summary_job);
        while let Some(piece) = answer.next().await {
            let piece = piece?;
            if piece.restarts {
                screened = ScreenedText::new(summary_job);
            }
            screened.push(&piece.text)?;
        }
        Ok(generated(summary_job, &summary_prompt, &screened.finish()?, answer.usage()))
    }
}

/// Text of a summary, which later answers draw on: it breaks no rule that an answer may not break.
struct ScreenedText {
    screen: Screen,
    text: UserText,
}

impl ScreenedText {
    fn new(summary_job: &SummaryJob) -> Self {
        let context = ScreenContext {
            level: summary_job.risk.level,
            kinds: summary_job.risk.kinds,
            language: summary_job.language,
        };
        Self { screen: Screen::new(context), text: UserText::default() }
    }

    fn push(&mut self, piece: &UserText) -> Result<(), Violation> {
        self.text.push(&UserText::new(self.screen.push(piece.expose())?));
        Ok(())
    }

    fn finish(mut self) -> Result<UserText, Violation> {
        self.text.push(&UserText::new(self.screen.finish()?));
        Ok(self.text)
    }
}

fn generated(
    summary_job: &SummaryJob,
    summary_prompt: &SummaryPrompt,
    text: &UserText,
    usage: Option<Usage>,
) -> GeneratedSummary {
    let first = summary_job.earlier.as_ref().map_or(summary_prompt.first, |earlier| earlier.first);
    // One line, so that it stays below its heading.
    let line = text.expose().split_whitespace().collect::<Vec<_>>().join(" ");
    let max_chars =
        usize::try_from(summary_prompt.max_tokens).unwrap_or(usize::MAX).saturating_mul(CHARS_PER_TOKEN_MAX);
    let text = UserText::new(line).first_chars(max_chars);
    GeneratedSummary {
        summary: Summary { first, last: summary_prompt.last, text },
        exchanges: summary_prompt.exchanges,
        usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_summaries_per_user_and_in_all() {
        let summarizer = Summarizer::new(CancellationToken::new());
        let mut permits: Vec<_> =
            (1..=MAX_CONCURRENT_SUMMARIES).map(|user| summarizer.try_start(UserLabel(user as u64)).unwrap()).collect();
        for excluded in [1, 9] {
            assert!(summarizer.try_start(UserLabel(excluded)).is_none());
            assert_eq!(summarizer.running().len(), MAX_CONCURRENT_SUMMARIES, "{excluded} took nobody's place");
        }
        drop(permits.pop());
        assert!(summarizer.try_start(UserLabel(9)).is_some());
    }
}
