//! Records messages and answers in the store.

use std::time::Duration;

use protocol::server_frame::{Entry, Role};
use protocol::{UserLabel, UserText};
use store::{Appended, NewEntry, StoreError};
use tokio::time::{Instant, sleep};

use super::{MessageRejection, Outcome, PendingTurn, TurnService, now};

/// Timeout for recording a finished answer while the database is unavailable: about the time of a restart or a
/// failover.
pub const RECORD_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two retries.
const RECORD_RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Error of recording an answer that the person has read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The store failed; if it was unavailable, for longer than [`RECORD_TIMEOUT`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another core has answered the message faster, and its answer is stored. A client that resends the message gets
    /// that one.
    #[error("another core has answered it too, and was faster")]
    AlreadyAnswered,
}

impl From<&RecordError> for MessageRejection {
    fn from(reason: &RecordError) -> Self {
        match reason {
            RecordError::Store(error) => error.into(),
            RecordError::AlreadyAnswered => Self::abandoned(),
        }
    }
}

impl TurnService {
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
            Ok(Appended::Existing { .. }) | Err(StoreError::NoSession { .. }) => {}
            Err(_) => self.metrics.commit_failures.inc(),
        }
        appended
    }

    /// Stores the answer `text` to `turn`. `after`: highest known `seq`. Returns its `seq`. Retries while the database is
    /// unavailable, up to [`RECORD_TIMEOUT`]: the person has read this answer.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; the answer may or may not be stored.
    pub async fn record(
        &self,
        turn: &PendingTurn,
        after: u64,
        text: UserText,
        outcome: &Outcome,
    ) -> Result<u64, RecordError> {
        let entry = NewEntry {
            id: turn.id.clone(),
            role: Role::Assistant,
            text,
            at: now(),
            finish: Some(outcome.finish),
            source: Some(outcome.source),
            help: None,
        };
        // One deadline over all retries: the commit lock of the session is held meanwhile.
        let deadline = Instant::now() + RECORD_TIMEOUT;
        loop {
            let stored = match self.append(turn.label.user, after, entry.clone()).await {
                Ok(Appended::New(Entry { seq, .. })) => Ok(seq),
                Ok(Appended::Existing { seq }) => self.same_answer(turn, &entry.text, seq).await,
                Err(error) => Err(error.into()),
            };
            match stored {
                Err(RecordError::Store(error @ StoreError::Unavailable(_))) if Instant::now() < deadline => {
                    tracing::warn!(
                        trace_id = %turn.trace.trace_id, message.label = %turn.label, %error,
                        "the answer could not be stored yet"
                    );
                    sleep(RECORD_RETRY_PAUSE).await;
                }
                stored => return stored,
            }
        }
    }

    /// Compares with the answer that is stored already: this one, if the commit's reply was lost, or another core's,
    /// given during a partition.
    async fn same_answer(&self, turn: &PendingTurn, text: &UserText, seq: u64) -> Result<u64, RecordError> {
        let entries = self.store.entries_of(turn.label.user, &turn.id).await?;
        let is_same = entries.iter().any(|entry| entry.role == Role::Assistant && entry.text == *text);
        if is_same { Ok(seq) } else { Err(RecordError::AlreadyAnswered) }
    }
}
