//! Catching up with entries that were missed.

use protocol::server_frame::Role;
use protocol::{Locale, MessageId};

use super::{Ledger, Life};
use crate::commits::{Active, CatchUp, CatchUpReason, PAGE_ENTRIES, Then};
use crate::cx::Cx;
use crate::effect::StoreRequest;
use crate::ids::ConnectionId;
use crate::input::{EntryPage, StoredSession};

impl Ledger {
    pub(super) fn on_record(
        &mut self,
        record: Option<StoredSession>,
        spoken: Locale,
        reason: CatchUpReason,
        cx: &mut Cx<'_>,
    ) {
        let Some(StoredSession { seq, locale, rotations }) = record else {
            self.end(0, cx);
            return self.on_caught_up(reason, cx);
        };
        let profile = &mut self.conversation.profile;
        // A locale that changed meanwhile was chosen after the record was read, or is not stored yet: it wins.
        if profile.locale() == spoken && locale != spoken && !profile.is_locale_unsaved() {
            profile.choose(locale);
        }
        // The event of a rotation may have been lost.
        self.conversation.fanout.revoke(rotations, None, cx);
        self.catch_up(seq, None, Then::CaughtUp(reason), cx);
    }

    /// Publishes missed entries up to `last`: entries of other cores, or of a commit whose reply was lost. Then continues.
    pub(super) fn catch_up(&mut self, last: u64, own: Option<(ConnectionId, MessageId)>, then: Then, cx: &mut Cx<'_>) {
        self.read_entries(Box::new(CatchUp { last, own, then }), cx);
    }

    fn read_entries(&mut self, catch_up: Box<CatchUp>, cx: &mut Cx<'_>) {
        let after = self.conversation.published.seq();
        if catch_up.last <= after || self.life != Life::Open {
            return self.continue_with(catch_up.then, cx);
        }
        self.request(Active::ReadEntries(catch_up), StoreRequest::ReadEntries { after, limit: PAGE_ENTRIES }, cx);
    }

    pub(super) fn on_entries(&mut self, catch_up: Box<CatchUp>, page: EntryPage, cx: &mut Cx<'_>) {
        let EntryPage { entries, forgotten, rows, last_seq } = page;
        let last = catch_up.last;
        let read = last_seq.unwrap_or(self.conversation.published.seq());
        let mut forgotten = forgotten.into_iter().filter(|forgotten| forgotten.seq <= last).peekable();
        for mut entry in entries.into_iter().filter(|entry| entry.seq <= last) {
            while let Some(forgotten) = forgotten.next_if(|forgotten| forgotten.seq < entry.seq) {
                self.conversation.apply_missed_forgotten(forgotten, cx);
            }
            // A missing entry was pruned by retention, or cannot be decrypted.
            self.conversation.published.skip_to(entry.seq.saturating_sub(1));
            // Help is no part of the result that its connection gets separately.
            let own = catch_up.own.as_ref().filter(|(_, id)| *id == entry.id && entry.role != Role::Support);
            let sender = own.map(|(from, _)| *from);
            self.conversation.attach_resources(&mut entry, cx.wall());
            self.conversation.apply_entry(entry, sender, cx);
        }
        forgotten.for_each(|forgotten| self.conversation.apply_missed_forgotten(forgotten, cx));
        let is_complete = rows < PAGE_ENTRIES || last <= read;
        self.conversation.published.skip_to(if is_complete { last } else { read });
        self.read_entries(catch_up, cx);
    }
}
