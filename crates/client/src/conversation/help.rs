//! Deduplicates help that arrives before and after it is stored.

use std::collections::VecDeque;

use protocol::MessageId;
use protocol::server_frame::Support;

use super::{Action, Conversation};
use crate::event::Event;

/// Bound on messages whose help awaits its stored entry; the oldest is dropped.
const MAX_SHOWN: usize = 16;

/// Messages whose help was delivered before it was stored.
#[derive(Debug, Default)]
pub(super) struct ShownHelp(VecDeque<MessageId>);

impl ShownHelp {
    pub(super) fn insert(&mut self, id: &MessageId) {
        if self.0.contains(id) {
            return;
        }
        if self.0.len() == MAX_SHOWN {
            self.0.pop_front();
        }
        self.0.push_back(id.clone());
    }

    /// Removes message `id`; true if its help was delivered before it was stored.
    pub(super) fn take(&mut self, id: &MessageId) -> bool {
        let at = self.0.iter().position(|shown| shown == id);
        at.is_some_and(|at| self.0.remove(at).is_some())
    }
}

impl Conversation {
    pub(super) fn on_support(&mut self, support: Support) -> Action {
        let is_new = support.seq.is_none_or(|seq| self.advance(seq));
        if is_new {
            if support.seq.is_none() {
                self.shown_help.insert(&support.id);
            }
            self.emit(Event::Support(support));
        }
        Action::Continue
    }
}
