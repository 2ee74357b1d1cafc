//! Lifecycle of a session: open until the store no longer has it, then ended once, for every connection and core.

use cluster::SessionEvent;
use protocol::CloseReason;
use store::StoreError;

use super::state::{Lifecycle, Pending, State};
use super::{ConnectionId, Session};

impl Session {
    /// Passes a result of the store through, and ends the session if the store no longer has it: another process erased
    /// it, or its retention expired.
    pub(super) fn end_if_missing<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::NoSession { .. }) = &result {
            self.gone(0);
        }
        result
    }

    /// Ends a session that the store no longer has: cancels its turns, closes its connections with `erased` and
    /// publishes that to the other cores. Every end of a live session leads here. Idempotent.
    pub(super) fn gone(&self, entries: u64) {
        let mut state = self.state();
        if self.end(&mut state, entries)
            && let Some(replicas) = &state.replicas
        {
            replicas.publish(SessionEvent::Erased);
        }
    }

    /// [`Session::gone`] without the event to other cores. Returns true if the session was open.
    pub(super) fn end(&self, state: &mut State, entries: u64) -> bool {
        if state.is_gone() {
            return false;
        }
        let reason = CloseReason::Erased;
        // Before the turns are cancelled, so that nothing they still produce is published.
        state.lifecycle = Lifecycle::Gone { reason, entries };
        self.turn_ended.notify_waiters();
        for Pending { turn, .. } in std::mem::take(&mut state.waiting) {
            self.release_later(turn, false);
        }
        if let Some(running) = &state.running {
            running.stop.cancel();
        }
        let spared = std::mem::take(&mut state.erasing);
        state.close_except(&spared, reason);
        state.erasing = spared;
        true
    }

    /// Erases the session from the store and ends it. Returns the number of entries; a session that is gone already
    /// counts as erased.
    ///
    /// # Cancel safety
    ///
    /// Not safe: run it as a task of its own, or the store may have erased a session that still looks open here.
    ///
    /// # Errors
    ///
    /// The store failed; the session may or may not be erased.
    pub async fn erase(&self) -> Result<u64, StoreError> {
        // No entry may be stored between the erase in the store and the end of this session.
        let _commit = self.commit.lock().await;
        if let Lifecycle::Gone { entries, .. } = self.state().lifecycle {
            return Ok(entries);
        }
        let erased = match self.sessions.turns().store.erase(self.user).await {
            Err(StoreError::NoSession { .. }) => Ok(0),
            erased => erased,
        };
        match &erased {
            Ok(entries) => self.gone(*entries),
            // Logged here: the request may have ended with `timeout` long ago.
            Err(error) => tracing::warn!(user = %self.user, %error, "the session could not be erased"),
        }
        erased
    }

    /// Keeps connection `id` open when the session ends: it awaits the response to its `erase`. Call it before the
    /// request begins, and [`Session::end_erasure`] after it.
    pub fn await_erasure(&self, id: ConnectionId) {
        self.state().erasing.push(id);
    }

    /// Ends [`Session::await_erasure`], with the response or at its deadline. Returns the number of erased entries if
    /// the session is gone; the connection has no session then.
    pub fn end_erasure(&self, id: ConnectionId) -> Option<u64> {
        let mut state = self.state();
        if let Some(at) = state.erasing.iter().position(|erasing| *erasing == id) {
            state.erasing.swap_remove(at);
        }
        match state.lifecycle {
            Lifecycle::Open => None,
            Lifecycle::Gone { entries, .. } => Some(entries),
        }
    }
}
