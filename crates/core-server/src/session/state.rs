//! What a live session knows, and how it is told to its connections.

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::server_frame::ErrorFrame;
use protocol::{Locale, MessageId, ServerFrame, UserText};
use tokio_util::sync::CancellationToken;

use super::{ConnectionId, Outbox};
use crate::store::{SessionRecord, StoreError};
use crate::turn::{Job, Message, Refusal};

#[derive(Debug)]
pub(super) struct State {
    pub(super) seq: u64,
    pub(super) messages: u64,
    pub(super) locale: Locale,
    pub(super) connections: Vec<(ConnectionId, Arc<Outbox>)>,
    pub(super) next_connection: u64,
    /// Messages being decided on.
    pub(super) admitting: usize,
    /// Accepted messages whose turn has not come. Bounded by `PER_USER_MAX`.
    pub(super) waiting: VecDeque<Pending>,
    pub(super) running: Option<Running>,
    /// Whether the task that answers one message after another is there.
    pub(super) answering: bool,
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
}

impl State {
    pub(super) fn new(record: &SessionRecord) -> Self {
        Self {
            seq: record.seq,
            messages: record.messages,
            locale: record.locale,
            connections: Vec::new(),
            next_connection: 0,
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
            To::Sender(sender) => id == sender || !self.connections.iter().any(|(id, _)| *id == sender),
        };
        let mut listeners = self.connections.iter().filter(|(id, _)| wanted(*id)).map(|(_, outbox)| outbox);
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
        let language = self.locale.language();
        let error = ErrorFrame::new(refusal.code, language).with_retry_after(refusal.retry_after, language);
        self.publish(to, ServerFrame::Error(error.with_id(Some(id))));
    }

    pub(super) fn store_failed(&self, to: To, message: &Message, error: &StoreError) {
        tracing::error!(trace_id = %message.trace.trace_id, %error, "the store failed, the message has no answer");
        self.refuse(to, message.id.clone(), Refusal::unavailable());
    }

    pub(super) fn is_under_way(&self, id: &MessageId) -> bool {
        self.running.as_ref().is_some_and(|running| running.id == *id)
            || self.waiting.iter().any(|pending| pending.job.id == *id)
    }

    pub(super) fn wake(&self) {
        self.connections.iter().for_each(|(_, outbox)| outbox.wake());
    }
}
