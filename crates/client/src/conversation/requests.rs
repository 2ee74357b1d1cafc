//! The request under way, and those that nobody waits for any more.

use std::collections::VecDeque;

use protocol::MessageId;
use protocol::client_frame::Request;
use protocol::server_frame::ResponseResult;

use super::{Conversation, Next};
use crate::error::RequestError;
use crate::event::Closed;

/// Most requests whose late end is known for what it is; the oldest is forgotten.
const MAX_GIVEN_UP: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Requests {
    pending: Option<Pending>,
    /// Their end may still come on this connection.
    given_up: VecDeque<MessageId>,
}

#[derive(Debug)]
struct Pending {
    request: Request,
    result: Option<Outcome>,
}

type Outcome = Result<ResponseResult, RequestError>;

/// Whose end it is that the server tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of the request that is awaited.
    Awaited,
    /// Of one that was given up.
    GivenUp,
    /// Of no request.
    Nobodys,
}

impl Requests {
    /// Awaits `request`. An earlier one without a result is given up.
    pub(super) fn begin(&mut self, request: Request) {
        if let Some(Pending { request, result: None }) = self.pending.replace(Pending { request, result: None }) {
            self.give_up(request.id);
        }
    }

    /// Whether a request is awaited, or its result is.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The request that has no result.
    pub(super) fn open(&self) -> Option<&Request> {
        self.pending.as_ref().filter(|pending| pending.result.is_none()).map(|pending| &pending.request)
    }

    /// The result of request `id`, once it is there.
    pub(super) fn take(&mut self, id: &MessageId) -> Option<Outcome> {
        let pending = self.pending.as_mut().filter(|pending| pending.request.id == *id)?;
        let result = pending.result.take();
        if result.is_some() {
            self.pending = None;
        }
        result
    }

    /// Gives up the request without a result.
    pub(super) fn fail(&mut self, error: RequestError) {
        if let Some(pending) = self.pending.as_mut().filter(|pending| pending.result.is_none()) {
            pending.result = Some(Err(error));
            let id = pending.request.id.clone();
            self.give_up(id);
        }
    }

    /// Takes the end of request `id`, if it is one.
    pub(super) fn end(&mut self, id: &MessageId, result: impl FnOnce() -> Outcome) -> Whose {
        if let Some(at) = self.given_up.iter().position(|given_up| given_up == id) {
            self.given_up.remove(at);
            return Whose::GivenUp;
        }
        match self.pending.as_mut().filter(|pending| pending.request.id == *id) {
            Some(pending) => {
                pending.result = Some(result());
                Whose::Awaited
            }
            None => Whose::Nobodys,
        }
    }

    /// The connection is gone, and with it what it still had to say. The request without a result
    /// is made again on the next one.
    pub(super) fn cut(&mut self) {
        self.given_up.clear();
    }

    fn give_up(&mut self, id: MessageId) {
        if MAX_GIVEN_UP <= self.given_up.len() {
            self.given_up.pop_front();
        }
        self.given_up.push_back(id);
    }
}

impl Conversation {
    pub(super) fn on_response(&mut self, id: &MessageId, result: ResponseResult) -> Next {
        let erased = matches!(result, ResponseResult::Erased { .. });
        let whose = self.requests.end(id, || Ok(result));
        if erased && whose == Whose::Awaited { Next::Close(Closed::Erased) } else { Next::Continue }
    }
}
