//! Summarizes older exchanges in the background. A summary must never delay an answer.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use llm::{CallContext, LlmError, Model, SamplingParams};
use protocol::server_frame::Usage;
use protocol::trace::Traceparent;
use protocol::{Language, MessageLabel, UserLabel, UserText};
use safety::screen::{Screen, ScreenContext, Violation};
use session::Risk;
use store::{Page, StoreError, Summary};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::TurnService;
use super::context::SummaryPrompt;
use super::exchange::exchanges;

/// Most concurrent summaries of this core.
const MAX_CONCURRENT_SUMMARIES: usize = 4;
/// Low: a summary repeats facts, it must not invent any.
const TEMPERATURE: f32 = 0.2;
/// Characters per token kept of a model that ignores its limit of tokens.
const CHARS_PER_TOKEN_MAX: usize = 8;

/// Bounds on summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SummarySettings {
    /// Longest summary, in tokens.
    pub max_tokens: u32,
    /// Messages of a session per summary; at least 1.
    pub every_messages: u64,
}

/// A summary to make of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryJob {
    /// The message that triggered this summary.
    pub(super) label: MessageLabel,
    /// The language of the summary.
    pub(super) language: Language,
    /// Risk in force with it.
    pub(super) risk: Risk,
    /// Trace context of that message.
    pub(super) trace: Traceparent,
    /// `seq` of the first message that stays out of the summary.
    pub(super) before: u64,
    /// The summary so far.
    pub(super) earlier: Option<Summary>,
}

#[derive(Debug)]
pub struct Summarizer {
    draining: CancellationToken,
    running: Mutex<HashSet<UserLabel>>,
}

/// Reason to skip a summary.
#[derive(Debug, thiserror::Error)]
enum SummarizeError {
    #[error("no background permit available")]
    Busy,
    #[error("preempted by an answer")]
    Preempted,
    #[error("the core is draining")]
    Draining,
    #[error("nothing to summarize, or no room for it")]
    NothingToSummarize,
    #[error("the summary violates a rule for answers")]
    Screened,
    #[error(transparent)]
    Model(#[from] LlmError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a newer summary is stored, or its entries were removed")]
    Superseded,
}

/// Drops the text: this error is logged, and texts of people must not be.
impl From<Violation> for SummarizeError {
    fn from(_: Violation) -> Self {
        Self::Screened
    }
}

/// A summary by the model.
struct GeneratedSummary {
    summary: Summary,
    exchanges: usize,
    usage: Option<Usage>,
}

impl Summarizer {
    /// Creates a summarizer. `draining` cancels its summaries.
    pub fn new(draining: CancellationToken) -> Self {
        Self { draining, running: Mutex::default() }
    }

    /// Returns a permit; `None` while a summary of `user` is running, or the most are.
    fn try_start(&self, user: UserLabel) -> Option<SummaryPermit<'_>> {
        let mut running = self.running();
        // Not `then_some`: it would construct a permit that is not granted, and its drop would release the running one.
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
    /// Makes a summary: under a background permit, with one call, without a retry. A skipped summary is made with a
    /// later message.
    pub async fn summarize(&self, summary_job: SummaryJob) {
        let (Some(model), Some(_permit)) = (&self.model, self.summarizer.try_start(summary_job.label.user)) else {
            return;
        };
        let trace_id = summary_job.trace.trace_id;
        let span = tracing::error_span!("summary", %trace_id, message.label = %summary_job.label);
        service_runtime::telemetry::set_parent(&span, summary_job.trace);
        let summarized = self.summarize_with(model, summary_job).instrument(span.clone()).await;
        span.in_scope(|| match summarized {
            Ok(GeneratedSummary { summary, exchanges, usage }) => tracing::info!(
                summary.exchanges = exchanges,
                summary.chars = summary.text.chars(),
                tokens.prompt = usage.map(|usage| usage.prompt_tokens),
                tokens.completion = usage.map(|usage| usage.completion_tokens),
                "older messages summed up"
            ),
            Err(error) => tracing::debug!(%error, "summarization skipped"),
        });
    }

    async fn summarize_with(&self, model: &Model, summary_job: SummaryJob) -> Result<GeneratedSummary, SummarizeError> {
        let slot = self.slots.try_acquire_background().ok_or(SummarizeError::Busy)?;
        let generated = tokio::select! {
            // Drain and answers first: a summary must not delay either.
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
            // Without an earlier summary, only the end of a long conversation is summarized.
            None => Page::Before { seq: u64::MAX, limit },
        };
        let entries = self.store.readable_entries(summary_job.label.user, page).await?.entries;
        // Messages that were only too long for a prompt are summarized, shortened; flagged ones are not.
        let exchanges = self.context.flagged.without(summary_job.label.user, exchanges(entries, summary_job.before));
        let summary_prompt =
            self.context.summary_prompt(summary_job, exchanges).ok_or(SummarizeError::NothingToSummarize)?;
        let params = SamplingParams { temperature: TEMPERATURE, max_tokens: summary_prompt.max_tokens };
        let trace = service_runtime::telemetry::current_traceparent(&tracing::Span::current(), summary_job.trace);
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

/// Screened text of a summary. Later answers draw on it, so the rules for answers apply.
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
            country: None,
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
    let first = summary_job
        .earlier
        .as_ref()
        .filter(|earlier| !earlier.text.is_empty())
        .map_or(summary_prompt.first, |earlier| earlier.first);
    // One line, so that no line of it can pass as a heading.
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
        for rejected in [1, 9] {
            assert!(summarizer.try_start(UserLabel(rejected)).is_none());
            assert_eq!(summarizer.running().len(), MAX_CONCURRENT_SUMMARIES, "{rejected} took no permit");
        }
        drop(permits.pop());
        assert!(summarizer.try_start(UserLabel(9)).is_some());
    }
}
