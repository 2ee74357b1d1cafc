//! The life of a session: open until the store has it no more, and how its end reaches everyone.

use protocol::CloseReason;

use super::state::{Lifecycle, Pending, State};
use super::{ConnectionId, Session};
use crate::cluster::SessionEvent;
use crate::store::StoreError;

impl Session {
    /// Passes on a result of the store. One that finds no session ends this one: another process
    /// erased it, or its time was over.
    pub(super) fn end_if_missing<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::NoSession { .. }) = &result {
            self.gone(0);
        }
        result
    }

    /// Ends the session, of which the store has nothing any more: cancels its turns, closes its
    /// connections with `erased` and tells the other cores. Every way to the end of a live session
    /// leads here; the second call changes nothing.
    pub(super) fn gone(&self, entries: u64) {
        let mut state = self.state();
        if self.end(&mut state, entries)
            && let Some(replicas) = &state.replicas
        {
            replicas.publish(SessionEvent::Erased);
        }
    }

    /// [`Session::gone`] without a word to the other cores. Returns whether the session was open.
    pub(super) fn end(&self, state: &mut State, entries: u64) -> bool {
        if state.is_gone() {
            return false;
        }
        let reason = CloseReason::Erased;
        // Before the turns are cancelled: nothing that they still say is published.
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

    /// Removes everything there is of the session. Returns how many entries there were; a session
    /// that is gone already counts as erased. To be run as a task of its own: half of it must not
    /// be cancelled.
    ///
    /// # Errors
    ///
    /// The store failed; the session may or may not be erased.
    pub async fn erase(&self) -> Result<u64, StoreError> {
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
            // The connection that asked may have had its `timeout` long ago.
            Err(error) => tracing::warn!(user = %self.user, %error, "the session could not be erased"),
        }
        erased
    }

    /// Connection `id` awaits the response to its `erase`: it stays open when the session is gone.
    /// To be called before the request begins, and ended with [`Session::end_erasure`].
    pub fn await_erasure(&self, id: ConnectionId) {
        self.state().erasing.push(id);
    }

    /// Connection `id` has its response, or its deadline has passed. Returns how many entries were
    /// erased if the session is gone; the connection has no session then.
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
