//! The store of the simulation: the one truth, with outages and lost replies.

use protocol::server_frame::{Entry, Forgotten, Role};
use protocol::{Country, Locale, MessageId, Timestamp, UserText};
use session::{Erased, Failure, MessageRejection, StoredSession};

/// Entries and record of the one session.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) entries: Vec<Entry>,
    pub(super) forgotten: Vec<Forgotten>,
    last: u64,
    pub(super) locale: Locale,
    pub(super) country: Option<Country>,
    /// An erasure has failed, as far as its client knows: the session may be gone, which shows with the next message.
    pub(super) is_erasure_unknown: bool,
    /// Rotations whose call has completed.
    pub(super) completed_rotations: u64,
    /// A core has died: others may not know of its last rotation or forgotten message before they read the store again.
    pub(super) is_unsure: bool,
    /// Number of resume tokens before the present one.
    pub(super) rotations: u64,
    pub(super) is_erased: bool,
    pub(super) is_down: bool,
}

/// Result of an append.
pub(super) enum Appended {
    New(Entry),
    Existing(u64),
    Forgotten(Forgotten),
}

impl Store {
    /// Appends an entry, unless one with its id and role exists.
    pub(super) fn append(&mut self, mut entry: Entry) -> Result<Appended, Failure> {
        if self.is_erased {
            return Err(Failure::NoSession);
        }
        if let Some(forgotten) = self.forgotten.iter().find(|forgotten| forgotten.id == entry.id) {
            return Ok(Appended::Forgotten(forgotten.clone()));
        }
        if let Some(known) = self.find(&entry.id, entry.role) {
            return Ok(Appended::Existing(known.seq));
        }
        self.last += 1;
        entry.seq = self.last;
        self.entries.push(entry.clone());
        Ok(Appended::New(entry))
    }

    pub(super) fn find(&self, id: &MessageId, role: Role) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == *id && entry.role == role)
    }

    pub(super) fn at(&self, seq: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.seq == seq)
    }

    pub(super) fn is_forgotten(&self, id: &MessageId) -> bool {
        self.forgotten.iter().any(|forgotten| forgotten.id == *id)
    }

    /// Erases a message with its help and its answer.
    pub(super) fn forget(&mut self, id: &MessageId) -> Result<Option<Erased>, Failure> {
        if self.is_erased {
            return Err(Failure::NoSession);
        }
        if let Some(known) = self.forgotten.iter().find(|forgotten| forgotten.id == *id) {
            return Ok(Some(Erased { forgotten: known.clone(), entries: 0 }));
        }
        let Some(from_seq) = self.entries.iter().find(|entry| entry.id == *id).map(|first| first.seq) else {
            return Ok(None);
        };
        let before = self.entries.len();
        self.entries.retain(|entry| entry.id != *id);
        self.last += 1;
        let forgotten = Forgotten { seq: self.last, id: id.clone(), from_seq };
        self.forgotten.push(forgotten.clone());
        Ok(Some(Erased { forgotten, entries: (before - self.entries.len()) as u64 }))
    }

    /// Returns the message with this id, its help and its answer, oldest first.
    pub(super) fn entries_of(&self, id: &MessageId) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.id == *id).cloned().collect()
    }

    pub(super) fn after(&self, seq: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| seq < entry.seq)
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn record(&self) -> Option<StoredSession> {
        (!self.is_erased).then_some(StoredSession { seq: self.last(), locale: self.locale, rotations: self.rotations })
    }

    pub(super) fn erase(&mut self) -> Result<u64, Failure> {
        let entries = self.entries.len() as u64;
        if std::mem::replace(&mut self.is_erased, true) {
            return Err(Failure::NoSession);
        }
        self.entries.clear();
        Ok(entries)
    }
}

/// Failure of a store that is away.
pub(super) fn unavailable() -> Failure {
    Failure::Rejected(MessageRejection::unavailable())
}

/// An entry without a `seq`.
pub(super) fn entry(id: &MessageId, role: Role, text: &UserText, at: Timestamp) -> Entry {
    Entry { seq: 0, id: id.clone(), role, text: text.clone(), at, finish: None, source: None, help: None }
}
