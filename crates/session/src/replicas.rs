//! Replicas of a session on other cores: their connections, and the answers that they give.
//!
//! Publish/subscribe drops events during a disconnect. The store is the truth: every gap in `seq`, every new
//! subscription and every new core leads to a catch-up.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use protocol::{MessageId, ServerFrame, UserText};

use crate::cx::Cx;
use crate::effect::{Delta, Effect};
use crate::event::{CoreId, SessionEvent};
use crate::ids::ConnectionId;
use crate::message::Message;

/// Interval at which a claim of another core is polled. A core that dies publishes nothing.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Answered messages that are remembered: more than a person has in flight on all cores.
const MAX_ANSWERED: usize = 16;
/// Silent ticks of a core after which it is probed with a `Hello`.
const PROBE_AFTER_TICKS: u8 = 2;
/// Silent ticks after which a core counts as dead. Leaves two ticks for the reply to the probe.
const EXPIRE_AFTER_TICKS: u8 = 4;

/// The session's replicas, as far as events have arrived here.
#[derive(Debug)]
pub(crate) struct Replicas {
    /// Cores from which an event arrived.
    cores: BTreeMap<CoreId, Replica>,
    /// The last publication reached no other core: frames are not published. Not before that is known, because a core
    /// that has received the `Hello` catches up once, and its reply is on its way.
    is_alone: bool,
    /// Number of events received so far.
    revision: u64,
    /// No entry can have been missed: the session was created here, and other cores' events arrive.
    is_fresh: bool,
    /// The answer in progress on another core, as far as its deltas have arrived.
    draft: Option<RemoteDraft>,
    /// Answers followed on other cores.
    followed: Vec<Followed>,
    /// The last messages whose stored answers were published here.
    answered: VecDeque<MessageId>,
}

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
pub(crate) struct RemoteDraft {
    /// The core that streams it. During a partition two cores may answer one message; the first one is followed.
    core: CoreId,
    pub(crate) id: MessageId,
    pub(crate) text: UserText,
    /// Length of `text` in characters.
    pub(crate) chars: usize,
    /// The missing part was requested already.
    is_gap_requested: bool,
}

/// A stored message and the connection that sent it.
#[derive(Debug, Clone)]
pub(crate) struct StoredMessage {
    pub(crate) from: ConnectionId,
    pub(crate) message: Message,
    pub(crate) seq: u64,
}

/// An answer followed on another core.
#[derive(Debug)]
pub(crate) struct Followed {
    id: MessageId,
    /// The message, if it was sent here.
    sent: Option<StoredMessage>,
    /// Text of the answer was published here.
    is_shown: bool,
    step: FollowStep,
}

/// Step of the loop that finds out whether the answering core is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FollowStep {
    /// The claim is polled at this time.
    PollAt(Instant),
    /// The claim is being read.
    ReadClaim,
    /// Entries are caught up with: the end event may have been lost. The claim is free, or unknown.
    CatchUp {
        /// No live core holds the claim.
        is_free: bool,
    },
    /// The store is being asked for an answer.
    ReadAnswer,
    /// No core answers it: another attempt begins here, or clients get an error.
    TakeOver,
}

/// Result of applying a delta.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AppliedDelta {
    /// Nothing new, or a delta of the core that is not followed.
    Duplicate,
    /// New text.
    New(Delta),
    /// Text before it is missing and has not been requested yet.
    Gap,
}

impl Replicas {
    /// `is_fresh`: the session was created here just now, and the cluster is connected.
    pub(crate) fn new(is_fresh: bool) -> Self {
        Self {
            cores: BTreeMap::new(),
            is_alone: false,
            revision: 0,
            is_fresh,
            draft: None,
            followed: Vec::new(),
            answered: VecDeque::new(),
        }
    }

    /// Returns true if entries may have been stored by a core that is gone by now: every time but the first one of a
    /// fresh session.
    pub(crate) fn may_have_missed_events(&mut self) -> bool {
        !std::mem::take(&mut self.is_fresh)
    }

    /// Returns true unless no other core has the session.
    pub(crate) fn has_any(&self) -> bool {
        !self.is_alone
    }

    pub(crate) fn connections(&self) -> usize {
        self.cores.values().map(|replica| replica.connections).sum()
    }

    // ---- publishing -------------------------------------------------------------------------

    /// Publishes an event, also while no other core is known.
    pub(crate) fn publish(&self, event: SessionEvent, cx: &mut Cx<'_>) {
        cx.start(Effect::Publish { event, revision: self.revision });
    }

    /// Requests the connections of the other cores, and the answer in progress.
    pub(crate) fn publish_hello(&mut self, connections: usize, cx: &mut Cx<'_>) {
        self.is_alone = false;
        self.publish(SessionEvent::Hello { connections }, cx);
    }

    /// Publishes the number of connections here.
    pub(crate) fn publish_connections(&self, connections: usize, cx: &mut Cx<'_>) {
        if self.has_any() {
            self.publish(SessionEvent::Here { connections }, cx);
        }
    }

    /// Publishes a frame to the replicas' connections.
    pub(crate) fn publish_frame(&self, frame: &ServerFrame, cx: &mut Cx<'_>) {
        if self.has_any() {
            self.publish(SessionEvent::Frame(Box::new(frame.clone())), cx);
        }
    }

    // ---- liveness ---------------------------------------------------------------------------

    /// Records an event of `core`, with its connections if the event says so. Returns true if the core is new.
    pub(crate) fn on_event_from(&mut self, core: CoreId, connections: Option<usize>) -> bool {
        self.revision += 1;
        self.is_alone = false;
        let is_new = !self.cores.contains_key(&core);
        let replica = self.cores.entry(core).or_default();
        replica.silent_ticks = 0;
        replica.connections = connections.unwrap_or(replica.connections);
        is_new
    }

    /// Probes silent cores and removes dead ones.
    pub(crate) fn tick(&mut self, connections: usize, cx: &mut Cx<'_>) {
        self.cores.values_mut().for_each(|replica| replica.silent_ticks += 1);
        self.cores.retain(|_, replica| replica.silent_ticks < EXPIRE_AFTER_TICKS);
        if self.cores.values().any(|replica| PROBE_AFTER_TICKS <= replica.silent_ticks) {
            self.publish_hello(connections, cx);
        }
    }

    /// Handles a publication at `revision` that reached no subscriber. Ignored if an event has arrived since: a core may
    /// have subscribed after that publication.
    pub(crate) fn on_no_subscribers(&mut self, revision: u64) {
        if self.revision == revision {
            self.cores.clear();
            self.is_alone = true;
        }
    }

    // ---- remote answers ---------------------------------------------------------------------

    pub(crate) fn draft(&self) -> Option<&RemoteDraft> {
        self.draft.as_ref()
    }

    pub(crate) fn has_draft_of(&self, id: &MessageId) -> bool {
        self.draft.as_ref().is_some_and(|draft| draft.id == *id)
    }

    /// Returns true if `core` is the one whose answer to `id` is followed, or none is.
    pub(crate) fn is_followed_core(&self, core: CoreId, id: &MessageId) -> bool {
        self.draft.as_ref().is_none_or(|draft| draft.id != *id || draft.core == core)
    }

    /// Returns true if all `chars` characters of the answer to `id` have arrived from `core`.
    pub(crate) fn has_complete_draft(&self, core: CoreId, id: &MessageId, chars: usize) -> bool {
        match self.draft.as_ref().filter(|draft| draft.id == *id) {
            Some(draft) => draft.core == core && draft.chars == chars,
            None => chars == 0,
        }
    }

    /// Applies a delta of `core`'s answer. Tolerates duplicates and overlaps.
    pub(crate) fn apply_delta(&mut self, core: CoreId, delta: Delta) -> AppliedDelta {
        let Delta { id, offset, chars, text, exercise } = delta;
        if !self.has_draft_of(&id) {
            self.draft = None;
        }
        let draft = self.draft.get_or_insert_with(|| RemoteDraft::new(core, id.clone()));
        if draft.core != core {
            return AppliedDelta::Duplicate;
        }
        let Some(known) = draft.chars.checked_sub(offset) else {
            let was_requested = std::mem::replace(&mut draft.is_gap_requested, true);
            return if was_requested { AppliedDelta::Duplicate } else { AppliedDelta::Gap };
        };
        if draft.conflicts_with(offset, &text) {
            // The answer restarted: the text so far was the model's thinking, and is replaced.
            draft.text = draft.text.first_chars(offset);
            draft.text.push(&text);
            draft.chars = offset + chars;
            return AppliedDelta::New(Delta { id, offset, chars, text, exercise });
        }
        if chars <= known {
            return AppliedDelta::Duplicate;
        }
        let text = if known == 0 { text } else { text.without_first_chars(known) };
        let (offset, chars) = (draft.chars, chars - known);
        draft.chars += chars;
        draft.text.push(&text);
        draft.is_gap_requested = false;
        AppliedDelta::New(Delta { id, offset, chars, text, exercise })
    }

    /// Records that the stored answer to `id` was published here.
    pub(crate) fn note_answered(&mut self, id: &MessageId) {
        if self.answered.len() == MAX_ANSWERED {
            self.answered.pop_front();
        }
        self.answered.push_back(id.clone());
    }

    /// Returns true if the stored answer to `id` was published here: deltas that arrive behind it have no end.
    pub(crate) fn is_answered(&self, id: &MessageId) -> bool {
        self.answered.contains(id)
    }

    /// Follows the answer to `id` from now on. `sent`: the message, if it was sent here.
    pub(crate) fn follow(&mut self, id: MessageId, sent: Option<StoredMessage>, now: Instant) {
        let step = FollowStep::PollAt(now + POLL_INTERVAL);
        match self.followed.iter_mut().find(|followed| followed.id == id) {
            Some(followed) => (followed.sent, followed.step) = (sent.or_else(|| followed.sent.take()), step),
            None => self.followed.push(Followed { id, sent, is_shown: false, step }),
        }
    }

    /// Returns true if another core is known to answer `id`.
    pub(crate) fn follows(&self, id: &MessageId) -> bool {
        let is_awaited = |followed: &Followed| followed.id == *id && (followed.sent.is_some() || followed.is_shown);
        self.has_draft_of(id) || self.followed.iter().any(is_awaited)
    }

    /// Records that text of the followed answer to `id` was published here: it needs an end.
    pub(crate) fn note_shown(&mut self, id: &MessageId) {
        self.followed.iter_mut().filter(|followed| followed.id == *id).for_each(|followed| followed.is_shown = true);
    }

    /// Returns true if text of the followed answer to `id` was published here.
    pub(crate) fn is_shown(&self, id: &MessageId) -> bool {
        self.followed.iter().any(|followed| followed.id == *id && followed.is_shown)
    }

    /// Stops following the answer to `id`. Returns the draft that was published here.
    pub(crate) fn unfollow(&mut self, id: &MessageId) -> Option<RemoteDraft> {
        self.followed.retain(|followed| followed.id != *id);
        self.draft.take_if(|draft| draft.id == *id)
    }

    /// Returns the step of `id`; `None` if it is not followed.
    pub(crate) fn step(&self, id: &MessageId) -> Option<FollowStep> {
        self.followed.iter().find(|followed| followed.id == *id).map(|followed| followed.step)
    }

    pub(crate) fn set_step(&mut self, id: &MessageId, step: FollowStep) {
        self.followed.iter_mut().filter(|followed| followed.id == *id).for_each(|followed| followed.step = step);
    }

    /// Takes the message `id`, if it was sent here and no text of an answer was shown for it.
    pub(crate) fn take_unanswered(&mut self, id: &MessageId) -> Option<StoredMessage> {
        let is_shown = self.has_draft_of(id);
        let followed = self.followed.iter_mut().find(|followed| followed.id == *id)?;
        followed.sent.take().filter(|_| !is_shown)
    }

    /// Returns the messages whose claims are to be polled by `now`.
    pub(crate) fn due(&self, now: Instant) -> Vec<MessageId> {
        let is_due = |followed: &&Followed| matches!(followed.step, FollowStep::PollAt(at) if at <= now);
        self.followed.iter().filter(is_due).map(|followed| followed.id.clone()).collect()
    }

    /// Returns the time of the next poll.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let at = |followed: &Followed| match followed.step {
            FollowStep::PollAt(at) => Some(at),
            FollowStep::ReadClaim | FollowStep::CatchUp { .. } | FollowStep::ReadAnswer | FollowStep::TakeOver => None,
        };
        self.followed.iter().filter_map(at).min()
    }
}

impl RemoteDraft {
    fn new(core: CoreId, id: MessageId) -> Self {
        Self { core, id, text: UserText::default(), chars: 0, is_gap_requested: false }
    }

    /// Returns true if `text` at `offset` differs from the text there.
    fn conflicts_with(&self, offset: usize, text: &UserText) -> bool {
        if self.chars == offset {
            return false;
        }
        let held = self.text.without_first_chars(offset);
        !(held.expose().starts_with(text.expose()) || text.expose().starts_with(held.expose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Now;

    fn core(name: u64) -> CoreId {
        CoreId::new(name)
    }

    fn delta(id: &str, offset: usize, text: &str) -> Delta {
        let text = UserText::new(text);
        Delta { id: id.parse().unwrap(), offset, chars: text.chars(), text, exercise: None }
    }

    /// Returns the `Hello`s of a tick.
    fn tick(replicas: &mut Replicas) -> usize {
        let mut out = Vec::new();
        let now = Now { instant: Instant::now(), wall: protocol::Timestamp::from_unix_ms(0) };
        replicas.tick(0, &mut Cx::new(now, &mut out));
        out.len()
    }

    #[test]
    fn apply_delta_tolerates_duplicates_and_gaps() {
        let mut replicas = Replicas::new(false);
        let new = |id: &str, offset, text: &str| AppliedDelta::New(delta(id, offset, text));
        for (id, offset, text, want) in [
            ("a", 2, "lost", AppliedDelta::Gap),
            ("a", 6, "lost", AppliedDelta::Duplicate),
            ("a", 0, "¿có", new("a", 0, "¿có")),
            ("a", 3, "mo", new("a", 3, "mo")),
            ("a", 3, "mo", AppliedDelta::Duplicate),
            ("a", 0, "¿cómo?", new("a", 5, "?")),
            ("a", 9, "…", AppliedDelta::Gap),
            ("a", 0, "Hola", new("a", 0, "Hola")),
            ("a", 4, ", Eva", new("a", 4, ", Eva")),
            ("a", 4, ", ", AppliedDelta::Duplicate),
            ("b", 0, "otra", new("b", 0, "otra")),
        ] {
            assert_eq!(replicas.apply_delta(core(1), delta(id, offset, text)), want, "{id} {offset}");
        }
        let other = replicas.apply_delta(core(2), delta("b", 4, " más"));
        assert_eq!(other, AppliedDelta::Duplicate, "it gives another answer");
        let id = "b".parse().unwrap();
        assert!(replicas.has_complete_draft(core(1), &id, 4) && !replicas.has_complete_draft(core(2), &id, 4));
    }

    #[test]
    fn no_subscribers_is_ignored_after_a_newer_event() {
        let mut replicas = Replicas::new(false);
        assert!(replicas.on_event_from(core(1), Some(2)));
        replicas.on_no_subscribers(0);
        assert_eq!((replicas.has_any(), replicas.connections()), (true, 2));
        assert!(!replicas.on_event_from(core(1), None));
        replicas.on_no_subscribers(2);
        assert_eq!((replicas.has_any(), replicas.connections()), (false, 0));
    }

    #[test]
    fn removes_core_that_ignores_probes() {
        let mut replicas = Replicas::new(false);
        let (living, dead) = (core(1), core(2));
        replicas.on_event_from(living, Some(1));
        replicas.on_event_from(dead, Some(2));
        let mut probes = Vec::new();
        for _ in 0..EXPIRE_AFTER_TICKS {
            probes.push(tick(&mut replicas));
            // The living core replies to the probe.
            if probes.last() == Some(&1) {
                replicas.on_event_from(living, Some(1));
            }
        }
        assert_eq!(probes, [0, 1, 1, 0]);
        assert_eq!((replicas.has_any(), replicas.connections()), (true, 1));
    }
}
