//! Forgetting of the last message.

use protocol::{MessageId, ServerFrame};

use super::Ledger;
use crate::commits::{Active, Commit, Forgetting, Then};
use crate::cx::Cx;
use crate::effect::{Completed, Effect, Recipients, StoreRequest};
use crate::ids::Ticket;
use crate::input::Erased;

impl Ledger {
    /// Goes on with messages whose turns have ended.
    pub(super) fn resume_forgetting(&mut self) {
        let Self { conversation, commits, forgettings, .. } = self;
        let is_in_flight = |id: &MessageId| conversation.turns.is_in_flight(id);
        let ready = forgettings.extract_if(.., |forgetting| !forgetting.id.as_ref().is_some_and(is_in_flight));
        ready.for_each(|forgetting| commits.push_front(Commit::Forget(forgetting)));
    }

    /// Forgets the last message: finds it, stops its answer, and removes it once its turn has ended.
    pub(super) fn begin_forgetting(&mut self, forgetting: Forgetting, cx: &mut Cx<'_>) {
        let Some(id) = forgetting.id.clone() else {
            return self.request(Active::ReadLastMessage(forgetting), StoreRequest::ReadLastMessage, cx);
        };
        self.conversation.stop(&id, cx);
        if self.conversation.turns.is_in_flight(&id) {
            return self.forgettings.push(forgetting);
        }
        let help = self.conversation.assessor.help_in_force(cx.wall());
        self.request(Active::Forget(forgetting), StoreRequest::Forget { id, help }, cx);
    }

    pub(super) fn on_last_message(&mut self, forgetting: Forgetting, last: Option<MessageId>, cx: &mut Cx<'_>) {
        match last {
            Some(id) => self.commits.push_front(Commit::Forget(Forgetting { id: Some(id), ..forgetting })),
            None => self.forget_nothing(forgetting.ticket, cx),
        }
    }

    pub(super) fn on_forgotten(&mut self, forgetting: Forgetting, erased: Option<Erased>, cx: &mut Cx<'_>) {
        match erased {
            Some(erased) => {
                let before = erased.forgotten.seq.saturating_sub(1);
                self.catch_up(before, None, Then::Forget(forgetting, erased), cx);
            }
            None => self.forget_nothing(forgetting.ticket, cx),
        }
    }

    /// Publishes that a message is forgotten: to every connection but the one that has asked for it.
    pub(super) fn forget(&mut self, forgetting: Forgetting, Erased { forgotten, entries }: Erased, cx: &mut Cx<'_>) {
        let Forgetting { from, ticket, .. } = forgetting;
        let (id, seq) = (forgotten.id.clone(), forgotten.seq);
        // Skipped if another core has published it already.
        if self.conversation.published.advance(seq) {
            self.conversation.forget(&id, cx);
            let frame = ServerFrame::Forgotten(forgotten);
            self.conversation.fanout.publish(Recipients::AllExcept(from), frame, cx);
        }
        let seq = self.conversation.published.seq();
        cx.start(Effect::Complete(ticket, Ok(Completed::Forgotten { id: Some(id), erased: entries, seq })));
    }

    /// Completes a call that finds no message to forget.
    fn forget_nothing(&self, ticket: Ticket, cx: &mut Cx<'_>) {
        let seq = self.conversation.published.seq();
        cx.start(Effect::Complete(ticket, Ok(Completed::Forgotten { id: None, erased: 0, seq })));
    }
}
