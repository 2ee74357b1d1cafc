//! Time of a session: one task while it has a deadline.

use std::sync::Arc;

use session::Input;
use tokio::time::{Instant, sleep_until};

use super::live_session::{Cell, LiveSession};

impl LiveSession {
    /// Starts the timer task, or wakes it if it would sleep too long.
    pub(super) fn arm_timer(self: &Arc<Self>, cell: &mut Cell) {
        match (cell.session.deadline().map(Instant::from_std), cell.timer) {
            (Some(deadline), None) => {
                cell.timer = Some(deadline);
                let session = Arc::clone(self);
                self.sessions.tasks().spawn(async move { session.run_timer().await });
            }
            (Some(deadline), Some(timer)) if timer <= deadline => {}
            (deadline, Some(_)) => {
                cell.timer = deadline.or(cell.timer);
                self.rearmed.notify_one();
            }
            (None, None) => {}
        }
    }

    /// Passes time-outs, and the drain of the server, until the session has no deadline.
    async fn run_timer(self: Arc<Self>) {
        let mut is_draining = false;
        loop {
            let deadline = {
                let mut cell = self.cell();
                cell.timer = cell.session.deadline().map(Instant::from_std);
                cell.timer
            };
            let Some(deadline) = deadline else { return };
            tokio::select! {
                () = sleep_until(deadline) => self.on(Input::Timeout),
                () = self.rearmed.notified() => {}
                () = self.sessions.draining().cancelled(), if !is_draining => {
                    is_draining = true;
                    self.on(Input::Drain);
                }
            }
        }
    }
}
