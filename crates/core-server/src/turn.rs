//! One message from admission to stored answer: limits, context, model, store.
//!
//! It knows nothing of connections: who listens is an [`Audience`].

mod calibration;
mod context;

use std::sync::Arc;
use std::time::Duration;

use boot::Household;
use protocol::limits::MAX_ANSWER_CHARS;
use protocol::server_frame::{Entry, ErrorFrame, Finish, Role, Source, Timing, Usage};
use protocol::trace::Traceparent;
use protocol::{ErrorCode, Language, MessageId, MessageLabel, Timestamp, UserLabel, UserText};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::limits::{RateLimiter, Slots, SlotsFull};
use crate::llm::{Answer, CallContext, Model, companion};
use crate::metrics::Metrics;
use crate::store::{Appended, NewEntry, Store, StoreError};

pub use context::{Context, ContextSettings};

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
    /// Messages per person and time.
    pub rate: RateLimiter<UserLabel>,
    /// Messages per address and time: beginning anew does not reset it.
    pub address_rate: RateLimiter<Household>,
    /// Model calls at once.
    pub slots: Arc<Slots>,
    /// The model; without one the companion answers.
    pub model: Option<Model>,
    /// What the model gets to read.
    pub context: Context,
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

/// What became of a message.
#[derive(Debug)]
pub enum Admission {
    /// Stored now.
    Accepted(Entry),
    /// Stored before: its entry and, when there is one, its answer.
    Known(Vec<Entry>),
    /// Neither stored nor to be answered.
    Refused(Refusal),
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
}

/// Whoever follows an answer. Neither call blocks.
pub trait Audience: Send + Sync {
    /// The answer waits for a model slot behind `ahead` others.
    fn queued(&self, ahead: usize);
    /// The next piece of the answer.
    fn delta(&self, piece: UserText);
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
}

impl Refusal {
    /// The person has as many messages under way as they may.
    pub fn busy() -> Self {
        Self { code: ErrorCode::UserBusy, retry_after: Some(BUSY_RETRY) }
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
            StoreError::NoSession { .. } => Self { code: ErrorCode::NotFound, retry_after: None },
            StoreError::Unavailable(_) => Self { code: ErrorCode::Unavailable, retry_after: Some(BUSY_RETRY) },
            StoreError::Damaged(_) | StoreError::UnknownKey(_) => Self { code: ErrorCode::Internal, retry_after: None },
        }
    }
}

impl Engine {
    /// Decides on a message of `user`, whose highest `seq` is `after` as far as is known, and
    /// stores it if it is accepted. `busy`: they have as many under way as they may. A message
    /// that was stored before is known, whatever the limits say.
    ///
    /// # Errors
    ///
    /// The store failed; the message may or may not be stored.
    pub async fn admit(
        &self,
        user: UserLabel,
        after: u64,
        message: &Message,
        busy: bool,
    ) -> Result<Admission, StoreError> {
        if let Some(refusal) = self.refusal(user, message.from, busy) {
            let known = self.store.entries_of(user, &message.id).await?;
            return Ok(if known.is_empty() { Admission::Refused(refusal) } else { Admission::Known(known) });
        }
        let entry = NewEntry {
            id: message.id.clone(),
            role: Role::User,
            text: message.text.clone(),
            at: now(),
            finish: None,
            source: None,
        };
        match self.append(user, after, entry).await? {
            Appended::New(entry) => {
                let now = Instant::now();
                self.rate.record(user, now);
                self.address_rate.record(message.from, now);
                Ok(Admission::Accepted(entry))
            }
            Appended::Known { .. } => Ok(Admission::Known(self.store.entries_of(user, &message.id).await?)),
        }
    }

    async fn append(&self, user: UserLabel, after: u64, entry: NewEntry) -> Result<Appended, StoreError> {
        let begin = Instant::now();
        let appended = self.store.append(user, after, entry).await;
        match &appended {
            Ok(Appended::New(_)) => self.metrics.commit.observe(begin.elapsed().as_secs_f64()),
            Ok(Appended::Known { .. }) => {}
            Err(_) => self.metrics.commits_failed.inc(),
        }
        appended
    }

    fn refusal(&self, user: UserLabel, from: Household, busy: bool) -> Option<Refusal> {
        let now = Instant::now();
        let (person, address) = (self.rate.wait(&user, now), self.address_rate.wait(&from, now));
        if let Some(retry_after) = person.max(address) {
            Some(Refusal { code: ErrorCode::RateLimited, retry_after: Some(retry_after) })
        } else if busy {
            Some(Refusal::busy())
        } else if self.model.is_some() {
            self.slots.check_room().err().map(Refusal::from)
        } else {
            None
        }
    }

    /// Generates the answer to `job` and tells `audience` as it comes. Ends early, with
    /// what there is, when `stop` is cancelled. Stores nothing: see [`Engine::record`].
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when no model slot was free in time or the store failed.
    pub async fn answer(
        &self,
        job: &Job,
        audience: &dyn Audience,
        stop: &CancellationToken,
    ) -> Result<Outcome, Refusal> {
        let span = tracing::info_span!("turn", message.label = %job.label, otel.kind = "internal");
        boot::telemetry::set_parent(&span, job.trace);
        let mut progress = self.progress();
        let finish = {
            let generate = self.generate(job, audience, &mut progress).instrument(span);
            tokio::select! {
                biased;
                () = stop.cancelled() => Ok(Finish::Stopped),
                finish = generate => finish,
            }
        };
        finish.map(|finish| self.outcome(job, finish, progress))
    }

    /// The outcome of a job that was stopped before it began.
    pub fn not_begun(&self, job: &Job) -> Outcome {
        self.outcome(job, Finish::Stopped, self.progress())
    }

    fn progress(&self) -> Progress {
        let source = if self.model.is_some() { Source::Llm } else { Source::Companion };
        Progress { source, model: None, chars: 0, queue: None, first: None, usage: None }
    }

    async fn generate(&self, job: &Job, audience: &dyn Audience, progress: &mut Progress) -> Result<Finish, Refusal> {
        if let Some(model) = &self.model {
            let slot = self.slots.acquire(|ahead| audience.queued(ahead)).await;
            let _slot = slot.map_err(Refusal::from)?;
            progress.queue = Some(Instant::now());
            let prompt = self.context.build(&*self.store, job).await.map_err(|error| {
                tracing::error!(trace_id = %job.trace.trace_id, message.label = %job.label, %error, "no history");
                Refusal::from(&error)
            })?;
            let trace = boot::telemetry::current_traceparent(&tracing::Span::current(), job.trace);
            match model.open(&prompt.messages, CallContext { label: job.label, trace }).await {
                Ok(answer) => {
                    let finish = stream(job, answer, audience, progress).await;
                    if let (Some(model), Some(usage)) = (&progress.model, progress.usage) {
                        self.context.learn(model, &prompt, usage.prompt_tokens);
                    }
                    return Ok(finish);
                }
                Err(error) => tracing::error!(
                    trace_id = %job.trace.trace_id, message.label = %job.label, %error,
                    "no answer from the model, the companion answers"
                ),
            }
        }
        progress.source = Source::Companion;
        let reply = companion::reply(&job.text, job.language, job.label.number);
        progress.add(&reply);
        audience.delta(reply);
        Ok(Finish::Stop)
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
    /// The store failed for longer than [`RECORD_PATIENCE`]; the answer may or may not be stored.
    pub async fn record(&self, job: &Job, after: u64, text: UserText, outcome: &Outcome) -> Result<u64, StoreError> {
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
            match self.append(job.label.user, after, entry.clone()).await {
                Ok(Appended::New(Entry { seq, .. }) | Appended::Known { seq }) => return Ok(seq),
                Err(error @ StoreError::Unavailable(_)) if Instant::now() < give_up => {
                    tracing::warn!(
                        trace_id = %job.trace.trace_id, message.label = %job.label, %error,
                        "the answer could not be stored yet"
                    );
                    sleep(RECORD_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// What is known of an answer while it comes.
struct Progress {
    source: Source,
    model: Option<String>,
    chars: usize,
    queue: Option<Instant>,
    first: Option<Instant>,
    usage: Option<Usage>,
}

impl Progress {
    fn add(&mut self, piece: &UserText) {
        self.first.get_or_insert_with(Instant::now);
        self.chars += piece.chars();
    }
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
        let room = MAX_ANSWER_CHARS - progress.chars;
        let fits = piece.chars() <= room;
        let piece = if fits { piece } else { piece.first_chars(room) };
        progress.add(&piece);
        audience.delta(piece);
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
