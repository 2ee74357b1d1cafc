//! The store of the simulation: the one truth, with outages and lost replies.

use protocol::server_frame::{Entry, Role};
use protocol::{Country, Locale, MessageId, Timestamp, UserText};
use session::{Failure, MessageRejection, StoredSession};

/// Entries and record of the one session.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) entries: Vec<Entry>,
    pub(super) locale: Locale,
    pub(super) country: Option<Country>,
    pub(super) is_erased: bool,
    pub(super) is_down: bool,
}

/// Result of an append.
pub(super) enum Appended {
    New(Entry),
    Existing(u64),
}

impl Store {
    /// Appends an entry, unless one with its id and role exists.
    pub(super) fn append(&mut self, mut entry: Entry) -> Result<Appended, Failure> {
        if self.is_erased {
            return Err(Failure::NoSession);
        }
        if let Some(known) = self.find(&entry.id, entry.role) {
            return Ok(Appended::Existing(known.seq));
        }
        entry.seq = self.last() + 1;
        self.entries.push(entry.clone());
        Ok(Appended::New(entry))
    }

    pub(super) fn find(&self, id: &MessageId, role: Role) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == *id && entry.role == role)
    }

    pub(super) fn at(&self, seq: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(seq.checked_sub(1)?).unwrap())
    }

    /// Returns the message with this id, its help and its answer, oldest first.
    pub(super) fn entries_of(&self, id: &MessageId) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.id == *id).cloned().collect()
    }

    pub(super) fn after(&self, seq: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| seq < entry.seq)
    }

    pub(super) fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn record(&self) -> Option<StoredSession> {
        (!self.is_erased).then_some(StoredSession { seq: self.last(), locale: self.locale })
    }

    pub(super) fn erase(&mut self) -> Result<u64, Failure> {
        let entries = self.last();
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
