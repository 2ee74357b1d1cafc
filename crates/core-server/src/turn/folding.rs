//! Older exchanges folded into a summary, in the background: never in the way of an answer.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::server_frame::Usage;
use protocol::trace::Traceparent;
use protocol::{Language, MessageLabel, UserLabel, UserText};
use safety::screen::{Screen, ScreenContext, Violation};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::context::Material;
use super::exchange::exchanges;
use super::{Engine, Risk};
use crate::llm::{CallContext, LlmError, Model, SamplingParams};
use crate::store::{Page, StoreError, Summary};

/// Summaries made at once, of all sessions together.
const AT_ONCE: usize = 4;
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
pub struct Fold {
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
pub struct Folding {
    draining: CancellationToken,
    under_way: Mutex<HashSet<UserLabel>>,
}

/// Why there is no summary.
#[derive(Debug, thiserror::Error)]
enum FoldError {
    #[error("there are slots for answers only")]
    Busy,
    #[error("an answer needs the slot")]
    Wanted,
    #[error("the core is draining")]
    Draining,
    #[error("nothing is left to be summed up, or there is no room for it")]
    Nothing,
    #[error("it breaks a rule for answers")]
    Screened,
    #[error(transparent)]
    Model(#[from] LlmError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a later one is there, or what it draws on has gone")]
    Late,
}

/// Without what was said: the error is logged.
impl From<Violation> for FoldError {
    fn from(_: Violation) -> Self {
        Self::Screened
    }
}

/// A summary as the model made it.
struct Made {
    summary: Summary,
    exchanges: usize,
    usage: Option<Usage>,
}

impl Folding {
    /// None is under way. Those that are end with `draining`.
    pub fn new(draining: CancellationToken) -> Self {
        Self { draining, under_way: Mutex::default() }
    }

    /// `None` while one of `user` is under way, or as many as may be.
    fn enter(&self, user: UserLabel) -> Option<Place<'_>> {
        let mut under_way = self.under_way();
        // Not `then_some`: a place that is not given must not be made, because dropping it gives it back.
        (under_way.len() < AT_ONCE && under_way.insert(user)).then(|| Place { folding: self, user })
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<UserLabel>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Place<'a> {
    folding: &'a Folding,
    user: UserLabel,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.folding.under_way().remove(&self.user);
    }
}

impl Engine {
    /// Folds what `fold` says into its session's summary: with a slot that nobody wants, with one
    /// call, and not at all if anything is in the way. There will be another occasion.
    pub async fn fold(&self, fold: Fold) {
        let (Some(model), Some(_place)) = (&self.model, self.folding.enter(fold.label.user)) else { return };
        let span = tracing::info_span!("summary", message.label = %fold.label, otel.kind = "internal");
        boot::telemetry::set_parent(&span, fold.trace);
        let (trace_id, label) = (fold.trace.trace_id, fold.label);
        match self.fold_with(model, fold).instrument(span).await {
            Ok(Made { summary, exchanges, usage }) => tracing::info!(
                %trace_id, message.label = %label, summary.exchanges = exchanges, summary.chars = summary.text.chars(),
                tokens.prompt = usage.map(|usage| usage.prompt_tokens),
                tokens.completion = usage.map(|usage| usage.completion_tokens), "older messages summed up"
            ),
            Err(error) => tracing::debug!(%trace_id, message.label = %label, %error, "no summary"),
        }
    }

    async fn fold_with(&self, model: &Model, fold: Fold) -> Result<Made, FoldError> {
        let slot = self.slots.try_acquire_background().ok_or(FoldError::Busy)?;
        let made = tokio::select! {
            biased;
            () = self.folding.draining.cancelled() => Err(FoldError::Draining),
            () = slot.preempted() => Err(FoldError::Wanted),
            made = self.sum_up(model, &fold) => made,
        };
        drop(slot);
        let made = made?;
        let put = self.store.put_summary(fold.label.user, made.summary.clone()).await?;
        if put { Ok(made) } else { Err(FoldError::Late) }
    }

    async fn sum_up(&self, model: &Model, fold: &Fold) -> Result<Made, FoldError> {
        let limit = self.context.entries_to_fold();
        let page = match &fold.earlier {
            Some(earlier) => Page::After { seq: earlier.last, limit },
            // Of a long conversation that has none yet, only the end is summed up.
            None => Page::Before { seq: u64::MAX, limit },
        };
        let entries = self.store.readable_entries(fold.label.user, page).await?.entries;
        // What was only too long for a prompt is summed up: it is shortened for that.
        let exchanges = self.context.flagged.without(fold.label.user, exchanges(entries, fold.before));
        let material = self.context.material(fold, exchanges).ok_or(FoldError::Nothing)?;
        let asked = SamplingParams { temperature: TEMPERATURE, max_tokens: material.max_tokens };
        let trace = boot::telemetry::current_traceparent(&tracing::Span::current(), fold.trace);
        let mut answer = model.try_once(&material.messages, asked, CallContext { label: fold.label, trace }).await?;
        let mut screened = ScreenedText::new(fold);
        while let Some(piece) = answer.next().await {
            let piece = piece?;
            if piece.restarts {
                screened = ScreenedText::new(fold);
            }
            screened.push(&piece.text)?;
        }
        Ok(made(fold, &material, &screened.finish()?, answer.usage()))
    }
}

/// Text of a summary, which later answers draw on: it breaks no rule that an answer may not break.
struct ScreenedText {
    screen: Screen,
    text: UserText,
}

impl ScreenedText {
    fn new(fold: &Fold) -> Self {
        let context = ScreenContext { level: fold.risk.level, kinds: fold.risk.kinds, language: fold.language };
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

fn made(fold: &Fold, material: &Material, text: &UserText, usage: Option<Usage>) -> Made {
    let first = fold.earlier.as_ref().map_or(material.first, |earlier| earlier.first);
    // One line, so that it stays below its heading.
    let line = text.expose().split_whitespace().collect::<Vec<_>>().join(" ");
    let max_chars = usize::try_from(material.max_tokens).unwrap_or(usize::MAX).saturating_mul(CHARS_PER_TOKEN_MAX);
    let text = UserText::new(line).first_chars(max_chars);
    Made { summary: Summary { first, last: material.last, text }, exchanges: material.exchanges, usage }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_person_and_four_at_once() {
        let folding = Folding::new(CancellationToken::new());
        let mut places: Vec<_> = (1..=AT_ONCE).map(|user| folding.enter(UserLabel(user as u64)).unwrap()).collect();
        for refused in [1, 9] {
            assert!(folding.enter(UserLabel(refused)).is_none());
            assert_eq!(folding.under_way().len(), AT_ONCE, "{refused} took nobody's place");
        }
        drop(places.pop());
        assert!(folding.enter(UserLabel(9)).is_some());
    }
}
