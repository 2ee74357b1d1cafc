//! Help that was told before it was stored.

use std::collections::VecDeque;

use protocol::MessageId;
use protocol::server_frame::Support;

use super::{Conversation, Next};
use crate::event::Event;

/// Messages whose help waits for its stored entry, at most; the oldest is forgotten.
const MAX_SHOWN: usize = 16;

/// Messages whose help was told before it was stored.
#[derive(Debug, Default)]
pub(super) struct ShownHelp(VecDeque<MessageId>);

impl ShownHelp {
    pub(super) fn note(&mut self, id: &MessageId) {
        if self.0.contains(id) {
            return;
        }
        if self.0.len() == MAX_SHOWN {
            self.0.pop_front();
        }
        self.0.push_back(id.clone());
    }

    /// Tells whether the help for message `id` was told before it was stored; once.
    pub(super) fn take(&mut self, id: &MessageId) -> bool {
        let at = self.0.iter().position(|shown| shown == id);
        at.is_some_and(|at| self.0.remove(at).is_some())
    }
}

impl Conversation {
    pub(super) fn on_support(&mut self, support: Support) -> Next {
        let is_new = support.seq.is_none_or(|seq| self.advance(seq));
        if is_new {
            if support.seq.is_none() {
                self.shown_help.note(&support.id);
            }
            self.tell(Event::Support(support));
        }
        Next::Continue
    }
}
