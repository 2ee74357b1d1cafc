//! The pending request, and abandoned ones whose response may still arrive.

use std::collections::VecDeque;

use protocol::MessageId;
use protocol::client_frame::Request;
use protocol::server_frame::ResponseResult;

use super::{Action, Conversation};
use crate::error::RequestError;
use crate::event::Closed;

/// Method that is not idempotent: it means the last message at its time.
pub(crate) const FORGET_LAST: &str = "forget_last";
/// Bound on remembered abandoned requests; the oldest is dropped.
const MAX_ABANDONED: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Requests {
    pending: Option<Pending>,
    /// Their responses may still arrive on this connection.
    abandoned: VecDeque<MessageId>,
}

#[derive(Debug)]
struct Pending {
    request: Request,
    result: Option<RequestResult>,
}

type RequestResult = Result<ResponseResult, RequestError>;

/// Classifies a terminal frame by the request it belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RequestOwner {
    /// The pending request.
    Awaited,
    /// A request that timed out or was replaced.
    Abandoned,
    /// No request.
    Unknown,
}

impl Requests {
    /// Makes `request` the pending one; an earlier one without a result is abandoned.
    pub(super) fn begin(&mut self, request: Request) {
        if let Some(Pending { request, result: None }) = self.pending.replace(Pending { request, result: None }) {
            self.abandon(request.id);
        }
    }

    /// True while a request has no result or its result was not taken.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The request without a result.
    pub(super) fn open(&self) -> Option<&Request> {
        self.pending.as_ref().filter(|pending| pending.result.is_none()).map(|pending| &pending.request)
    }

    /// Takes the result of request `id`, if it has arrived.
    pub(super) fn take(&mut self, id: &MessageId) -> Option<RequestResult> {
        let pending = self.pending.as_mut().filter(|pending| pending.request.id == *id)?;
        let result = pending.result.take();
        if result.is_some() {
            self.pending = None;
        }
        result
    }

    /// Fails and abandons the request without a result.
    pub(super) fn fail(&mut self, error: RequestError) {
        if let Some(pending) = self.pending.as_mut().filter(|pending| pending.result.is_none()) {
            pending.result = Some(Err(error));
            let id = pending.request.id.clone();
            self.abandon(id);
        }
    }

    /// Records the terminal frame `id`, if it belongs to a request.
    pub(super) fn end(&mut self, id: &MessageId, result: impl FnOnce() -> RequestResult) -> RequestOwner {
        if let Some(at) = self.abandoned.iter().position(|abandoned| abandoned == id) {
            self.abandoned.remove(at);
            return RequestOwner::Abandoned;
        }
        match self.pending.as_mut().filter(|pending| pending.request.id == *id) {
            Some(pending) => {
                pending.result = Some(result());
                RequestOwner::Awaited
            }
            None => RequestOwner::Unknown,
        }
    }

    /// Forgets abandoned requests: their responses died with the connection. The pending one is
    /// resent on the next, unless a second one would have another effect.
    pub(super) fn on_disconnect(&mut self) {
        self.abandoned.clear();
        if let Some(pending) = self.pending.as_mut().filter(|pending| pending.request.method == FORGET_LAST) {
            pending.result.get_or_insert(Err(RequestError::TimedOut));
        }
    }

    fn abandon(&mut self, id: MessageId) {
        if MAX_ABANDONED <= self.abandoned.len() {
            self.abandoned.pop_front();
        }
        self.abandoned.push_back(id);
    }
}

impl Conversation {
    pub(super) fn on_response(&mut self, id: &MessageId, result: ResponseResult) -> Action {
        let erased = matches!(result, ResponseResult::Erased { .. });
        let forgotten = match &result {
            ResponseResult::Forgotten { id, seq, .. } => id.clone().map(|id| (id, *seq)),
            _ => None,
        };
        let owner = self.requests.end(id, || Ok(result));
        if let Some((id, seq)) = forgotten {
            return self.on_forgotten(&id, Some(seq));
        }
        if erased && owner == RequestOwner::Awaited { Action::Close(Closed::Erased) } else { Action::Continue }
    }
}
