//! State of a live session, and publishing to its connections. Every method runs under the session's state lock, so
//! none of them waits.

use std::collections::VecDeque;
use std::sync::Arc;

use cluster::ClaimNumber;
use protocol::server_frame::Support;
use protocol::{CloseReason, Locale, MessageId, ServerFrame, UserText};
use store::SessionRecord;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::help::Whereabouts;
use super::outbox::delta;
use super::replicas::RemoteReplicas;
use super::{ConnectionId, Outbox};
use crate::turn::{Message, MessageRejection, PendingTurn, Permit};

#[derive(Debug)]
pub(super) struct State {
    pub(super) lifecycle: Lifecycle,
    /// Connections whose `erase` has no response yet: they stay open when the session ends.
    pub(super) erasing: Vec<ConnectionId>,
    pub(super) published: PublishedSeq,
    pub(super) messages: u64,
    pub(super) locale: Locale,
    /// No language was chosen, and no message was long enough to detect one.
    pub(super) is_language_open: bool,
    /// `locale` was detected from a message and is not stored yet.
    pub(super) is_locale_unsaved: bool,
    pub(super) connections: Vec<Listener>,
    pub(super) next_connection: u64,
    /// Time since which no connection listens, here or on a known core.
    pub(super) abandoned_since: Option<Instant>,
    /// Messages in admission.
    pub(super) admitting: usize,
    /// Accepted messages that wait for the answers before them. Bounded by `PER_USER_MAX`.
    pub(super) waiting: VecDeque<Pending>,
    pub(super) running: Option<Running>,
    /// The worker task is running.
    pub(super) answering: bool,
    pub(super) whereabouts: Whereabouts,
    /// The country was named in a message and is not stored yet.
    pub(super) is_country_unsaved: bool,
    /// Help that was shown and is not stored yet.
    pub(super) unsaved_help: VecDeque<Support>,
    /// Ids of the last good-byes for which help was shown.
    pub(super) partings: VecDeque<MessageId>,
    /// A task retries to store `unsaved_help`.
    pub(super) is_saving_help: bool,
    /// Earliest time of the next answer beyond the limits.
    pub(super) beyond_limits_until: Option<Instant>,
    /// Replicas on other cores. Boxed: a single core pays one pointer for it.
    pub(super) replicas: Option<Box<RemoteReplicas>>,
}

/// Lifecycle of a session. It ends once, in [`super::Session::gone`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifecycle {
    /// The store has it, as far as this core knows.
    Open,
    /// The store no longer has it; its connections were closed for `reason`.
    Gone {
        reason: CloseReason,
        /// Number of entries that this core erased.
        entries: u64,
    },
}

/// Highest `seq` published to the session's connections. It advances one by one: an entry that it skips would never
/// be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PublishedSeq(u64);

impl PublishedSeq {
    pub(super) fn seq(self) -> u64 {
        self.0
    }

    /// Advances to `seq` if it is the next one, and returns true then.
    #[must_use]
    pub(super) fn advance(&mut self, seq: u64) -> bool {
        let is_next = seq == self.0 + 1;
        self.0 += u64::from(is_next);
        is_next
    }

    /// Skips to `seq`: the store was read up to there, or no connection is left that could miss an entry.
    pub(super) fn skip_to(&mut self, seq: u64) {
        self.0 = self.0.max(seq);
    }
}

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) id: ConnectionId,
    pub(super) outbox: Arc<Outbox>,
    /// Its client closed its sending side: it may wait for its answer, or be gone for good.
    pub(super) half_closed: bool,
}

/// A stored message, and the connection that sent it.
#[derive(Debug)]
pub(super) struct StoredMessage {
    pub(super) from: ConnectionId,
    pub(super) message: Message,
    pub(super) seq: u64,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) turn: PendingTurn,
    pub(super) sender: ConnectionId,
    pub(super) permit: Permit,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: MessageId,
    /// The message's `seq`.
    pub(super) seq: u64,
    pub(super) claim: Option<ClaimNumber>,
    pub(super) sender: ConnectionId,
    pub(super) draft: UserText,
    pub(super) chars: usize,
    /// Its last position in the queue for a model slot; 0 once it has one.
    pub(super) ahead: usize,
    pub(super) stop: CancellationToken,
    /// Its claim is released: only its end is still to be published.
    pub(super) released: bool,
    /// Another core has answered the message faster, and its answer was published.
    pub(super) superseded: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Recipients {
    All,
    AllExcept(ConnectionId),
    /// This connection, or all once it is gone: its client may have resumed on another one.
    Sender(ConnectionId),
    /// This connection alone: the others have the frame already.
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
            // A chosen locale is stored; the default one may have been chosen or not, so the first message decides.
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
            is_country_unsaved: false,
            unsaved_help: VecDeque::new(),
            partings: VecDeque::new(),
            is_saving_help: false,
            beyond_limits_until: None,
            replicas: None,
        }
    }

    /// Applies a `locale` that the person, or their client, has chosen.
    pub(super) fn choose(&mut self, locale: Locale) {
        // A detected locale may not be stored yet: it stays unsaved if the choice is the same.
        self.is_locale_unsaved &= self.locale == locale;
        self.locale = locale;
        self.is_language_open = false;
    }

    pub(super) fn is_gone(&self) -> bool {
        self.lifecycle != Lifecycle::Open
    }

    /// Number of accepted messages without a complete answer.
    pub(super) fn in_flight(&self) -> usize {
        self.waiting.len() + usize::from(self.running.is_some())
    }

    /// Publishes to connections here, and on other cores if they are among the recipients.
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

    /// Publishes to connections of this core only.
    pub(super) fn publish_locally(&self, to: Recipients, frame: ServerFrame) {
        let wanted = |id: ConnectionId| match to {
            Recipients::All => true,
            Recipients::AllExcept(other) => id != other,
            Recipients::Only(wanted) => id == wanted,
            Recipients::Sender(sender) => id == sender || !self.is_connected(sender),
        };
        let mut listeners =
            self.connections.iter().filter(|listener| wanted(listener.id)).map(|listener| &listener.outbox);
        // The last one gets the frame without a clone: most sessions have one connection.
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

    /// Returns the recipients of results for connection `sender`: all once its client closed its sending side, because
    /// it may be gone for good and have resumed on another connection.
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

    pub(super) fn error(&self, id: MessageId, rejection: MessageRejection) -> ServerFrame {
        ServerFrame::Error(rejection.frame(self.locale.language()).with_id(Some(id)))
    }

    pub(super) fn take_waiting(&mut self, id: &MessageId) -> Option<Pending> {
        let at = self.waiting.iter().position(|pending| pending.turn.id == *id)?;
        self.waiting.remove(at)
    }

    /// Returns true if a message is being answered here or waits for it.
    pub(super) fn is_in_flight(&self, id: &MessageId) -> bool {
        self.running.as_ref().is_some_and(|running| running.id == *id)
            || self.waiting.iter().any(|pending| pending.turn.id == *id)
    }

    /// Makes connection `from` the sender of a message in flight that it has resent: the first sender's connection may be
    /// dead without a sign. Returns the message's `seq`.
    pub(super) fn adopt_resubmission(&mut self, id: &MessageId, from: ConnectionId) -> Option<u64> {
        // A superseded one has its answer from another core, in the store.
        let running = self.running.as_mut().filter(|running| running.id == *id && !running.superseded);
        if let Some(running) = running {
            running.sender = from;
            return Some(running.seq);
        }
        let pending = self.waiting.iter_mut().find(|pending| pending.turn.id == *id)?;
        pending.sender = from;
        Some(pending.turn.seq)
    }

    /// Handles a change of the connections here or of their half-closed state.
    pub(super) fn on_connections_changed(&mut self) {
        self.update_abandoned_since();
        let connections = self.connections.len();
        if let Some(replicas) = &self.replicas {
            replicas.publish_connections(connections);
        }
    }

    /// Sends a new connection the turns in flight and help that is not stored yet: an answer from its start, or its
    /// place in the queue while it has no text.
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

    /// Sets or clears the time since which no connection listens, here or on another core.
    pub(super) fn update_abandoned_since(&mut self) {
        let here = self.connections.iter().any(|listener| !listener.half_closed);
        let remote = self.replicas.as_ref().is_some_and(|replicas| 0 < replicas.connections());
        if here || remote {
            self.abandoned_since = None;
        } else {
            self.abandoned_since.get_or_insert_with(Instant::now);
        }
    }

    /// Number of connections here and on other cores.
    pub(super) fn all_connections(&self) -> usize {
        self.connections.len() + self.replicas.as_ref().map_or(0, |replicas| replicas.connections())
    }

    /// Detaches every connection, and closes all but those `left`.
    pub(super) fn close_except(&mut self, left: &[ConnectionId], reason: CloseReason) {
        for Listener { id, outbox, .. } in std::mem::take(&mut self.connections) {
            if !left.contains(&id) {
                outbox.close(reason);
            }
        }
    }

    /// Returns message and claim of every turn in flight, except released ones.
    pub(super) fn in_flight_claims(&self) -> Vec<(MessageId, Option<ClaimNumber>)> {
        let waiting = self.waiting.iter().map(|Pending { turn, .. }| (turn.id.clone(), turn.claim));
        let running = self.running.iter().filter(|running| !running.released);
        running.map(|running| (running.id.clone(), running.claim)).chain(waiting).collect()
    }

    pub(super) fn wake(&self) {
        self.connections.iter().for_each(|listener| listener.outbox.wake());
    }
}
