//! Turns in flight: their permits, and the task of the running one.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use cluster::ClaimNumber;
use futures_util::FutureExt as _;
use protocol::{ErrorCode, MessageId};
use session::{Ended, Failure, Input, MessageRejection, Turn, TurnEvent};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::live_session::{Cell, LiveSession};
use crate::turn::{Concluded, Permit, TurnControl};

/// Turns in flight on this core.
#[derive(Debug, Default)]
pub(super) struct Turns(Vec<TurnHandle>);

/// Handle of a turn.
#[derive(Debug)]
struct TurnHandle {
    id: MessageId,
    claim: Option<ClaimNumber>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Waiting(Permit),
    /// Its task has the other ends.
    Running {
        stop: CancellationToken,
        record: Option<oneshot::Sender<Option<u64>>>,
    },
}

impl Turns {
    /// Keeps the permit of an admitted message.
    pub(super) fn keep(&mut self, id: MessageId, permit: Permit) {
        self.0.push(TurnHandle { id, claim: permit.claim, stage: Stage::Waiting(permit) });
    }

    /// Returns the permit and the control of message `id`, which is answered now.
    fn run(&mut self, id: &MessageId) -> Option<(Permit, TurnControl)> {
        let handle = self.find(id)?;
        let (stop, (sender, record)) = (CancellationToken::new(), oneshot::channel());
        let running = Stage::Running { stop: stop.clone(), record: Some(sender) };
        match std::mem::replace(&mut handle.stage, running) {
            Stage::Waiting(permit) => Some((permit, TurnControl { stop, record })),
            Stage::Running { .. } => None,
        }
    }

    pub(super) fn cancel(&mut self, id: &MessageId) {
        if let Some(TurnHandle { stage: Stage::Running { stop, .. }, .. }) = self.find(id) {
            stop.cancel();
        }
    }

    pub(super) fn record(&mut self, id: &MessageId, after: Option<u64>) {
        if let Some(TurnHandle { stage: Stage::Running { record, .. }, .. }) = self.find(id)
            && let Some(record) = record.take()
        {
            // Its task may have panicked.
            let _ = record.send(after);
        }
    }

    /// Removes a turn, whose claim is released now. Returns the claim.
    fn remove(&mut self, id: &MessageId) -> Option<ClaimNumber> {
        let at = self.0.iter().position(|handle| handle.id == *id)?;
        let TurnHandle { claim, .. } = self.0.swap_remove(at);
        if self.0.is_empty() {
            // Frees the buffer: most sessions are idle.
            self.0 = Vec::new();
        }
        claim
    }

    /// Returns message and claim of every turn in flight whose claim is not released.
    pub(super) fn claims(&self) -> Vec<(MessageId, Option<ClaimNumber>)> {
        self.0.iter().map(|handle| (handle.id.clone(), handle.claim)).collect()
    }

    fn find(&mut self, id: &MessageId) -> Option<&mut TurnHandle> {
        self.0.iter_mut().find(|handle| handle.id == *id)
    }
}

impl LiveSession {
    /// Starts the task of a turn.
    pub(super) fn spawn_turn(self: &Arc<Self>, cell: &mut Cell, turn: Box<Turn>) {
        let Some((permit, control)) = cell.turns.run(&turn.message.id) else {
            debug_assert!(false, "a turn without a permit");
            return;
        };
        let session = Arc::clone(self);
        self.sessions.tasks().spawn(async move { session.run_turn(turn, permit, control).await });
    }

    async fn run_turn(self: Arc<Self>, turn: Box<Turn>, permit: Permit, control: TurnControl) {
        let turns = self.sessions.turns();
        // A panic must not leave the session without the end of its turn: nothing would be answered any more.
        let concluded = AssertUnwindSafe(turns.run(&turn, permit, &self, control)).catch_unwind().await;
        let Concluded { ended, is_stopped, summary_job } = concluded.unwrap_or_else(|_| {
            let failure = Failure::Rejected(MessageRejection::permanent(ErrorCode::Internal));
            Concluded { ended: Ended::Failed(failure), is_stopped: false, summary_job: None }
        });
        let id = &turn.message.id;
        let claim = self.cell().turns.remove(id);
        if is_stopped {
            turns.budget.note_stopped(self.user(), id);
        }
        // Release the claim *before* publishing: a core that reacts to `done` must be able to claim.
        turns.budget.release(self.user(), id, claim, is_stopped).await;
        self.on(Input::Turn(TurnEvent::Ended(ended)));
        if let Some(summary_job) = summary_job {
            turns.summarize(summary_job).await;
        }
    }

    /// Releases, in a task, the claim to a message that is not answered here after all.
    pub(super) fn release(self: &Arc<Self>, cell: &mut Cell, id: &MessageId, is_stopped: bool) {
        let claim = cell.turns.remove(id);
        let (sessions, user) = (Arc::clone(&self.sessions), self.user());
        if is_stopped {
            // Synchronously: the message may be resubmitted before the task has run, and must count as stopped then.
            sessions.turns().budget.note_stopped(user, id);
        }
        if claim.is_some() {
            let id = id.clone();
            let release = async move { sessions.turns().budget.release(user, &id, claim, is_stopped).await };
            self.sessions.tasks().spawn(release);
        }
    }
}
