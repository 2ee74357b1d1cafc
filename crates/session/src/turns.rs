//! Accepted messages without a complete answer: one after another, from any connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use protocol::server_frame::{Done, Finish, Source, Timing};
use protocol::{MessageId, ServerFrame, UserText};

use crate::cx::Cx;
use crate::effect::{ClaimsQuery, Delta, Effect};
use crate::ids::ConnectionId;
use crate::input::Claims;
use crate::message::Turn;
use crate::replicas::POLL_INTERVAL;

/// Turns of the session: one current, others behind it.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Bounded by `per_user_max`.
    waiting: VecDeque<Waiting>,
    /// Boxed: most sessions are idle.
    current: Option<Box<Current>>,
}

/// A message behind the current one.
#[derive(Debug)]
struct Waiting {
    turn: Box<Turn>,
    sender: ConnectionId,
    /// Messages that other cores accepted earlier may still be in progress.
    is_behind_others: bool,
}

/// The message that is answered now.
#[derive(Debug)]
struct Current {
    id: MessageId,
    seq: u64,
    sender: ConnectionId,
    stage: Stage,
}

/// Stage of the current message.
#[derive(Debug)]
enum Stage {
    /// Other cores answer earlier messages first. Nothing is generated yet.
    Behind { turn: Box<Turn>, order: OrderCheck },
    /// The answer is being generated.
    Answering(Draft),
    /// Cancelled: the text so far will be the answer.
    Stopping(Draft),
    /// Generated; the answer waits to be recorded, or is being recorded.
    Concluding(Draft),
    /// Another core has answered the message faster, and its answer was published. The turn is about to end.
    Superseded,
}

/// Check whether other cores have answered earlier messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OrderCheck {
    At(Instant),
    Reading {
        /// A turn of another core has ended since the read began.
        is_outdated: bool,
    },
}

/// Text published of an answer.
#[derive(Debug, Default)]
struct Draft {
    text: UserText,
    /// Length of `text` in characters.
    chars: usize,
    /// Last position in the queue for a model slot; 0 with a slot.
    ahead: usize,
}

/// A turn that ended before it was started.
#[derive(Debug)]
pub(crate) struct Unstarted {
    pub(crate) turn: Box<Turn>,
}

impl Turns {
    /// Number of messages without a complete answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.waiting.len() + usize::from(self.current.is_some())
    }

    pub(crate) fn is_in_flight(&self, id: &MessageId) -> bool {
        self.current.as_ref().is_some_and(|current| current.id == *id)
            || self.waiting.iter().any(|waiting| waiting.turn.message.id == *id)
    }

    pub(crate) fn push(&mut self, turn: Box<Turn>, sender: ConnectionId, is_behind_others: bool) {
        self.waiting.push_back(Waiting { turn, sender, is_behind_others });
    }

    /// Begins the next turn if none is current.
    pub(crate) fn begin_next(&mut self, cx: &mut Cx<'_>) {
        if self.current.is_some() {
            return;
        }
        let Some(Waiting { turn, sender, is_behind_others }) = self.waiting.pop_front() else { return };
        let (id, seq) = (turn.message.id.clone(), turn.seq);
        let stage = if is_behind_others {
            Stage::Behind { turn, order: OrderCheck::At(cx.now()) }
        } else {
            cx.start(Effect::StartTurn(turn));
            Stage::Answering(Draft::default())
        };
        self.current = Some(Box::new(Current { id, seq, sender, stage }));
    }

    /// Makes connection `from` the sender of a message in flight that it has resubmitted: the first sender's connection
    /// may be dead without a sign. Returns the message's `seq`.
    pub(crate) fn adopt_resubmission(&mut self, id: &MessageId, from: ConnectionId) -> Option<u64> {
        // A superseded one has its answer from another core, in the store.
        let current = self.current.as_mut().filter(|it| it.id == *id && !matches!(it.stage, Stage::Superseded));
        if let Some(current) = current {
            current.sender = from;
            return Some(current.seq);
        }
        let waiting = self.waiting.iter_mut().find(|waiting| waiting.turn.message.id == *id)?;
        waiting.sender = from;
        Some(waiting.turn.seq)
    }

    // ---- order among cores ------------------------------------------------------------------

    /// Reads the claims again if it is time: earlier messages may be answered by now.
    pub(crate) fn check_order(&mut self, cx: &mut Cx<'_>) {
        if let Some(order) = self.order_check()
            && matches!(order, OrderCheck::At(at) if *at <= cx.now())
        {
            *order = OrderCheck::Reading { is_outdated: false };
            cx.start(Effect::ReadClaims(ClaimsQuery::Order));
        }
    }

    /// Handles the end of a turn on another core: this one may be next.
    pub(crate) fn on_remote_turn_ended(&mut self, now: Instant) {
        match self.order_check() {
            Some(OrderCheck::Reading { is_outdated }) => *is_outdated = true,
            Some(order) => *order = OrderCheck::At(now),
            None => {}
        }
    }

    pub(crate) fn on_order(&mut self, claims: Claims, cx: &mut Cx<'_>) {
        let Some(current) = &mut self.current else { return };
        let order = match &mut current.stage {
            Stage::Behind { order, .. } => order,
            Stage::Answering(_) | Stage::Stopping(_) | Stage::Concluding(_) | Stage::Superseded => return,
        };
        if claims == Claims::OtherCoreFirst {
            let is_outdated = *order == OrderCheck::Reading { is_outdated: true };
            *order = OrderCheck::At(if is_outdated { cx.now() } else { cx.now() + POLL_INTERVAL });
            return;
        }
        // Without a connection to the cluster there is no order among cores, and no wait.
        if let Stage::Behind { turn, .. } = std::mem::replace(&mut current.stage, Stage::Answering(Draft::default())) {
            cx.start(Effect::StartTurn(turn));
        }
    }

    fn order_check(&mut self) -> Option<&mut OrderCheck> {
        match &mut self.current.as_mut()?.stage {
            Stage::Behind { order, .. } => Some(order),
            Stage::Answering(_) | Stage::Stopping(_) | Stage::Concluding(_) | Stage::Superseded => None,
        }
    }

    // ---- progress ---------------------------------------------------------------------------

    /// Returns message and sender of the turn that generates an answer now.
    pub(crate) fn answering(&self) -> Option<(&MessageId, ConnectionId)> {
        let current = self.current.as_ref()?;
        matches!(current.stage, Stage::Answering(_) | Stage::Stopping(_)).then_some((&current.id, current.sender))
    }

    pub(crate) fn set_ahead(&mut self, ahead: usize) {
        if let Some(draft) = self.draft() {
            draft.ahead = ahead;
        }
    }

    /// Adds a delta to the draft. Returns false if it is not to be published: the turn is superseded.
    pub(crate) fn append(&mut self, delta: &Delta) -> bool {
        let Some(draft) = self.draft() else { return false };
        draft.text.push(&delta.text);
        draft.chars = delta.offset + delta.chars;
        true
    }

    /// Discards the draft. Clients replace theirs when a delta comes from offset 0, so no frame is needed.
    pub(crate) fn restart(&mut self) {
        if let Some(draft) = self.draft() {
            (draft.text, draft.chars) = (UserText::default(), 0);
        }
    }

    fn draft(&mut self) -> Option<&mut Draft> {
        match &mut self.current.as_mut()?.stage {
            // A delta may be on its way when the turn is cancelled; the turn records it.
            Stage::Answering(draft) | Stage::Stopping(draft) => Some(draft),
            Stage::Behind { .. } | Stage::Concluding(_) | Stage::Superseded => None,
        }
    }

    /// Handles the end of the generation. Returns the message.
    pub(crate) fn on_generated(&mut self) -> Option<MessageId> {
        let current = self.current.as_mut()?;
        if let Stage::Answering(draft) | Stage::Stopping(draft) = &mut current.stage {
            current.stage = Stage::Concluding(std::mem::take(draft));
        }
        Some(current.id.clone())
    }

    /// Returns true if message `id` is the current one.
    pub(crate) fn is_current(&self, id: &MessageId) -> bool {
        self.current.as_ref().is_some_and(|current| current.id == *id)
    }

    /// Returns the text of the answer that is to be recorded; `None` if the turn is superseded.
    pub(crate) fn answer_to_record(&self) -> Option<&UserText> {
        match &self.current.as_ref()?.stage {
            Stage::Concluding(draft) => Some(&draft.text),
            Stage::Behind { .. } | Stage::Answering(_) | Stage::Stopping(_) | Stage::Superseded => None,
        }
    }

    /// Removes the turn that has ended. Returns its message and sender, unless it is superseded.
    pub(crate) fn take_ended(&mut self) -> Option<(MessageId, ConnectionId)> {
        let Current { id, sender, stage, .. } = *self.current.take()?;
        (!matches!(stage, Stage::Superseded)).then_some((id, sender))
    }

    // ---- early ends -------------------------------------------------------------------------

    /// Ends the turn of message `id` for the person. Returns the turn if it was not started, which then has no other end.
    pub(crate) fn stop(&mut self, id: &MessageId, cx: &mut Cx<'_>) -> Option<Unstarted> {
        let unstarted = self.remove_unstarted(id);
        if let Some(current) = self.current.as_mut().filter(|current| unstarted.is_none() && current.id == *id)
            && let Stage::Answering(draft) = &mut current.stage
        {
            current.stage = Stage::Stopping(std::mem::take(draft));
            cx.start(Effect::CancelTurn(id.clone()));
        }
        unstarted
    }

    /// Ends the turn of message `id`, which another core has answered faster during a partition. Returns the text that was
    /// published here; `None` if the message is not in flight.
    pub(crate) fn supersede(&mut self, id: &MessageId, cx: &mut Cx<'_>) -> Option<UserText> {
        if self.remove_unstarted(id).is_some() {
            cx.start(Effect::Release { id: id.clone(), is_stopped: false });
            return Some(UserText::default());
        }
        let current = self.current.as_mut().filter(|current| current.id == *id)?;
        cx.start(Effect::CancelTurn(id.clone()));
        match std::mem::replace(&mut current.stage, Stage::Superseded) {
            Stage::Answering(draft) | Stage::Stopping(draft) | Stage::Concluding(draft) => Some(draft.text),
            Stage::Behind { .. } | Stage::Superseded => Some(UserText::default()),
        }
    }

    /// Ends every turn: the session is gone.
    pub(crate) fn end(&mut self, cx: &mut Cx<'_>) {
        for id in self.waiting.drain(..).map(|waiting| waiting.turn.message.id) {
            cx.start(Effect::Release { id, is_stopped: false });
        }
        if let Some(id) = self.current.as_ref().map(|current| current.id.clone()) {
            self.supersede(&id, cx);
        }
    }

    fn remove_unstarted(&mut self, id: &MessageId) -> Option<Unstarted> {
        let is_behind = |current: &mut Box<Current>| current.id == *id && matches!(current.stage, Stage::Behind { .. });
        if let Some(Stage::Behind { turn, .. }) = self.current.take_if(is_behind).map(|current| current.stage) {
            return Some(Unstarted { turn });
        }
        let at = self.waiting.iter().position(|waiting| waiting.turn.message.id == *id)?;
        self.waiting.remove(at).map(|waiting| Unstarted { turn: waiting.turn })
    }

    /// Returns the current message, as long as its answer is neither complete nor cancelled.
    pub(crate) fn unfinished(&self) -> Option<&MessageId> {
        let current = self.current.as_ref()?;
        matches!(current.stage, Stage::Behind { .. } | Stage::Answering(_)).then_some(&current.id)
    }

    // ---- readers ----------------------------------------------------------------------------

    /// Returns the frame of the answer in progress for a new reader: the text so far from its start, or its place in the
    /// queue while there is none.
    pub(crate) fn current_frame(&self) -> Option<ServerFrame> {
        if let Some(delta) = self.draft_delta() {
            return Some(delta.into_frame());
        }
        let Current { id, stage, .. } = self.current.as_deref()?;
        let ahead = match stage {
            Stage::Answering(draft) | Stage::Stopping(draft) | Stage::Concluding(draft) => draft.ahead,
            Stage::Behind { .. } => 0,
            Stage::Superseded => return None,
        };
        Some(ServerFrame::Queued { id: id.clone(), ahead })
    }

    /// Returns the delta of the whole answer so far, if it has text.
    pub(crate) fn draft_delta(&self) -> Option<Delta> {
        let Current { id, stage, .. } = self.current.as_deref()?;
        let (Stage::Answering(draft) | Stage::Stopping(draft) | Stage::Concluding(draft)) = stage else { return None };
        let Draft { text, chars, .. } = draft;
        let whole = || Delta { id: id.clone(), offset: 0, chars: *chars, text: text.clone(), exercise: None };
        (!text.is_empty()).then(whole)
    }

    /// Returns the places of the waiting messages.
    pub(crate) fn waiting_frames(&self) -> impl Iterator<Item = ServerFrame> {
        let ids = self.waiting.iter().map(|waiting| waiting.turn.message.id.clone());
        ids.enumerate().map(|(ahead, id)| ServerFrame::Queued { id, ahead })
    }

    /// Returns the time of the next check of the order among cores.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.current.as_ref()?.stage {
            Stage::Behind { order: OrderCheck::At(at), .. } => Some(*at),
            _ => None,
        }
    }
}

impl Unstarted {
    /// Builds the `done` of a turn that the person stopped. `source`: the origin its answer would have had.
    pub(crate) fn done(&self, source: Source, now: Instant) -> ServerFrame {
        let total = now.saturating_duration_since(self.turn.accepted_at);
        ServerFrame::Done(Box::new(Done {
            id: self.turn.message.id.clone(),
            seq: None,
            finish: Finish::Stopped,
            source,
            model: None,
            chars: 0,
            ms: Timing { queue: 0, first: 0, total: millis(total) },
            usage: None,
            exercise: None,
        }))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
