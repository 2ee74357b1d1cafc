//! How sessions and entries look in tables: what both databases share.

use std::fmt::Display;

use protocol::server_frame::{Entry, Finish, Source};
use protocol::{Locale, MessageId, SessionId, Timestamp, UserLabel, UserText};
use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use serde::de::value::Error;

use super::content::{Content, LEGACY_ROLES, SealedContent};
use super::keys::{KeyId, Keyring, Sealed};
use super::{EntryPosition, ReadableEntries, SessionRecord, StoreError, Summary};

/// How far `last_seen` may lag behind: it is written only when it is older, because it has an index.
pub(super) const LAST_SEEN_GRANULARITY_MS: i64 = 3_600_000;

/// A row of `sessions`.
#[derive(Debug)]
pub(super) struct SessionRow {
    pub(super) user_id: i64,
    pub(super) session_id: String,
    pub(super) locale: String,
    pub(super) country: Option<String>,
    pub(super) created_at: i64,
    pub(super) seq: i64,
    pub(super) messages: i64,
    pub(super) pruned: i64,
}

/// A row of `entries`.
#[derive(Debug)]
pub(super) struct EntryRow {
    pub(super) seq: i64,
    pub(super) message_id: String,
    pub(super) role: String,
    pub(super) key_id: Option<i64>,
    pub(super) text: Vec<u8>,
    pub(super) at: i64,
    pub(super) finish: Option<String>,
    pub(super) source: Option<String>,
}

/// A row of `entries`, or why it cannot be read, with its `seq`.
pub(super) type SeqAndRow = (u64, Result<EntryRow, StoreError>);

/// A row of `summaries`.
#[derive(Debug)]
pub(super) struct SummaryRow {
    pub(super) first_seq: i64,
    pub(super) last_seq: i64,
    pub(super) key_id: Option<i64>,
    pub(super) text: Vec<u8>,
}

impl SummaryRow {
    /// The summary of `user`, its text opened with `keys`.
    pub(super) fn read(self, user: UserLabel, keys: &Keyring) -> Result<Summary, StoreError> {
        let sealed = Sealed { key: self.key_id.map(KeyId), bytes: self.text };
        keys.open_summary(user, number(self.first_seq)?, number(self.last_seq)?, sealed)
    }
}

impl SessionRow {
    pub(super) fn read(self) -> Result<SessionRecord, StoreError> {
        let locale = self.locale.parse::<Locale>();
        Ok(SessionRecord {
            user: UserLabel(number(self.user_id)?),
            id: SessionId::from(self.session_id.as_str()),
            created_at: Timestamp::from_unix_ms(self.created_at),
            locale: locale.map_err(|_| damaged("locale", self.user_id))?,
            // A guess is better than no conversation.
            country: self.country.and_then(|code| code.parse().ok()),
            seq: number(self.seq)?,
            messages: number(self.messages)?,
            pruned: number(self.pruned)?,
        })
    }
}

impl EntryRow {
    /// The entry of `user`, opened with `keys`.
    pub(super) fn read(self, user: UserLabel, keys: &Keyring) -> Result<Entry, StoreError> {
        let seq = number(self.seq)?;
        let id = self.message_id.parse::<MessageId>().map_err(|_| damaged("message_id", seq))?;
        let at = Timestamp::from_unix_ms(self.at);
        let Content { role, text, finish, source, help } = self.content(EntryPosition { user, seq }, &id, keys)?;
        Ok(Entry { seq, id, role, text, at, finish, source, help })
    }

    fn content(self, place: EntryPosition, id: &MessageId, keys: &Keyring) -> Result<Content, StoreError> {
        let sealed = Sealed { key: self.key_id.map(KeyId), bytes: self.text };
        let Some((_, role)) = LEGACY_ROLES.into_iter().find(|(name, _)| *name == self.role) else {
            return Content::open(keys, place, id, SealedContent { tag: self.role, sealed });
        };
        let text = String::from_utf8(keys.open_entry(place, sealed)?).map_err(|_| damaged("an entry", place.seq))?;
        Ok(Content {
            role,
            text: UserText::new(text),
            finish: self.finish.as_deref().map(from_name::<Finish>).transpose()?,
            source: self.source.as_deref().map(from_name::<Source>).transpose()?,
            help: None,
        })
    }

    /// Whether an earlier version wrote it.
    pub(super) fn is_legacy(&self) -> bool {
        LEGACY_ROLES.iter().any(|(name, _)| *name == self.role)
    }

    /// What is written in its place, under the current key.
    pub(super) fn reencrypt(self, user: UserLabel, keys: &Keyring) -> Result<SealedContent, StoreError> {
        let seq = number(self.seq)?;
        let (place, id) =
            (EntryPosition { user, seq }, self.message_id.parse().map_err(|_| damaged("message_id", seq))?);
        Ok(self.content(place, &id, keys)?.seal(keys, place, &id))
    }
}

/// Opens the entries of `user` in `rows`, and leaves out those that do not open, with one line in the log. No
/// text gets there: without them the conversation goes on.
pub(super) fn decrypt_readable(
    rows: impl IntoIterator<Item = SeqAndRow>,
    user: UserLabel,
    keys: &Keyring,
) -> ReadableEntries {
    let mut readable = ReadableEntries::default();
    let mut first = None;
    for (seq, row) in rows {
        match row.and_then(|row| row.read(user, keys)) {
            Ok(entry) => readable.entries.push(entry),
            Err(error) => {
                readable.unreadable.push(seq);
                first.get_or_insert(error);
            }
        }
    }
    if let Some(error) = first {
        let unreadable = readable.unreadable.len();
        tracing::error!(%user, entries.unreadable = unreadable, %error, "unreadable entries skipped");
    }
    readable
}

/// The summary of `user`, if it opens; else the log has one line.
pub(super) fn readable_summary(
    summary: Result<Option<Summary>, StoreError>,
    user: UserLabel,
) -> Result<Option<Summary>, StoreError> {
    match summary {
        Err(error) if error.is_data_error() => {
            tracing::error!(%user, %error, "unreadable summary skipped");
            Ok(None)
        }
        summary => summary,
    }
}

/// A value as its column's text: the same as on the wire.
pub(super) fn name<T: Display>(value: T) -> String {
    value.to_string()
}

fn from_name<'a, T: Deserialize<'a>>(name: &'a str) -> Result<T, StoreError> {
    T::deserialize(name.into_deserializer()).map_err(|error: Error| StoreError::Damaged(error.to_string()))
}

/// A number of ours as a column; none comes near the limit.
pub(super) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A column as a number of ours.
pub(super) fn number(column: i64) -> Result<u64, StoreError> {
    u64::try_from(column).map_err(|_| damaged("a number", column))
}

fn damaged(what: &str, place: impl Display) -> StoreError {
    StoreError::Damaged(format!("{what} at {place}"))
}
