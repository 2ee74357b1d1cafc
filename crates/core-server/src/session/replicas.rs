//! Replicas of a session on other cores: their connections, and the answer that one of them streams.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use cluster::{Cluster, CoreId, SessionEvent};
use protocol::{MessageId, ServerFrame, UserLabel, UserText};
use tokio::sync::Notify;

/// The session's replicas, as far as events have arrived here. Its drop unsubscribes.
#[derive(Debug)]
pub(super) struct RemoteReplicas {
    cluster: Arc<Cluster>,
    user: UserLabel,
    /// Cores from which an event arrived. While there is none, frames are not published.
    cores: BTreeMap<CoreId, Replica>,
    /// Number of events received so far.
    revision: u64,
    /// The session was created here: no entry can have been missed.
    fresh: bool,
    /// Messages sent here that another core answers.
    pub(super) awaited: HashSet<MessageId>,
    /// The answer in progress on another core, as far as its deltas have arrived.
    pub(super) remote_draft: Option<RemoteDraft>,
    /// Notified when a turn ends on another core: this core may be next.
    pub(super) turn_ended: Arc<Notify>,
}

/// Silent ticks of a core after which it is probed with a `Hello`.
const PROBE_AFTER_TICKS: u8 = 2;
/// Silent ticks after which a core counts as dead. Leaves two ticks for the reply to the probe.
const EXPIRE_AFTER_TICKS: u8 = 4;

/// The session on another core.
#[derive(Debug, Default)]
struct Replica {
    /// Its connections by its last event.
    connections: usize,
    /// Ticks since its last event.
    silent_ticks: u8,
}

/// An answer that another core streams.
#[derive(Debug)]
pub(super) struct RemoteDraft {
    /// The core that streams it. During a partition of Redis two cores may answer one message; the first one is followed.
    pub(super) core: CoreId,
    pub(super) id: MessageId,
    pub(super) draft: UserText,
    /// Length of `draft` in characters.
    pub(super) chars: usize,
    /// The missing part was requested already.
    gap_requested: bool,
}

/// Result of applying a delta.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delta {
    /// Nothing new, or a delta of the core that is not followed.
    Duplicate,
    /// New text from `offset` on.
    New { offset: usize, text: UserText },
    /// Text before it is missing and has not been requested yet.
    Gap,
}

impl RemoteReplicas {
    /// `fresh`: the session has just begun.
    pub(super) fn new(cluster: Arc<Cluster>, user: UserLabel, fresh: bool) -> Self {
        // Without Redis it may be resumed and continued on another core before any event arrives here.
        let fresh = fresh && cluster.is_connected();
        cluster.subscribe(user);
        Self {
            cluster,
            user,
            cores: BTreeMap::new(),
            revision: 0,
            fresh,
            awaited: HashSet::new(),
            remote_draft: None,
            turn_ended: Arc::default(),
        }
    }

    /// Returns true if entries may have been stored by a core that is gone by now: every time but the first one of a
    /// session that was created here.
    pub(super) fn may_have_missed_events(&mut self) -> bool {
        !std::mem::take(&mut self.fresh)
    }

    /// Asks the other cores for their connections and the answer in progress.
    pub(super) fn publish_hello(&self, connections: usize) {
        self.publish(SessionEvent::Hello { connections });
    }

    /// Publishes the number of connections here.
    pub(super) fn publish_connections(&self, connections: usize) {
        if !self.cores.is_empty() {
            self.publish(SessionEvent::Here { connections });
        }
    }

    /// Publishes a frame to the replicas' connections.
    pub(super) fn publish_frame(&self, frame: &ServerFrame) {
        if !self.cores.is_empty() {
            self.publish(SessionEvent::Frame(Box::new(frame.clone())));
        }
    }

    /// Publishes an event, also while no other core is known.
    pub(super) fn publish(&self, event: SessionEvent) {
        self.cluster.publish(self.user, event, self.revision);
    }

    /// Records an event of `core`, with its connections if the event says so. Returns true if the core is new.
    pub(super) fn on_event_from(&mut self, core: CoreId, connections: Option<usize>) -> bool {
        self.revision += 1;
        let is_new = !self.cores.contains_key(&core);
        let known = self.cores.entry(core).or_default();
        known.silent_ticks = 0;
        known.connections = connections.unwrap_or(known.connections);
        is_new
    }

    /// Probes silent cores and removes dead ones. Call it at regular intervals. Without Redis it does nothing: silence
    /// is no sign of death then.
    pub(super) fn tick(&mut self, connections: usize) {
        if self.cluster.is_connected() && self.age() {
            self.publish_hello(connections);
        }
    }

    /// Advances by one tick. Returns true if a core must be probed.
    fn age(&mut self) -> bool {
        self.cores.values_mut().for_each(|other| other.silent_ticks += 1);
        self.cores.retain(|_, other| other.silent_ticks < EXPIRE_AFTER_TICKS);
        self.cores.values().any(|other| PROBE_AFTER_TICKS <= other.silent_ticks)
    }

    /// Handles a publish at `revision` that reached no subscriber. Ignored if an event has arrived since: a core may have
    /// subscribed after that publish.
    pub(super) fn on_no_subscribers(&mut self, revision: u64) {
        if self.revision == revision {
            self.cores.clear();
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.cores.values().map(|other| other.connections).sum()
    }

    #[cfg(test)]
    fn has_replicas(&self) -> bool {
        !self.cores.is_empty()
    }

    pub(super) fn has_draft_of(&self, id: &MessageId) -> bool {
        self.remote_draft.as_ref().is_some_and(|remote_draft| remote_draft.id == *id)
    }

    /// Returns true if another core is known to answer `id`.
    pub(super) fn follows(&self, id: &MessageId) -> bool {
        self.has_draft_of(id) || self.awaited.contains(id)
    }

    /// Returns true if all `chars` characters of the answer to `id` have arrived from `core`.
    pub(super) fn has_complete_draft(&self, core: CoreId, id: &MessageId, chars: usize) -> bool {
        match self.remote_draft.as_ref().filter(|remote_draft| remote_draft.id == *id) {
            Some(remote_draft) => remote_draft.core == core && remote_draft.chars == chars,
            None => chars == 0,
        }
    }

    /// Applies a delta of `core`'s answer to `id`. Tolerates duplicates and overlaps; `offset` counts characters.
    pub(super) fn apply_delta(&mut self, core: CoreId, id: &MessageId, offset: usize, text: UserText) -> Delta {
        if !self.has_draft_of(id) {
            self.remote_draft = None;
        }
        let empty = || RemoteDraft { core, id: id.clone(), draft: UserText::default(), chars: 0, gap_requested: false };
        let remote_draft = self.remote_draft.get_or_insert_with(empty);
        if remote_draft.core != core {
            return Delta::Duplicate;
        }
        let Some(known) = remote_draft.chars.checked_sub(offset) else {
            return if std::mem::replace(&mut remote_draft.gap_requested, true) {
                Delta::Duplicate
            } else {
                Delta::Gap
            };
        };
        if 0 < known {
            let held = remote_draft.draft.without_first_chars(offset);
            if !(held.expose().starts_with(text.expose()) || text.expose().starts_with(held.expose())) {
                // The answer restarted: the text so far was the model's thinking, and is replaced.
                remote_draft.draft = remote_draft.draft.first_chars(offset);
                remote_draft.draft.push(&text);
                remote_draft.chars = offset + text.chars();
                return Delta::New { offset, text };
            }
        }
        if text.chars() <= known {
            return Delta::Duplicate;
        }
        let text = if known == 0 { text } else { text.without_first_chars(known) };
        let offset = remote_draft.chars;
        remote_draft.chars += text.chars();
        remote_draft.draft.push(&text);
        remote_draft.gap_requested = false;
        Delta::New { offset, text }
    }
}

impl Drop for RemoteReplicas {
    fn drop(&mut self) {
        self.cluster.unsubscribe(self.user);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use cluster::{ClusterLimits, ClusterSettings};
    use limits::RateLimit;

    use super::*;
    use crate::metrics::Metrics;

    /// Returns replicas of a session of `user` before any event. There is no Redis.
    pub(in crate::session) fn replicas(user: UserLabel) -> RemoteReplicas {
        let rate = RateLimit { events: 1, window: Duration::from_secs(1) };
        let limits = ClusterLimits {
            rate,
            address_rate: rate,
            per_user_max: 1,
            max_in_flight: 1,
            longest_claim: Duration::from_secs(60),
        };
        let (cluster, _) = Cluster::new(
            ClusterSettings { url: "redis://127.0.0.1".parse().unwrap(), limits },
            Metrics::default().cluster.redis_disconnects,
        );
        RemoteReplicas::new(cluster, user, false)
    }

    #[test]
    fn apply_delta_tolerates_duplicates_and_gaps() {
        let mut replicas = replicas(UserLabel(1));
        let [core, other]: [CoreId; 2] = serde_json::from_str("[\"1f\",\"2f\"]").unwrap();
        let new = |offset, text: &str| Delta::New { offset, text: UserText::new(text) };
        for (id, offset, text, want) in [
            ("a", 2, "lost", Delta::Gap),
            ("a", 6, "lost", Delta::Duplicate),
            ("a", 0, "¿có", new(0, "¿có")),
            ("a", 3, "mo", new(3, "mo")),
            ("a", 3, "mo", Delta::Duplicate),
            ("a", 0, "¿cómo?", new(5, "?")),
            ("a", 9, "…", Delta::Gap),
            ("a", 0, "Hola", new(0, "Hola")),
            ("a", 4, ", Eva", new(4, ", Eva")),
            ("a", 4, ", ", Delta::Duplicate),
            ("b", 0, "otra", new(0, "otra")),
        ] {
            let got = replicas.apply_delta(core, &id.parse().unwrap(), offset, UserText::new(text));
            assert_eq!(got, want, "{id} {offset}");
        }
        let id = "b".parse().unwrap();
        assert_eq!(
            replicas.apply_delta(other, &id, 4, UserText::new(" más")),
            Delta::Duplicate,
            "it gives another answer"
        );
        assert_eq!(
            (replicas.has_complete_draft(core, &id, 4), replicas.has_complete_draft(other, &id, 4)),
            (true, false)
        );
    }

    #[test]
    fn no_subscribers_is_ignored_after_a_newer_event() {
        let mut replicas = replicas(UserLabel(1));
        let core: CoreId = serde_json::from_str("\"1f\"").unwrap();
        assert!(replicas.on_event_from(core, Some(2)));
        replicas.on_no_subscribers(0);
        assert_eq!((replicas.has_replicas(), replicas.connections()), (true, 2));
        assert!(!replicas.on_event_from(core, None));
        replicas.on_no_subscribers(2);
        assert_eq!((replicas.has_replicas(), replicas.connections()), (false, 0));
    }

    #[test]
    fn removes_core_that_ignores_probes() {
        let mut replicas = replicas(UserLabel(1));
        let [living, dead]: [CoreId; 2] = serde_json::from_str("[\"1f\",\"2f\"]").unwrap();
        replicas.on_event_from(living, Some(1));
        replicas.on_event_from(dead, Some(2));
        let mut probes = Vec::new();
        for _ in 0..EXPIRE_AFTER_TICKS {
            probes.push(replicas.age());
            // The living core replies to the probe.
            if probes.last() == Some(&true) {
                replicas.on_event_from(living, Some(1));
            }
        }
        assert_eq!(probes, [false, true, true, false]);
        assert_eq!((replicas.has_replicas(), replicas.connections()), (true, 1));
    }
}
