//! Messages and answers written to the store.

use std::time::Duration;

use protocol::server_frame::{Entry, Role};
use protocol::{UserLabel, UserText};
use tokio::time::{Instant, sleep};

use super::{MessageRejection, Outcome, PendingTurn, TurnService, now};
use crate::store::{Appended, NewEntry, StoreError};

/// How long a finished answer waits for a database that is away: about as long as one takes to
/// restart or to fail over.
pub const RECORD_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two tries to store an answer.
const RECORD_RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Why an answer that people have read is not kept.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The store failed, for longer than [`RECORD_TIMEOUT`] if it was away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another core has answered the message too, and was faster: its answer is kept. Whoever sends
    /// the message again gets that one.
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
    /// Appends an entry, and counts how that goes.
    ///
    /// # Errors
    ///
    /// The store failed; the entry may or may not be stored.
    pub async fn append(&self, user: UserLabel, after: u64, entry: NewEntry) -> Result<Appended, StoreError> {
        let begin = Instant::now();
        let appended = self.store.append(user, after, entry).await;
        match &appended {
            Ok(Appended::New(_)) => self.metrics.commit_duration.observe(begin.elapsed().as_secs_f64()),
            // A session that is gone is no failure of the store's.
            Ok(Appended::Existing { .. }) | Err(StoreError::NoSession { .. }) => {}
            Err(_) => self.metrics.commit_failures.inc(),
        }
        appended
    }

    /// Stores the answer `text` to `turn`, after entry `after` as far as is known. Says its `seq`.
    /// A database that is away for a moment is waited for: people have read this answer.
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

    /// An answer is stored already: this one, when the database did not live to say so, or the one
    /// that another core gave while the two could not agree.
    async fn same_answer(&self, turn: &PendingTurn, text: &UserText, seq: u64) -> Result<u64, RecordError> {
        let entries = self.store.entries_of(turn.label.user, &turn.id).await?;
        let is_same = entries.iter().any(|entry| entry.role == Role::Assistant && entry.text == *text);
        if is_same { Ok(seq) } else { Err(RecordError::AlreadyAnswered) }
    }
}
