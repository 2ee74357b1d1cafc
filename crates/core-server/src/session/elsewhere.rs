//! The same session on other cores: who is there, and the answer that one of them gives.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use protocol::{MessageId, ServerFrame, UserLabel, UserText};
use tokio::sync::Notify;

use crate::cluster::{Cluster, CoreId, SessionEvent};

/// What is known of the session on other cores.
#[derive(Debug)]
pub(super) struct Elsewhere {
    cluster: Arc<Cluster>,
    user: UserLabel,
    /// Connections of the session on each core that was heard. While there is none, nothing is told.
    others: BTreeMap<CoreId, Other>,
    /// How much was heard so far.
    heard: u64,
    /// The session has just begun here: nothing of it was stored before.
    fresh: bool,
    /// Messages sent here that another core has under way.
    pub(super) awaited: HashSet<MessageId>,
    /// The answer under way on another core, as far as it was heard.
    pub(super) mirror: Option<Mirror>,
    /// Something has ended elsewhere: it may be our turn.
    pub(super) moved: Arc<Notify>,
}

/// Ticks without a word of another core after which it is asked whether it is there.
const ASKED_AFTER: u8 = 2;
/// Ticks after which a core that says nothing counts as dead.
const DEAD_AFTER: u8 = 4;

/// The session on another core.
#[derive(Debug, Default)]
struct Other {
    /// Its connections, as far as it was heard.
    connections: usize,
    /// Ticks since it was heard.
    silent: u8,
}

/// An answer that another core gives.
#[derive(Debug)]
pub(super) struct Mirror {
    /// Who gives it. While the cores could not agree, two of them may.
    pub(super) core: CoreId,
    pub(super) id: MessageId,
    pub(super) draft: UserText,
    /// Length of `draft` in characters.
    pub(super) chars: usize,
    /// Whoever gives it was asked for what is missing.
    asked: bool,
}

/// What a piece of an answer brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Nothing new.
    Known,
    /// This much, which begins at `offset`.
    New { offset: usize, text: UserText },
    /// Something before it is missing, and was not asked for yet.
    Gap,
}

impl Elsewhere {
    /// `fresh`: the session has just begun.
    pub(super) fn new(cluster: Arc<Cluster>, user: UserLabel, fresh: bool) -> Self {
        // Without a link it may be resumed and go on elsewhere before anything is heard here.
        let fresh = fresh && cluster.is_connected();
        cluster.subscribe(user);
        Self {
            cluster,
            user,
            others: BTreeMap::new(),
            heard: 0,
            fresh,
            awaited: HashSet::new(),
            mirror: None,
            moved: Arc::default(),
        }
    }

    /// Whether something may have been stored on another core that is gone by now. The first time
    /// not in a session that has just begun.
    pub(super) fn may_have_missed_some(&mut self) -> bool {
        !std::mem::take(&mut self.fresh)
    }

    /// Asks the others who they are and what they are doing.
    pub(super) fn say_hello(&self, connections: usize) {
        self.tell(SessionEvent::Hello { connections });
    }

    /// Tells the others how many connections there are here.
    pub(super) fn tell_here(&self, connections: usize) {
        if !self.others.is_empty() {
            self.tell(SessionEvent::Here { connections });
        }
    }

    /// Tells the others' connections what those here are told.
    pub(super) fn tell_frame(&self, frame: &ServerFrame) {
        if !self.others.is_empty() {
            self.tell(SessionEvent::Frame(Box::new(frame.clone())));
        }
    }

    /// Tells the others, whether they were heard or not.
    pub(super) fn tell(&self, event: SessionEvent) {
        self.cluster.publish(self.user, event, self.heard);
    }

    /// Something came from `core`; it may have said how many connections it has. Says whether it
    /// was not known.
    pub(super) fn note(&mut self, core: CoreId, connections: Option<usize>) -> bool {
        self.heard += 1;
        let is_new = !self.others.contains_key(&core);
        let known = self.others.entry(core).or_default();
        known.silent = 0;
        known.connections = connections.unwrap_or(known.connections);
        is_new
    }

    /// Forgets cores that died without a word, after asking them whether they are there. To be called
    /// at regular intervals; without a link silence says nothing.
    pub(super) fn tick(&mut self, connections: usize) {
        if self.cluster.is_connected() && self.age() {
            self.say_hello(connections);
        }
    }

    /// Notes that time has passed. Returns whether some core has to be asked if it is there.
    fn age(&mut self) -> bool {
        self.others.values_mut().for_each(|other| other.silent += 1);
        self.others.retain(|_, other| other.silent < DEAD_AFTER);
        self.others.values().any(|other| ASKED_AFTER <= other.silent)
    }

    /// Nobody listened to what was told when so much had been `heard`.
    pub(super) fn alone(&mut self, heard: u64) {
        if self.heard == heard {
            self.others.clear();
        }
    }

    /// Connections on other cores.
    pub(super) fn connections(&self) -> usize {
        self.others.values().map(|other| other.connections).sum()
    }

    #[cfg(test)]
    fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    pub(super) fn mirrors(&self, id: &MessageId) -> bool {
        self.mirror.as_ref().is_some_and(|mirror| mirror.id == *id)
    }

    /// Whether another core answers `id`, as far as is known here.
    pub(super) fn follows(&self, id: &MessageId) -> bool {
        self.mirrors(id) || self.awaited.contains(id)
    }

    /// Whether all of the answer to `id`, of so many characters, was heard from `core`.
    pub(super) fn has_whole(&self, core: CoreId, id: &MessageId, chars: usize) -> bool {
        match self.mirror.as_ref().filter(|mirror| mirror.id == *id) {
            Some(mirror) => mirror.core == core && mirror.chars == chars,
            None => chars == 0,
        }
    }

    /// Takes a piece of the answer to `id` that `core` gives, which begins at `offset`.
    pub(super) fn take(&mut self, core: CoreId, id: &MessageId, offset: usize, text: UserText) -> Piece {
        if !self.mirrors(id) {
            self.mirror = None;
        }
        let empty = || Mirror { core, id: id.clone(), draft: UserText::default(), chars: 0, asked: false };
        let mirror = self.mirror.get_or_insert_with(empty);
        if mirror.core != core {
            return Piece::Known;
        }
        let Some(known) = mirror.chars.checked_sub(offset) else {
            return if std::mem::replace(&mut mirror.asked, true) { Piece::Known } else { Piece::Gap };
        };
        if 0 < known {
            let held = mirror.draft.without_first_chars(offset);
            if !(held.expose().starts_with(text.expose()) || text.expose().starts_with(held.expose())) {
                // The answer began again: what was heard of it before was the model's thinking.
                mirror.draft = mirror.draft.first_chars(offset);
                mirror.draft.push(&text);
                mirror.chars = offset + text.chars();
                return Piece::New { offset, text };
            }
        }
        if text.chars() <= known {
            return Piece::Known;
        }
        let text = if known == 0 { text } else { text.without_first_chars(known) };
        let offset = mirror.chars;
        mirror.chars += text.chars();
        mirror.draft.push(&text);
        mirror.asked = false;
        Piece::New { offset, text }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.cluster.unsubscribe(self.user);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use boot::RateLimit;

    use super::*;
    use crate::cluster::{ClusterLimits, ClusterSettings};
    use crate::metrics::Metrics;

    /// The other cores of a session of `user`, none of which is known yet. There is no Redis.
    pub(in crate::session) fn elsewhere(user: UserLabel) -> Elsewhere {
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
            Metrics::default().redis_disconnects,
        );
        Elsewhere::new(cluster, user, false)
    }

    #[test]
    fn pieces_fit_together_whatever_is_heard_twice_or_not_at_all() {
        let mut elsewhere = elsewhere(UserLabel(1));
        let [core, other]: [CoreId; 2] = serde_json::from_str("[\"1f\",\"2f\"]").unwrap();
        let new = |offset, text: &str| Piece::New { offset, text: UserText::new(text) };
        for (id, offset, text, want) in [
            ("a", 2, "lost", Piece::Gap),
            ("a", 6, "lost", Piece::Known),
            ("a", 0, "¿có", new(0, "¿có")),
            ("a", 3, "mo", new(3, "mo")),
            ("a", 3, "mo", Piece::Known),
            ("a", 0, "¿cómo?", new(5, "?")),
            ("a", 9, "…", Piece::Gap),
            ("a", 0, "Hola", new(0, "Hola")),
            ("a", 4, ", Eva", new(4, ", Eva")),
            ("a", 4, ", ", Piece::Known),
            ("b", 0, "otra", new(0, "otra")),
        ] {
            let got = elsewhere.take(core, &id.parse().unwrap(), offset, UserText::new(text));
            assert_eq!(got, want, "{id} {offset}");
        }
        let id = "b".parse().unwrap();
        assert_eq!(elsewhere.take(other, &id, 4, UserText::new(" más")), Piece::Known, "it gives another answer");
        assert_eq!((elsewhere.has_whole(core, &id, 4), elsewhere.has_whole(other, &id, 4)), (true, false));
    }

    #[test]
    fn alone_only_if_nobody_was_heard_since() {
        let mut elsewhere = elsewhere(UserLabel(1));
        let core: CoreId = serde_json::from_str("\"1f\"").unwrap();
        assert!(elsewhere.note(core, Some(2)));
        elsewhere.alone(0);
        assert_eq!((elsewhere.has_others(), elsewhere.connections()), (true, 2));
        assert!(!elsewhere.note(core, None));
        elsewhere.alone(2);
        assert_eq!((elsewhere.has_others(), elsewhere.connections()), (false, 0));
    }

    #[test]
    fn a_core_that_answers_no_question_is_forgotten() {
        let mut elsewhere = elsewhere(UserLabel(1));
        let [living, dead]: [CoreId; 2] = serde_json::from_str("[\"1f\",\"2f\"]").unwrap();
        elsewhere.note(living, Some(1));
        elsewhere.note(dead, Some(2));
        let mut asked = Vec::new();
        for _ in 0..DEAD_AFTER {
            asked.push(elsewhere.age());
            // It answers what it is asked.
            if asked.last() == Some(&true) {
                elsewhere.note(living, Some(1));
            }
        }
        assert_eq!(asked, [false, true, true, false]);
        assert_eq!((elsewhere.has_others(), elsewhere.connections()), (true, 1));
    }
}
