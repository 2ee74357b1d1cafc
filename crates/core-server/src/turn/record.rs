//! Runs a turn: generates its answer, and records it.

use std::time::Duration;

use protocol::UserLabel;
use protocol::server_frame::{Done, Finish, Role, Timing};
use session::{Ended, Failure, MessageRejection, Turn, TurnEvent};
use store::{Appended, NewEntry, StoreError};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::answer::Answer;
use super::generate::{millis, since_accepted, span_of};
use super::{AnswerSink, Permit, SummaryJob, TurnService, now, store_failure};

/// Timeout for recording a finished answer while the database is unavailable: about the time of a restart or a
/// failover.
pub const RECORD_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two retries.
const RECORD_RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Control over a running turn.
#[derive(Debug)]
pub struct TurnControl {
    /// Cancelled to end the generation, with the text so far.
    pub stop: CancellationToken,
    /// Highest known `seq` once the answer may be recorded; `None` discards it.
    pub record: oneshot::Receiver<Option<u64>>,
}

/// End of a turn, whose claim is still to be released.
#[derive(Debug)]
pub struct Concluded {
    /// The end, as the session publishes it.
    pub ended: Ended,
    /// The person stopped it before it had any text: the next attempt counts as new.
    pub is_stopped: bool,
    /// Summary to make after it; see [`TurnService::summarize`].
    pub summary_job: Option<SummaryJob>,
}

/// Error of recording an answer that the person has read.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    /// The store failed; if it was unavailable, for longer than [`RECORD_TIMEOUT`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another core has answered the message faster, and its answer is stored. A client that resends the message gets
    /// that one.
    #[error("another core has answered it too, and was faster")]
    AlreadyAnswered,
}

impl TurnService {
    /// Runs `turn` within `permit`: checks the risk again, waits for a model slot, builds the context, streams the model's
    /// answer or the companion's to `sink`, and records it once `control` allows that.
    pub async fn run(&self, turn: &Turn, permit: Permit, sink: &dyn AnswerSink, control: TurnControl) -> Concluded {
        self.answer_and_record(turn, permit, sink, control).instrument(span_of(turn)).await
    }

    async fn answer_and_record(
        &self,
        turn: &Turn,
        permit: Permit,
        sink: &dyn AnswerSink,
        control: TurnControl,
    ) -> Concluded {
        let (finish, mut answer) = match self.answer(turn, permit, sink, &control.stop).await {
            Ok(answered) => answered,
            Err(failure) => {
                return Concluded { ended: Ended::Failed(failure), is_stopped: false, summary_job: None };
            }
        };
        let total = Instant::now();
        sink.on(TurnEvent::Generated);
        // The sender is dropped with the session's owner only.
        let after = control.record.await.ok().flatten();
        let recorded = match after.filter(|_| 0 < answer.chars) {
            Some(after) => self.record(turn, after, finish, &answer).await,
            None => Ok(None),
        };
        let summary_job = answer.summary_job.take();
        let is_stopped = matches!(recorded, Ok(None)) && finish == Finish::Stopped;
        let ended = match recorded {
            Ok(seq) => Ended::Done(Box::new(done(turn, answer, Recorded { seq, finish, total }))),
            Err(error) => {
                tracing::error!(%error, "failed to record answer");
                Ended::NotRecorded(match &error {
                    RecordError::Store(error) => store_failure(error),
                    RecordError::AlreadyAnswered => Failure::Rejected(MessageRejection::abandoned()),
                })
            }
        };
        Concluded { ended, is_stopped, summary_job }
    }

    /// Appends an entry, and observes the commit in metrics.
    ///
    /// # Errors
    ///
    /// The store failed; the entry may or may not be stored.
    pub async fn append(&self, user: UserLabel, after: u64, entry: NewEntry) -> Result<Appended, StoreError> {
        let begin = Instant::now();
        let appended = self.store.append(user, after, entry).await;
        match &appended {
            Ok(Appended::New(_)) => self.metrics.commit_duration.observe(begin.elapsed().as_secs_f64()),
            // A session that is gone is no failure of the store.
            Ok(Appended::Existing { .. } | Appended::Forgotten(_)) | Err(StoreError::NoSession { .. }) => {}
            Err(_) => self.metrics.commit_failures.inc(),
        }
        appended
    }

    /// Stores `answer`. `after`: highest known `seq`. Returns its `seq`; `None` if the message was forgotten. Retries while the database is unavailable, up to
    /// [`RECORD_TIMEOUT`]: the person has read this answer.
    async fn record(
        &self,
        turn: &Turn,
        after: u64,
        finish: Finish,
        answer: &Answer,
    ) -> Result<Option<u64>, RecordError> {
        let entry = NewEntry {
            id: turn.message.id.clone(),
            role: Role::Assistant,
            text: answer.text.clone(),
            at: now(),
            finish: Some(finish),
            source: Some(answer.source),
            help: None,
        };
        // One deadline over all retries: no other entry of the session is stored meanwhile.
        let deadline = Instant::now() + RECORD_TIMEOUT;
        loop {
            let stored = match self.append(turn.label.user, after, entry.clone()).await {
                Ok(Appended::New(entry)) => Ok(Some(entry.seq)),
                Ok(Appended::Existing { seq }) => self.same_answer(turn, answer, seq).await.map(Some),
                Ok(Appended::Forgotten(_)) => Ok(None),
                Err(error) => Err(error.into()),
            };
            match stored {
                Err(RecordError::Store(error @ StoreError::Unavailable(_))) if Instant::now() < deadline => {
                    tracing::warn!(%error, "the answer could not be stored yet");
                    sleep(RECORD_RETRY_PAUSE).await;
                }
                stored => return stored,
            }
        }
    }

    /// Compares with the answer that is stored already: this one, if the commit's reply was lost, or another core's,
    /// given during a partition.
    async fn same_answer(&self, turn: &Turn, answer: &Answer, seq: u64) -> Result<u64, RecordError> {
        let entries = self.store.entries_of(turn.label.user, &turn.message.id).await?;
        let is_same = entries.iter().any(|entry| entry.role == Role::Assistant && entry.text == answer.text);
        if is_same { Ok(seq) } else { Err(RecordError::AlreadyAnswered) }
    }
}

/// Result of recording an answer.
struct Recorded {
    seq: Option<u64>,
    finish: Finish,
    /// Time of the end of the generation.
    total: Instant,
}

fn done(turn: &Turn, answer: Answer, recorded: Recorded) -> Done {
    let since = |at: Option<Instant>| at.map_or(0, |at| millis(since_accepted(turn, at)));
    let ms = Timing { queue: since(answer.queue), first: since(answer.first), total: since(Some(recorded.total)) };
    Done {
        id: turn.message.id.clone(),
        seq: recorded.seq,
        finish: recorded.finish,
        source: answer.source,
        model: answer.model,
        chars: answer.chars,
        ms,
        usage: answer.usage,
        exercise: answer.exercise,
    }
}
