//! Messages that were erased with their answers.

use protocol::MessageId;

use super::{Action, Conversation};
use crate::event::Event;

impl Conversation {
    /// Ends everything in progress for a forgotten message. `seq`: the number of the erasure, where it is known.
    pub(super) fn on_forgotten(&mut self, id: &MessageId, seq: Option<u64>) -> Action {
        let is_news = seq.is_none_or(|seq| self.advance(seq));
        let was_known = self.messages.remove(id);
        self.withdraw_frame(id);
        self.answers.forget(id);
        if is_news || was_known {
            self.emit(Event::Forgotten { id: id.clone() });
        }
        self.fill_window();
        Action::Continue
    }
}
