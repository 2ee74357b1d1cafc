//! Handles cluster events, and catches up from the store when events were missed.
//!
//! Publish/subscribe of Redis drops events during a disconnect. The store is the truth: every gap in `seq`, every
//! new subscription and every new core leads to a catch-up.

use std::sync::Arc;
use std::time::Duration;

use cluster::{ClusterEvent, Envelope};
use protocol::UserLabel;
use session::{CoreId, Input};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::Sessions;

/// Interval of the check for dead cores; a session's replicas count in it.
const TICK_INTERVAL: Duration = Duration::from_secs(15);

impl Sessions {
    /// Handles cluster events until their channel closes.
    pub async fn run_cluster_events(self: Arc<Self>, mut events: mpsc::Receiver<ClusterEvent>) {
        let mut ticks = interval(TICK_INTERVAL);
        // Delay: a burst of ticks after a stall would expire every core before its queued events are read.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                // Events first: a tick must not expire a core whose event is queued.
                biased;
                event = events.recv() => event,
                _ = ticks.tick() => {
                    self.tick();
                    continue;
                }
            };
            let Some(event) = event else { return };
            match event {
                ClusterEvent::Connected => drop(self.tasks().spawn(Arc::clone(&self).reclaim_all())),
                ClusterEvent::Subscribed(user) => self.pass(user, Input::Subscribed),
                ClusterEvent::Published(user, payload) => self.on_published(user, &payload),
                ClusterEvent::NoSubscribers(user, revision) => self.pass(user, Input::NoSubscribers(revision)),
            }
        }
    }

    /// Passes `input` to the session of `user`, if it is live.
    fn pass(&self, user: UserLabel, input: Input) {
        if let Some(session) = self.live_session_of(user) {
            session.on(input);
        }
    }

    fn tick(&self) {
        let is_connected = self.turns().cluster.as_ref().is_some_and(|cluster| cluster.is_connected());
        for user in self.users() {
            self.pass(user, Input::Tick { is_connected });
        }
    }

    fn on_published(&self, user: UserLabel, payload: &[u8]) {
        let is_own = |core| self.turns().cluster.as_ref().is_some_and(|cluster| cluster.is_own_id(core));
        match Envelope::decode(payload) {
            Ok(Envelope { core, event }) if !is_own(core) => {
                self.pass(user, Input::Remote(CoreId::new(core.get()), event));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%user, %error, "malformed cluster event"),
        }
    }

    /// Claims every turn in flight again under this core's new id, and restores the rate windows: Redis may have been
    /// restarted empty.
    async fn reclaim_all(self: Arc<Self>) {
        let budget = &self.turns().budget;
        budget.restore_windows().await;
        for user in self.users() {
            let Some(session) = self.live_session_of(user) else { continue };
            let claims = session.cell().turns.claims();
            for claim in claims {
                budget.reclaim(user, &claim.0, claim.1).await;
                // The turn may have ended during the claim: its own release came too early then.
                if !session.cell().turns.claims().contains(&claim) {
                    budget.release(user, &claim.0, claim.1, false).await;
                }
            }
        }
    }
}
