//! Rules that hold at every step, and at rest.

use protocol::server_frame::Role;
use protocol::{MessageId, ServerFrame};
use session::{Effect, SessionEvent};

use super::client::{Client, Draft};
use super::connection::Connection;
use super::world::World;

impl World {
    /// Checks that a frame says what the store has, and that an end comes behind the release of its claim.
    pub(super) fn check_frame(&mut self, core: usize, frame: &ServerFrame) {
        if self.store.is_erased {
            return;
        }
        match frame {
            ServerFrame::Accepted { id, seq, .. } => {
                let is_stored = self.store.at(*seq).is_some_and(|entry| entry.id == *id && entry.role == Role::User);
                let is_stored = is_stored || self.store.is_forgotten(id);
                self.require(is_stored, || format!("core {core}: accepted {id} is not stored as {seq}"));
            }
            ServerFrame::Turn(entry) => {
                let is_stored = self.store.at(entry.seq).is_some_and(|stored| {
                    stored.id == entry.id && stored.role == entry.role && stored.text == entry.text
                });
                let is_stored = is_stored || self.store.is_forgotten(&entry.id);
                self.require(is_stored, || format!("core {core}: turn {} is not stored", entry.seq));
            }
            ServerFrame::Done(done) => {
                if let Some(seq) = done.seq {
                    let is_stored = self.store.at(seq).is_some_and(|entry| {
                        entry.id == done.id && entry.role == Role::Assistant && entry.text.chars() == done.chars
                    });
                    let is_stored = is_stored || self.store.is_forgotten(&done.id);
                    self.require(is_stored, || format!("core {core}: done {} is not stored as {seq}", done.id));
                }
            }
            _ => {}
        }
    }

    /// Checks that the end of an answer is published behind the release of its claim: a core that reacts to it must be
    /// able to claim the message.
    pub(super) fn check_published(&mut self, core: usize, event: &SessionEvent) {
        let SessionEvent::Frame(frame) = event else {
            return;
        };
        self.check_frame(core, frame);
        let ended = match &**frame {
            ServerFrame::Done(done) => Some(&done.id),
            ServerFrame::Error(error) => error.id.as_ref(),
            _ => None,
        };
        if let Some(id) = ended.filter(|id| self.cores[core].has_permit(id)) {
            self.fail(|| format!("core {core}: publishes the end of {id} before the release of its claim"));
        }
    }

    /// Checks that a connection that attaches gets one answer to a message.
    pub(super) fn check_attached(&mut self, core: usize, effects: &[Effect]) {
        let answer = |effect: &Effect| match effect {
            Effect::Send(_, ServerFrame::Delta { id, .. }) => Some(id.clone()),
            _ => None,
        };
        let answers: Vec<MessageId> = effects.iter().filter_map(answer).collect();
        let is_twice = answers.windows(2).any(|pair| pair[0] == pair[1]);
        self.require(!is_twice, || format!("core {core}: two answers to one message at once: {answers:?}"));
    }

    /// Checks the world after its rest: nothing is pending, and every reader has the stored text.
    pub(super) fn check_rest(&mut self) {
        let now_ms = self.now_ms;
        let claims = self.cluster.in_flight(now_ms).len();
        self.require(claims == 0, || format!("{claims} claims are never given back"));
        for core in 0..self.cores.len() {
            let state = &self.cores[core];
            let (calls, permits) = (state.calls.len(), state.permits.len());
            let is_busy = state.session.as_ref().is_some_and(session::Session::is_busy);
            self.require(calls == 0, || format!("core {core}: {calls} calls never complete"));
            self.require(permits == 0, || format!("core {core}: {permits} permits are left"));
            self.require(!is_busy, || format!("core {core}: still busy"));
        }
        let is_revoked = |it: &&Connection| it.id.is_some() && it.rotations < self.store.rotations;
        let revoked = self.connections.iter().filter(is_revoked).count();
        let is_known = !self.store.is_unsure && self.store.completed_rotations == self.store.rotations;
        self.require(revoked == 0 || !is_known, || format!("{revoked} connections with an earlier token are open"));
        for client in 0..self.clients.len() {
            self.check_reader(client);
        }
    }

    fn check_reader(&mut self, number: usize) {
        let Client { entries, own, drafts, lost, is_open, is_gone, .. } = &self.clients[number];
        if self.store.is_erased || *is_gone {
            let (is_erased, is_gone) = (self.store.is_erased, *is_gone);
            let is_unknown = self.store.is_erasure_unknown;
            return self.require(is_erased && (is_gone || is_unknown), || {
                format!("client {number}: erased in the store {is_erased}, for the client {is_gone}")
            });
        }
        // One of an earlier connection may belong to a message that was stopped meanwhile.
        let is_in_progress = |(id, draft): (&String, &Draft)| (0 < draft.held).then(|| id.clone());
        let drafts: Vec<String> = drafts.iter().filter_map(is_in_progress).collect();
        let wrong = self.store.entries.iter().find(|stored| {
            // The error in place of this answer makes a client of another message reload its history.
            let is_excused = stored.role == Role::Assistant && lost.contains(stored.id.as_str());
            let is_same = entries.get(&stored.seq).is_some_and(|entry| {
                (&entry.0, entry.1, entry.2.as_str()) == (&stored.id, stored.role, stored.text.expose())
            });
            !(is_same || is_excused)
        });
        let shown = entries.values().find(|(id, ..)| self.store.is_forgotten(id)).map(|(id, ..)| id.clone());
        let wrong = wrong.map(|stored| (stored.seq, entries.get(&stored.seq).map(|entry| entry.2.clone())));
        let unanswered: Vec<MessageId> = own.iter().map(|message| message.id.clone()).collect();
        let is_open = *is_open;
        self.require(is_open, || format!("client {number}: not connected at rest"));
        self.require(wrong.is_none(), || format!("client {number}: its entry is not the stored one: {wrong:?}"));
        let is_unsure = self.store.is_unsure;
        self.require(shown.is_none() || is_unsure, || format!("client {number}: shows {shown:?}, which is forgotten"));
        self.require(unanswered.is_empty(), || format!("client {number}: unanswered {unanswered:?}"));
        self.require(drafts.is_empty(), || format!("client {number}: has drafts without an end: {drafts:?}"));
    }
}
