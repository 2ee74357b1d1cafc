//! What a live session knows, and how it is told to its connections.

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::{Locale, MessageId, ServerFrame, UserText};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{ConnectionId, Outbox};
use crate::store::SessionRecord;
use crate::turn::{Job, Message, Refusal};

#[derive(Debug)]
pub(super) struct State {
    pub(super) seq: u64,
    pub(super) messages: u64,
    pub(super) locale: Locale,
    pub(super) connections: Vec<Listener>,
    pub(super) next_connection: u64,
    /// Since when nobody listens.
    pub(super) deserted_since: Option<Instant>,
    /// Messages being decided on.
    pub(super) admitting: usize,
    /// Accepted messages whose turn has not come. Bounded by `PER_USER_MAX`.
    pub(super) waiting: VecDeque<Pending>,
    pub(super) running: Option<Running>,
    /// Whether the task that answers one message after another is there.
    pub(super) answering: bool,
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
    pub(super) job: Job,
    pub(super) sender: ConnectionId,
}

/// The answer under way.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: MessageId,
    pub(super) sender: ConnectionId,
    pub(super) draft: UserText,
    pub(super) chars: usize,
    pub(super) stop: CancellationToken,
}

/// Who gets a frame.
#[derive(Clone, Copy)]
pub(super) enum To {
    Everyone,
    EveryoneBut(ConnectionId),
    /// This connection, or everyone once it is gone: it may have resumed as another.
    Sender(ConnectionId),
    /// This connection alone: the others have had it.
    Only(ConnectionId),
}

impl State {
    pub(super) fn new(record: &SessionRecord) -> Self {
        Self {
            seq: record.seq,
            messages: record.messages,
            locale: record.locale,
            connections: Vec::new(),
            next_connection: 0,
            deserted_since: Some(Instant::now()),
            admitting: 0,
            waiting: VecDeque::new(),
            running: None,
            answering: false,
        }
    }

    /// Messages accepted whose answer is not complete.
    pub(super) fn under_way(&self) -> usize {
        self.waiting.len() + usize::from(self.running.is_some())
    }

    pub(super) fn publish(&self, to: To, frame: ServerFrame) {
        let wanted = |id: ConnectionId| match to {
            To::Everyone => true,
            To::EveryoneBut(other) => id != other,
            To::Only(wanted) => id == wanted,
            To::Sender(sender) => id == sender || !self.connections.iter().any(|listener| listener.id == sender),
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

    pub(super) fn tell_accepted(&self, sender: ConnectionId, message: &Message, seq: u64) {
        let accepted = ServerFrame::Accepted { id: message.id.clone(), seq, trace_id: message.trace.trace_id };
        self.publish(To::Sender(sender), accepted);
    }

    pub(super) fn refuse(&self, to: To, id: MessageId, refusal: Refusal) {
        let error = refusal.frame(self.locale.language());
        self.publish(to, ServerFrame::Error(error.with_id(Some(id))));
    }

    pub(super) fn is_under_way(&self, id: &MessageId) -> bool {
        self.running.as_ref().is_some_and(|running| running.id == *id)
            || self.waiting.iter().any(|pending| pending.job.id == *id)
    }

    /// Notes since when nobody listens, or that somebody does.
    pub(super) fn count_listeners(&mut self) {
        if self.connections.iter().all(|listener| listener.half_closed) {
            self.deserted_since.get_or_insert_with(Instant::now);
        } else {
            self.deserted_since = None;
        }
    }

    pub(super) fn wake(&self) {
        self.connections.iter().for_each(|listener| listener.outbox.wake());
    }
}
