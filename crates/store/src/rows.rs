//! Rows of the tables and their conversion, common to both databases.

use std::fmt::Display;

use protocol::server_frame::{Entry, Finish, Forgotten, Source};
use protocol::{Locale, MessageId, SessionId, Timestamp, UserLabel, UserText};
use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use serde::de::value::Error;

use super::content::{Content, LEGACY_ROLES, RowRole, SealedContent};
use super::error::StoreError;
use super::keys::{KeyId, Keyring, Sealed};
use super::model::{EntryPosition, ReadableEntries, Row, SessionRecord, Summary, Tombstone};

/// Granularity of `last_seen`: one hour. The column is indexed, so it must not be written with every entry.
pub(super) const LAST_SEEN_GRANULARITY_MS: i64 = 3_600_000;

/// Row of `sessions`.
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
    pub(super) rotations: i64,
}

/// Row of `entries`.
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

/// `seq` of a row of `entries`, with the row or the error that makes it unreadable.
pub(super) type SeqAndRow = (u64, Result<EntryRow, StoreError>);

/// Row of `summaries`.
#[derive(Debug)]
pub(super) struct SummaryRow {
    pub(super) first_seq: i64,
    pub(super) last_seq: i64,
    pub(super) key_id: Option<i64>,
    pub(super) text: Vec<u8>,
}

impl SummaryRow {
    /// Decrypts the summary of `user`.
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
            // A damaged country falls back to the guessed one: the conversation must stay usable.
            country: self.country.and_then(|code| code.parse().ok()),
            seq: number(self.seq)?,
            messages: number(self.messages)?,
            pruned: number(self.pruned)?,
            rotations: number(self.rotations)?,
        })
    }
}

impl EntryRow {
    /// Decrypts the row of `user`.
    pub(super) fn read(self, user: UserLabel, keys: &Keyring) -> Result<Row, StoreError> {
        let seq = number(self.seq)?;
        let id = self.message_id.parse::<MessageId>().map_err(|_| damaged("message_id", seq))?;
        let at = Timestamp::from_unix_ms(self.at);
        let Content { role, text, finish, source, help } = self.content(EntryPosition { user, seq }, &id, keys)?;
        Ok(match role {
            RowRole::Entry(role) => Row::Entry(Entry { seq, id, role, text, at, finish, source, help }),
            RowRole::Forgotten => {
                let from_seq = text.expose().parse().map_err(|_| damaged("a forgotten message", seq))?;
                Row::Tombstone(Tombstone { forgotten: Forgotten { seq, id, from_seq }, at, help })
            }
        })
    }

    /// Decrypts the row if it is an entry; `None` for a forgotten message.
    pub(super) fn read_entry(self, user: UserLabel, keys: &Keyring) -> Result<Option<Entry>, StoreError> {
        Ok(match self.read(user, keys)? {
            Row::Entry(entry) => Some(entry),
            Row::Tombstone(_) => None,
        })
    }

    fn content(self, position: EntryPosition, id: &MessageId, keys: &Keyring) -> Result<Content, StoreError> {
        let sealed = Sealed { key: self.key_id.map(KeyId), bytes: self.text };
        let Some((_, role)) = LEGACY_ROLES.into_iter().find(|(name, _)| *name == self.role) else {
            return Content::open(keys, position, id, SealedContent { tag: self.role, sealed });
        };
        let text =
            String::from_utf8(keys.open_entry(position, sealed)?).map_err(|_| damaged("an entry", position.seq))?;
        Ok(Content {
            role: RowRole::Entry(role),
            text: UserText::new(text),
            finish: self.finish.as_deref().map(from_name::<Finish>).transpose()?,
            source: self.source.as_deref().map(from_name::<Source>).transpose()?,
            help: None,
        })
    }

    /// Returns whether the row was written by an earlier version, without a header.
    pub(super) fn is_legacy(&self) -> bool {
        LEGACY_ROLES.iter().any(|(name, _)| *name == self.role)
    }

    /// Seals the row's content under the current key.
    pub(super) fn reencrypt(self, user: UserLabel, keys: &Keyring) -> Result<SealedContent, StoreError> {
        let seq = number(self.seq)?;
        let (position, id) =
            (EntryPosition { user, seq }, self.message_id.parse().map_err(|_| damaged("message_id", seq))?);
        Ok(self.content(position, &id, keys)?.seal(keys, position, &id))
    }
}

/// Decrypts the readable entries of `user` and logs one line if any is not. The conversation must continue
/// without the unreadable ones.
pub(super) fn decrypt_readable(
    rows: impl IntoIterator<Item = SeqAndRow>,
    user: UserLabel,
    keys: &Keyring,
) -> ReadableEntries {
    let mut readable = ReadableEntries::default();
    let mut first = None;
    for (seq, row) in rows {
        match row.and_then(|row| row.read(user, keys)) {
            Ok(Row::Entry(entry)) => readable.entries.push(entry),
            Ok(Row::Tombstone(tombstone)) => readable.tombstones.push(tombstone),
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

/// Returns the summary of `user`; logs an unreadable one and returns `None`.
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

/// Column text of a value, equal to its text on the wire.
pub(super) fn name<T: Display>(value: T) -> String {
    value.to_string()
}

fn from_name<'a, T: Deserialize<'a>>(name: &'a str) -> Result<T, StoreError> {
    T::deserialize(name.into_deserializer()).map_err(|error: Error| StoreError::Damaged(error.to_string()))
}

/// Converts to `BIGINT`; saturates, which no real number reaches.
pub(super) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Converts from `BIGINT`; negative numbers are damage.
pub(super) fn number(column: i64) -> Result<u64, StoreError> {
    u64::try_from(column).map_err(|_| damaged("a number", column))
}

fn damaged(field: &str, position: impl Display) -> StoreError {
    StoreError::Damaged(format!("{field} at {position}"))
}
