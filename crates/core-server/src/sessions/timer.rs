//! Time of a session: one task while it has a deadline.

use std::sync::Arc;

use session::Input;
use tokio::time::{Instant, sleep_until};

use super::live_session::{Cell, LiveSession};

/// Task that sleeps until the deadline of a session.
#[derive(Debug)]
pub(super) struct TimerTask(Arc<LiveSession>);

impl TimerTask {
    /// Starts the task of `session`, or wakes it if it would sleep too long.
    pub(super) fn arm(session: &Arc<LiveSession>, cell: &mut Cell) {
        match (cell.session.deadline().map(Instant::from_std), cell.timer) {
            (Some(deadline), None) => {
                cell.timer = Some(deadline);
                session.sessions.tasks().spawn(Self(Arc::clone(session)).run());
            }
            (Some(deadline), Some(timer)) if timer <= deadline => {}
            (deadline, Some(_)) => {
                cell.timer = deadline.or(cell.timer);
                session.rearmed.notify_one();
            }
            (None, None) => {}
        }
    }

    /// Passes time-outs, and the drain of the server, until the session has no deadline.
    async fn run(self) {
        let Self(session) = self;
        let mut is_draining = false;
        loop {
            let deadline = {
                let mut cell = session.cell();
                cell.timer = cell.session.deadline().map(Instant::from_std);
                cell.timer
            };
            let Some(deadline) = deadline else { return };
            tokio::select! {
                () = sleep_until(deadline) => session.on(Input::Timeout),
                () = session.rearmed.notified() => {}
                () = session.sessions.draining().cancelled(), if !is_draining => {
                    is_draining = true;
                    session.on(Input::Drain);
                }
            }
        }
    }
}
