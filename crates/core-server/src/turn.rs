//! One message from admission to stored answer: limits, context, model, store.
//!
//! It knows nothing of connections: who listens is an [`Audience`].

mod admission;
mod budget;
mod calibration;
mod context;
mod exchange;
mod folding;
mod refused;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use boot::Household;
use futures_util::FutureExt as _;
use protocol::limits::MAX_ANSWER_CHARS;
use protocol::server_frame::{Entry, ErrorFrame, Finish, Role, Source, Timing, Usage};
use protocol::trace::Traceparent;
use protocol::{ErrorCode, Language, MessageId, MessageLabel, Timestamp, UserLabel, UserText};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::limits::{Room, Slot, Slots, SlotsFull};
use crate::llm::{Answer, CallContext, LlmError, Model, Piece, companion};
use crate::metrics::Metrics;
use crate::shared::{ClaimNumber, Shared};
use crate::store::{Appended, NewEntry, Store, StoreError};

pub use admission::Admission;
pub use budget::{Answerer, Attempt, Budget, BudgetSettings, Permit, Start};
pub use context::{Context, ContextSettings};
pub use folding::{Fold, Folding, SummarySettings};

use refused::NoAnswer;

/// When someone with too many messages under way may try again: about as long as an answer takes.
const BUSY_RETRY: Duration = Duration::from_secs(2);
/// How long a finished answer waits for a database that is away: about as long as one takes to
/// restart or to fail over.
pub const RECORD_PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two tries to store an answer.
const RECORD_PAUSE: Duration = Duration::from_millis(250);

/// What turns need; shared by all of them.
#[derive(Debug)]
pub struct Engine {
    /// Sessions and entries.
    pub store: Arc<dyn Store>,
    /// Admits everything that leads to a call to the model.
    pub budget: Budget,
    /// Model calls at once.
    pub slots: Arc<Slots>,
    /// The model; without one the companion answers.
    pub model: Option<Model>,
    /// What the model gets to read.
    pub context: Context,
    /// The other cores, where there are any.
    pub shared: Option<Arc<Shared>>,
    /// What is being summed up.
    pub folding: Folding,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Message {
    /// Idempotency key within the session.
    pub id: MessageId,
    /// What the person wrote.
    pub text: UserText,
    /// Where it stands in its trace.
    pub trace: Traceparent,
    /// Where it came from.
    pub from: Household,
}

/// Why a message gets no answer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What to tell the client.
    pub code: ErrorCode,
    /// When to try again, where that makes sense.
    pub retry_after: Option<Duration>,
}

/// An accepted message that waits for its answer.
#[derive(Debug, Clone)]
pub struct Job {
    /// The message's id.
    pub id: MessageId,
    /// Its label in logs and towards the model.
    pub label: MessageLabel,
    /// Its `seq`.
    pub seq: u64,
    /// What the person wrote.
    pub text: UserText,
    /// Language to answer in.
    pub language: Language,
    /// Where it stands in its trace.
    pub trace: Traceparent,
    /// When it was accepted.
    pub accepted_at: Instant,
    /// This core's claim to it, where there are other cores.
    pub claim: Option<ClaimNumber>,
}

/// Whoever follows an answer. Neither call blocks.
pub trait Audience: Send + Sync {
    /// The answer waits for a model slot behind `ahead` others.
    fn queued(&self, ahead: usize);
    /// The answer has its model slot.
    fn begun(&self);
    /// The next piece of the answer.
    fn delta(&self, piece: UserText);
    /// The pieces so far are no part of the answer: the next one is its first.
    fn restart(&self);
}

/// How an answer went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub finish: Finish,
    /// Where it came from.
    pub source: Source,
    /// The model that gave it.
    pub model: Option<String>,
    /// Its length.
    pub chars: usize,
    /// How long it took.
    pub timing: Timing,
    /// Tokens counted.
    pub usage: Option<Usage>,
    /// What is to be summed up now that it is complete: see [`Engine::fold`].
    pub fold: Option<Fold>,
}

impl Refusal {
    /// The person has as many messages under way as they may.
    pub fn busy() -> Self {
        Self { code: ErrorCode::UserBusy, retry_after: Some(BUSY_RETRY) }
    }

    /// The person or their address has sent as much as they may.
    pub fn limited(wait: Duration) -> Self {
        Self { code: ErrorCode::RateLimited, retry_after: Some(wait) }
    }

    /// Whoever was to answer is gone.
    pub fn deserted() -> Self {
        Self { code: ErrorCode::Unavailable, retry_after: Some(BUSY_RETRY) }
    }

    /// As an error in `language`.
    pub fn frame(self, language: Language) -> ErrorFrame {
        let frame = ErrorFrame::new(self.code, language);
        match self.retry_after {
            Some(after) => frame.with_retry_after(after, language),
            None => frame,
        }
    }
}

/// What people are told when too many wait for the model.
impl From<SlotsFull> for Refusal {
    fn from(full: SlotsFull) -> Self {
        Self { code: ErrorCode::Overloaded, retry_after: Some(full.retry_after) }
    }
}

/// What people are told when the store fails.
impl From<&StoreError> for Refusal {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::NoSession { .. } => Self { code: ErrorCode::BadResume, retry_after: None },
            StoreError::Unavailable(_) => Self { code: ErrorCode::Unavailable, retry_after: Some(BUSY_RETRY) },
            StoreError::Damaged(_) | StoreError::UnknownKey(_) => Self { code: ErrorCode::Internal, retry_after: None },
        }
    }
}

impl Engine {
    async fn append(&self, user: UserLabel, after: u64, entry: NewEntry) -> Result<Appended, StoreError> {
        let begin = Instant::now();
        let appended = self.store.append(user, after, entry).await;
        match &appended {
            Ok(Appended::New(_)) => self.metrics.commit.observe(begin.elapsed().as_secs_f64()),
            // A session that is gone is no failure of the store's.
            Ok(Appended::Known { .. }) | Err(StoreError::NoSession { .. }) => {}
            Err(_) => self.metrics.commits_failed.inc(),
        }
        appended
    }

    /// Generates the answer to `job`, which `permit` allows, and tells `audience` as it comes.
    /// Ends early, with what there is, when `stop` is cancelled. Stores nothing: see [`Engine::record`].
    ///
    /// # Errors
    ///
    /// See [`Unanswered`].
    pub async fn answer(
        &self,
        job: &Job,
        mut permit: Permit,
        audience: &dyn Audience,
        stop: &CancellationToken,
    ) -> Result<Outcome, Unanswered> {
        let span = tracing::info_span!("turn", message.label = %job.label, otel.kind = "internal");
        boot::telemetry::set_parent(&span, job.trace);
        let mut progress = self.progress();
        let finish = {
            let generate = self.generate((job, permit.room.take()), audience, &mut progress).instrument(span);
            tokio::select! {
                biased;
                () = stop.cancelled() => Ok(Finish::Stopped),
                finish = generate => finish,
            }
        };
        self.budget.settle(job.label.user, permit, progress.called).await;
        finish.map(|finish| self.outcome(job, finish, progress))
    }

    /// The outcome of a job that was stopped before it began.
    pub fn not_begun(&self, job: &Job) -> Outcome {
        self.outcome(job, Finish::Stopped, self.progress())
    }

    fn progress(&self) -> Progress {
        let source = if self.model.is_some() { Source::Llm } else { Source::Companion };
        Progress { source, called: false, model: None, chars: 0, queue: None, first: None, usage: None, fold: None }
    }

    async fn generate(
        &self,
        (job, room): (&Job, Option<Room>),
        audience: &dyn Audience,
        progress: &mut Progress,
    ) -> Result<Finish, Unanswered> {
        if let Some(model) = self.model.as_ref()
            && let Some(slot) = self.slot_for(model, room, audience).await?
        {
            audience.begun();
            progress.queue = Some(Instant::now());
            let prompt = self.context.build(&*self.store, job).await.map_err(|error| no_history(job, &error))?;
            let trace = boot::telemetry::current_traceparent(&tracing::Span::current(), job.trace);
            // From here on it counts, also if the person stops it at once.
            progress.called = true;
            let finish = match self.open_answer(model, job, prompt, CallContext { label: job.label, trace }).await {
                Ok((answer, prompt)) => {
                    let finish = stream(job, answer, audience, progress).await;
                    if let (Some(model), Some(usage)) = (&progress.model, progress.usage) {
                        self.context.learn(model, &prompt, usage.prompt_tokens);
                    }
                    progress.fold = prompt.fold.filter(|_| finish != Finish::Error);
                    // Without a word left, all of it was thinking, which was taken back.
                    Some(finish).filter(|_| 0 < progress.chars)
                }
                // Why it is left alone, its breaker has logged once.
                Err(NoAnswer::Model(LlmError::NoProvider)) => None,
                Err(NoAnswer::Model(error)) => {
                    tracing::error!(
                        trace_id = %job.trace.trace_id, message.label = %job.label, %error,
                        "no answer from the model, the companion answers"
                    );
                    None
                }
                Err(NoAnswer::Store(error)) => return Err(no_history(job, &error)),
            };
            slot.complete();
            if let Some(finish) = finish {
                return Ok(finish);
            }
        }
        (progress.source, progress.model) = (Source::Companion, None);
        let reply = companion::reply(&job.text, job.language, job.label.number);
        progress.add(&reply);
        audience.delta(reply);
        Ok(Finish::Stop)
    }

    /// A slot for a call to `model`; `None` where no provider may be asked, or none any more by the time that there
    /// is a slot. What would hold a slot, or wait for one, in vain must not keep a person from the companion's answer.
    async fn slot_for(
        &self,
        model: &Model,
        room: Option<Room>,
        audience: &dyn Audience,
    ) -> Result<Option<Slot>, Refusal> {
        if !model.may_be_asked() {
            return Ok(None);
        }
        // Without a promise there was no provider to be asked. There is one now: if the queue has room for it.
        let Some(room) = room.or_else(|| self.slots.room().ok()) else { return Ok(None) };
        let mut slot = pin!(room.acquire(|ahead| audience.queued(ahead)));
        // One that is free is taken although every breaker is open: one call finds out whether to close it.
        if let Some(slot) = slot.as_mut().now_or_never() {
            return Ok(Some(slot?));
        }
        tokio::select! {
            biased;
            () = model.all_left_alone() => Ok(None),
            slot = slot => Ok(Some(slot?)),
        }
    }

    fn outcome(&self, job: &Job, finish: Finish, progress: Progress) -> Outcome {
        self.count(job, finish, &progress);
        let since = |at: Option<Instant>| at.map_or(0, |at| millis(at.saturating_duration_since(job.accepted_at)));
        let outcome = Outcome {
            finish,
            source: progress.source,
            model: progress.model,
            chars: progress.chars,
            timing: Timing {
                queue: since(progress.queue),
                first: since(progress.first),
                total: since(Some(Instant::now())),
            },
            usage: progress.usage,
            fold: progress.fold,
        };
        tracing::info!(
            trace_id = %job.trace.trace_id, message.label = %job.label,
            turn.source = %outcome.source, turn.finish = %finish, turn.chars = outcome.chars,
            turn.queue_ms = outcome.timing.queue, turn.first_ms = outcome.timing.first, turn.total_ms = outcome.timing.total,
            "turn ended"
        );
        outcome
    }

    fn count(&self, job: &Job, finish: Finish, progress: &Progress) {
        let metrics = &self.metrics;
        metrics.turn_ended(progress.source, finish);
        let times = [
            (&metrics.turn_queue, progress.queue),
            (&metrics.turn_first_piece, progress.first),
            (&metrics.turn, Some(Instant::now())),
        ];
        for (histogram, at) in times {
            if let Some(at) = at {
                histogram.observe(at.saturating_duration_since(job.accepted_at).as_secs_f64());
            }
        }
    }

    /// Stores the answer `text` to `job`, after entry `after` as far as is known. Says its `seq`.
    /// A database that is away for a moment is waited for: people have read this answer.
    ///
    /// # Errors
    ///
    /// [`NotRecorded`]; the answer may or may not be stored.
    pub async fn record(&self, job: &Job, after: u64, text: UserText, outcome: &Outcome) -> Result<u64, NotRecorded> {
        let entry = NewEntry {
            id: job.id.clone(),
            role: Role::Assistant,
            text,
            at: now(),
            finish: Some(outcome.finish),
            source: Some(outcome.source),
        };
        let give_up = Instant::now() + RECORD_PATIENCE;
        loop {
            let stored = match self.append(job.label.user, after, entry.clone()).await {
                Ok(Appended::New(Entry { seq, .. })) => Ok(seq),
                Ok(Appended::Known { seq }) => self.same_answer(job, &entry.text, seq).await,
                Err(error) => Err(error.into()),
            };
            match stored {
                Err(NotRecorded::Store(error @ StoreError::Unavailable(_))) if Instant::now() < give_up => {
                    tracing::warn!(
                        trace_id = %job.trace.trace_id, message.label = %job.label, %error,
                        "the answer could not be stored yet"
                    );
                    sleep(RECORD_PAUSE).await;
                }
                stored => return stored,
            }
        }
    }

    /// An answer is stored already: this one, when the database did not live to say so, or the one
    /// that another core gave while the two could not agree.
    async fn same_answer(&self, job: &Job, text: &UserText, seq: u64) -> Result<u64, NotRecorded> {
        let entries = self.store.entries_of(job.label.user, &job.id).await?;
        let is_same = entries.iter().any(|entry| entry.role == Role::Assistant && entry.text == *text);
        if is_same { Ok(seq) } else { Err(NotRecorded::AnsweredElsewhere) }
    }
}

/// Why a message has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// No model slot was free in time, or the store failed.
    Refused(Refusal),
    /// The session was erased, or its time was over.
    NoSession,
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Why an answer that people have read is not kept.
#[derive(Debug, thiserror::Error)]
pub enum NotRecorded {
    /// The store failed, for longer than [`RECORD_PATIENCE`] if it was away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another core has answered the message too, and was faster: its answer is kept. Whoever sends
    /// the message again gets that one.
    #[error("another core has answered it too, and was faster")]
    AnsweredElsewhere,
}

impl From<&NotRecorded> for Refusal {
    fn from(reason: &NotRecorded) -> Self {
        match reason {
            NotRecorded::Store(error) => error.into(),
            NotRecorded::AnsweredElsewhere => Self::deserted(),
        }
    }
}

/// What is known of an answer while it comes.
struct Progress {
    source: Source,
    /// The model was called, whatever came of it.
    called: bool,
    model: Option<String>,
    chars: usize,
    queue: Option<Instant>,
    first: Option<Instant>,
    usage: Option<Usage>,
    fold: Option<Fold>,
}

impl Progress {
    fn add(&mut self, piece: &UserText) {
        self.first.get_or_insert_with(Instant::now);
        self.chars += piece.chars();
    }
}

fn no_history(job: &Job, error: &StoreError) -> Unanswered {
    if let StoreError::NoSession { .. } = error {
        return Unanswered::NoSession;
    }
    tracing::error!(trace_id = %job.trace.trace_id, message.label = %job.label, %error, "no history");
    Unanswered::Refused(error.into())
}

async fn stream(job: &Job, mut answer: Answer<'_>, audience: &dyn Audience, progress: &mut Progress) -> Finish {
    progress.model = Some(answer.model().to_owned());
    while let Some(piece) = answer.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                tracing::error!(trace_id = %job.trace.trace_id, message.label = %job.label, %error, "answer broke off");
                return Finish::Error;
            }
        };
        let Piece { text: piece, restarts } = piece;
        if restarts {
            progress.chars = 0;
            audience.restart();
        }
        let room = MAX_ANSWER_CHARS - progress.chars;
        let fits = piece.chars() <= room;
        let piece = if fits { piece } else { piece.first_chars(room) };
        // Thinking that is taken back is all that some pieces say; a delta has text.
        if !piece.is_empty() {
            progress.add(&piece);
            audience.delta(piece);
        }
        if !fits {
            return Finish::Length;
        }
    }
    progress.usage = answer.usage();
    answer.finish()
}

/// Calendar time, for entries and sessions.
#[expect(clippy::disallowed_methods, reason = "the edge: entries carry calendar time")]
pub fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
