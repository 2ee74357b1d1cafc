//! What a live session knows, and how it is told to its connections.

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::server_frame::Support;
use protocol::{CloseReason, Locale, MessageId, ServerFrame, UserText};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::help::Whereabouts;
use super::outbox::delta;
use super::replicas::RemoteReplicas;
use super::{ConnectionId, Outbox};
use crate::cluster::ClaimNumber;
use crate::store::SessionRecord;
use crate::turn::{Message, MessageRejection, PendingTurn, Permit};

#[derive(Debug)]
pub(super) struct State {
    pub(super) lifecycle: Lifecycle,
    /// Connections whose `erase` has no response yet: they stay open when the session is gone.
    pub(super) erasing: Vec<ConnectionId>,
    pub(super) published: PublishedSeq,
    pub(super) messages: u64,
    pub(super) locale: Locale,
    /// No language was chosen, and no message was long enough to tell.
    pub(super) is_language_open: bool,
    /// `locale` was taken from a message and is to be stored.
    pub(super) is_locale_unsaved: bool,
    pub(super) connections: Vec<Listener>,
    pub(super) next_connection: u64,
    /// Since when nobody listens, here or on another core, as far as is known.
    pub(super) abandoned_since: Option<Instant>,
    /// Messages being decided on.
    pub(super) admitting: usize,
    /// Accepted messages whose turn has not come. Bounded by `PER_USER_MAX`.
    pub(super) waiting: VecDeque<Pending>,
    pub(super) running: Option<Running>,
    /// Whether the task that answers one message after another is there.
    pub(super) answering: bool,
    pub(super) whereabouts: Whereabouts,
    /// Help that was shown and is not stored.
    pub(super) unsaved_help: VecDeque<Support>,
    /// The last good-byes that help was shown for.
    pub(super) partings: VecDeque<MessageId>,
    /// A task tries to store it.
    pub(super) is_saving_help: bool,
    /// Until when no message beyond the limits is answered: they come one a second.
    pub(super) beyond_limits_until: Option<Instant>,
    /// The same session on other cores; boxed: a core alone pays a pointer for it.
    pub(super) replicas: Option<Box<RemoteReplicas>>,
}

/// Whether there is a session. It ends once, in [`super::Session::gone`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifecycle {
    /// The store has it, as far as is known.
    Open,
    /// The store has it no more: connections were closed for `reason`.
    Gone {
        reason: CloseReason,
        /// Entries that were erased by this core.
        entries: u64,
    },
}

/// Highest `seq` told to the session's connections. It refuses to jump: an entry that it passes
/// over is never told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PublishedSeq(u64);

impl PublishedSeq {
    pub(super) fn seq(self) -> u64 {
        self.0
    }

    /// Notes that entry `seq` is told now. Returns whether it is the next one; another changes nothing.
    #[must_use]
    pub(super) fn advance(&mut self, seq: u64) -> bool {
        let is_next = seq == self.0 + 1;
        self.0 += u64::from(is_next);
        is_next
    }

    /// Notes that nothing up to `seq` is left to be told: the store was read up to there, or no
    /// connection is left that could miss it.
    pub(super) fn skip_to(&mut self, seq: u64) {
        self.0 = self.0.max(seq);
    }
}

/// A connection that hears what happens.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) id: ConnectionId,
    pub(super) outbox: Arc<Outbox>,
    /// Its client sends no more: it may wait for its answer, or be gone for good.
    pub(super) half_closed: bool,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) turn: PendingTurn,
    pub(super) sender: ConnectionId,
    pub(super) permit: Permit,
}

/// The answer under way.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: MessageId,
    /// The message's `seq`.
    pub(super) seq: u64,
    pub(super) claim: Option<ClaimNumber>,
    pub(super) sender: ConnectionId,
    pub(super) draft: UserText,
    pub(super) chars: usize,
    /// Messages that were last told to wait before it for a model slot.
    pub(super) ahead: usize,
    pub(super) stop: CancellationToken,
    /// Its claim is given back: only its end is to be told.
    pub(super) released: bool,
    /// Another core has answered the message too, and was faster: its answer was told.
    pub(super) superseded: bool,
}

/// Who gets a frame.
#[derive(Clone, Copy)]
pub(super) enum Recipients {
    All,
    AllExcept(ConnectionId),
    /// This connection, or everyone once it is gone: it may have resumed as another.
    Sender(ConnectionId),
    /// This connection alone: the others have had it.
    Only(ConnectionId),
}

impl State {
    pub(super) fn new(record: &SessionRecord) -> Self {
        Self {
            lifecycle: Lifecycle::Open,
            erasing: Vec::new(),
            published: PublishedSeq(record.seq),
            messages: record.messages,
            locale: record.locale,
            // What was chosen before is stored, but for Spanish without a region: the first message decides.
            is_language_open: record.messages == 0 && record.locale == Locale::default(),
            is_locale_unsaved: false,
            connections: Vec::new(),
            next_connection: 0,
            abandoned_since: Some(Instant::now()),
            admitting: 0,
            waiting: VecDeque::new(),
            running: None,
            answering: false,
            whereabouts: Whereabouts { country: record.country, time_zone: None },
            unsaved_help: VecDeque::new(),
            partings: VecDeque::new(),
            is_saving_help: false,
            beyond_limits_until: None,
            replicas: None,
        }
    }

    /// The person, or their program, has chosen `locale`.
    pub(super) fn choose(&mut self, locale: Locale) {
        // The same as was taken from a message may not be stored yet.
        self.is_locale_unsaved &= self.locale == locale;
        self.locale = locale;
        self.is_language_open = false;
    }

    pub(super) fn is_gone(&self) -> bool {
        self.lifecycle != Lifecycle::Open
    }

    /// Messages accepted whose answer is not complete.
    pub(super) fn in_flight(&self) -> usize {
        self.waiting.len() + usize::from(self.running.is_some())
    }

    /// Tells connections here, and those on other cores where they are meant too.
    pub(super) fn publish(&self, to: Recipients, frame: ServerFrame) {
        if self.is_gone() {
            return;
        }
        let is_remote = match to {
            Recipients::All | Recipients::AllExcept(_) => true,
            Recipients::Sender(sender) => !self.is_connected(sender),
            Recipients::Only(_) => false,
        };
        if let Some(replicas) = self.replicas.as_ref().filter(|_| is_remote) {
            replicas.publish_frame(&frame);
        }
        self.publish_locally(to, frame);
    }

    /// Tells connections of this core only.
    pub(super) fn publish_locally(&self, to: Recipients, frame: ServerFrame) {
        let wanted = |id: ConnectionId| match to {
            Recipients::All => true,
            Recipients::AllExcept(other) => id != other,
            Recipients::Only(wanted) => id == wanted,
            Recipients::Sender(sender) => id == sender || !self.is_connected(sender),
        };
        let mut listeners =
            self.connections.iter().filter(|listener| wanted(listener.id)).map(|listener| &listener.outbox);
        // The last one gets the frame itself: most sessions have one connection.
        if let Some(mut listener) = listeners.next() {
            for next in listeners {
                std::mem::replace(&mut listener, next).push(frame.clone());
            }
            listener.push(frame);
        }
    }

    fn is_connected(&self, connection: ConnectionId) -> bool {
        self.connections.iter().any(|listener| listener.id == connection)
    }

    /// Who is to hear what becomes of a message of connection `sender`: everyone too once its client
    /// sends no more, as it may be gone for good and have resumed as another.
    pub(super) fn recipients_of(&self, sender: ConnectionId) -> Recipients {
        let listens = self.connections.iter().any(|listener| listener.id == sender && !listener.half_closed);
        if listens { Recipients::Sender(sender) } else { Recipients::All }
    }

    pub(super) fn publish_accepted(&self, sender: ConnectionId, message: &Message, seq: u64) {
        let accepted = ServerFrame::Accepted { id: message.id.clone(), seq, trace_id: message.trace.trace_id };
        self.publish(Recipients::Sender(sender), accepted);
    }

    pub(super) fn reject(&self, to: Recipients, id: MessageId, rejection: MessageRejection) {
        self.publish(to, self.error(id, rejection));
    }

    /// What is told of message `id`, which gets no answer now.
    pub(super) fn error(&self, id: MessageId, rejection: MessageRejection) -> ServerFrame {
        ServerFrame::Error(rejection.frame(self.locale.language()).with_id(Some(id)))
    }

    /// Takes message `id` out of those whose turn has not come.
    pub(super) fn take_waiting(&mut self, id: &MessageId) -> Option<Pending> {
        let at = self.waiting.iter().position(|pending| pending.turn.id == *id)?;
        self.waiting.remove(at)
    }

    /// Whether a message is answered here or waits for it.
    pub(super) fn is_in_flight(&self, id: &MessageId) -> bool {
        self.running.as_ref().is_some_and(|running| running.id == *id)
            || self.waiting.iter().any(|pending| pending.turn.id == *id)
    }

    /// A message that is answered here or waits for it came again: connection `from` is told what
    /// becomes of it from now on. The one that sent it first may be dead without our knowing. Gives
    /// its `seq`.
    pub(super) fn adopt_resubmission(&mut self, id: &MessageId, from: ConnectionId) -> Option<u64> {
        // One that is given up has its answer from another core, which the store knows.
        let running = self.running.as_mut().filter(|running| running.id == *id && !running.superseded);
        if let Some(running) = running {
            running.sender = from;
            return Some(running.seq);
        }
        let pending = self.waiting.iter_mut().find(|pending| pending.turn.id == *id)?;
        pending.sender = from;
        Some(pending.turn.seq)
    }

    /// The connections here are other ones, or say less.
    pub(super) fn on_connections_changed(&mut self) {
        self.update_abandoned_since();
        let connections = self.connections.len();
        if let Some(replicas) = &self.replicas {
            replicas.publish_connections(connections);
        }
    }

    /// Tells a connection that has just come what is answered here or waits for it, and help that is not
    /// stored yet: an answer from its start, and that there will be one where it has no word yet.
    pub(super) fn push_in_flight(&self, outbox: &Outbox) {
        if let Some(Running { id, draft, ahead, superseded: false, .. }) = &self.running {
            outbox.push(if draft.is_empty() {
                ServerFrame::Queued { id: id.clone(), ahead: *ahead }
            } else {
                delta(id.clone(), 0, draft.clone())
            });
        }
        if let Some(remote_draft) = self.replicas.as_ref().and_then(|replicas| replicas.remote_draft.as_ref())
            && !remote_draft.draft.is_empty()
        {
            outbox.push(delta(remote_draft.id.clone(), 0, remote_draft.draft.clone()));
        }
        for support in &self.unsaved_help {
            outbox.push(ServerFrame::Support(Box::new(support.clone())));
        }
        for (ahead, Pending { turn, .. }) in self.waiting.iter().enumerate() {
            outbox.push(ServerFrame::Queued { id: turn.id.clone(), ahead });
        }
    }

    /// Notes since when nobody listens, here or elsewhere, or that somebody does.
    pub(super) fn update_abandoned_since(&mut self) {
        let here = self.connections.iter().any(|listener| !listener.half_closed);
        let remote = self.replicas.as_ref().is_some_and(|replicas| 0 < replicas.connections());
        if here || remote {
            self.abandoned_since = None;
        } else {
            self.abandoned_since.get_or_insert_with(Instant::now);
        }
    }

    /// Connections here and on other cores.
    pub(super) fn all_connections(&self) -> usize {
        self.connections.len() + self.replicas.as_ref().map_or(0, |replicas| replicas.connections())
    }

    /// Closes every connection but those `left`, which hear nothing more.
    pub(super) fn close_except(&mut self, left: &[ConnectionId], reason: CloseReason) {
        for Listener { id, outbox, .. } in std::mem::take(&mut self.connections) {
            if !left.contains(&id) {
                outbox.close(reason);
            }
        }
    }

    /// Everything that is answered here or waits for it.
    pub(super) fn in_flight_claims(&self) -> Vec<(MessageId, Option<ClaimNumber>)> {
        let waiting = self.waiting.iter().map(|Pending { turn, .. }| (turn.id.clone(), turn.claim));
        let running = self.running.iter().filter(|running| !running.released);
        running.map(|running| (running.id.clone(), running.claim)).chain(waiting).collect()
    }

    pub(super) fn wake(&self) {
        self.connections.iter().for_each(|listener| listener.outbox.wake());
    }
}
