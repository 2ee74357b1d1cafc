//! Turns in flight: their permits, and the task of the running one.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use cluster::ClaimNumber;
use futures_util::FutureExt as _;
use protocol::{ErrorCode, MessageId};
use session::{Ended, Failure, Input, MessageRejection, Turn, TurnEvent};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::live_session::LiveSession;
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
    pub(super) fn run(&mut self, id: &MessageId) -> Option<(Permit, TurnControl)> {
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
    pub(super) fn remove(&mut self, id: &MessageId) -> Option<ClaimNumber> {
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

/// Task of a running turn.
#[derive(Debug)]
pub(super) struct TurnTask {
    pub(super) session: Arc<LiveSession>,
    pub(super) turn: Box<Turn>,
    pub(super) permit: Permit,
    pub(super) control: TurnControl,
}

impl TurnTask {
    pub(super) fn spawn(self) {
        let sessions = Arc::clone(&self.session.sessions);
        // Boxed: the runtime moves the future of a task several times, and this one is long.
        sessions.tasks().spawn(Box::pin(self.run()));
    }

    async fn run(self) {
        let Self { session, turn, permit, control } = self;
        let turns = session.sessions.turns();
        // A panic must not leave the session without the end of its turn: nothing would be answered any more.
        let concluded = AssertUnwindSafe(turns.run(&turn, permit, &session, control)).catch_unwind().await;
        let Concluded { ended, is_stopped, summary_job } = concluded.unwrap_or_else(|_| {
            let failure = Failure::Rejected(MessageRejection::permanent(ErrorCode::Internal));
            Concluded { ended: Ended::Failed(failure), is_stopped: false, summary_job: None }
        });
        let id = &turn.message.id;
        let claim = session.cell().turns.remove(id);
        if is_stopped {
            turns.budget.note_stopped(session.user(), id);
        }
        // Release the claim *before* publishing: a core that reacts to `done` must be able to claim.
        turns.budget.release(session.user(), id, claim, is_stopped).await;
        session.on(Input::Turn(TurnEvent::Ended(ended)));
        if let Some(summary_job) = summary_job {
            turns.summarize(summary_job).await;
        }
    }
}
