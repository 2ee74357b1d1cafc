//! Encoding and encryption of an entry's content.
//!
//! Role, finish reason, source and help form a small header before the text, sealed together with it.
//! The `role` column holds a keyed hash, which distinguishes the entries of one message and reveals
//! nothing else: a stolen copy of the database must not show which people were at risk.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::server_frame::{Finish, Help, Kind, Level, Role, Source, Subject};
use protocol::{MessageId, UserText};

use super::error::StoreError;
use super::keys::{Keyring, Sealed};
use super::model::{EntryPosition, NewEntry};

/// Values of the `role` column before entries had a header.
pub(super) const LEGACY_ROLES: [(&str, Role); 3] =
    [("user", Role::User), ("assistant", Role::Assistant), ("support", Role::Support)];

/// Version of the header: its first byte.
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 7;

/// Role of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowRole {
    /// Role of an entry.
    Entry(Role),
    /// The row stands for a message that was forgotten.
    Forgotten,
}

const ROLES: [RowRole; 4] =
    [RowRole::Entry(Role::User), RowRole::Entry(Role::Assistant), RowRole::Entry(Role::Support), RowRole::Forgotten];
const FINISHES: [Finish; 4] = [Finish::Stop, Finish::Length, Finish::Stopped, Finish::Error];
const SOURCES: [Source; 3] = [Source::Llm, Source::Companion, Source::Screened];
const LEVELS: [Level; 3] = [Level::Concern, Level::High, Level::Imminent];
const SUBJECTS: [Subject; 2] = [Subject::Own, Subject::Other];
const KINDS: [Kind; 8] = [
    Kind::Suicide,
    Kind::SelfHarm,
    Kind::Abuse,
    Kind::SexualViolence,
    Kind::Eating,
    Kind::HarmToOthers,
    Kind::Medical,
    Kind::Substance,
];

/// Sealed part of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) role: RowRole,
    pub(super) text: UserText,
    pub(super) finish: Option<Finish>,
    pub(super) source: Option<Source>,
    /// Its resources are not stored.
    pub(super) help: Option<Box<Help>>,
}

/// Columns of an entry that depend on its content.
#[derive(Debug)]
pub(super) struct SealedContent {
    /// Value of the `role` column.
    pub(super) tag: String,
    pub(super) sealed: Sealed,
}

impl Content {
    /// Returns the sealed part of `entry`.
    pub(super) fn of(entry: &NewEntry) -> Self {
        let NewEntry { role, text, finish, source, help, .. } = entry.clone();
        Self { role: RowRole::Entry(role), text, finish, source, help }
    }

    /// Returns the sealed part of the row that stands for a forgotten message. `help`: the risk in force.
    pub(super) fn forgotten(from_seq: u64, help: Option<Box<Help>>) -> Self {
        let text = UserText::new(from_seq.to_string());
        Self { role: RowRole::Forgotten, text, finish: None, source: None, help }
    }

    /// Seals the content for `position`, as part of message `id`.
    pub(super) fn seal(&self, keys: &Keyring, position: EntryPosition, id: &MessageId) -> SealedContent {
        let help = self.help.as_deref();
        let header = [
            VERSION,
            code(&ROLES, Some(self.role)),
            code(&FINISHES, self.finish),
            code(&SOURCES, self.source),
            code(&LEVELS, help.map(|help| help.level)),
            code(&SUBJECTS, help.map(|help| help.subject)),
            code(&KINDS, help.and_then(|help| help.kind)),
        ];
        let bytes = [&header[..], self.text.expose().as_bytes()].concat();
        SealedContent { tag: tag(keys, position, id, self.role), sealed: keys.seal_entry(position, &bytes) }
    }

    /// Opens content that was sealed for `position` and tagged for message `id`.
    ///
    /// # Errors
    ///
    /// Its key is not configured, or it is damaged or was sealed for another position or message.
    pub(super) fn open(
        keys: &Keyring,
        position: EntryPosition,
        id: &MessageId,
        SealedContent { tag: stored, sealed }: SealedContent,
    ) -> Result<Self, StoreError> {
        let damaged = || StoreError::Damaged(format!("entry {} of {}", position.seq, position.user));
        let bytes = keys.open_entry(position, sealed)?;
        let content = Self::read(&bytes).ok_or_else(damaged)?;
        if tag(keys, position, id, content.role) == stored { Ok(content) } else { Err(damaged()) }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (&[VERSION, role, finish, source, level, subject, kind], text) =
            bytes.split_first_chunk::<HEADER_BYTES>()?
        else {
            return None;
        };
        let help = decode(&LEVELS, level)?.map(|level| {
            let subject = decode(&SUBJECTS, subject)?.unwrap_or_default();
            Some(Box::new(Help { level, subject, kind: decode(&KINDS, kind)?, resources: Vec::new() }))
        });
        Some(Self {
            role: decode(&ROLES, role)??,
            text: UserText::new(std::str::from_utf8(text).ok()?),
            finish: decode(&FINISHES, finish)?,
            source: decode(&SOURCES, source)?,
            help: match help {
                Some(help) => Some(help?),
                None => None,
            },
        })
    }
}

/// Keyed hash that distinguishes the entries of one message.
pub(super) fn tag(keys: &Keyring, EntryPosition { user, .. }: EntryPosition, id: &MessageId, role: RowRole) -> String {
    let message = [&user.0.to_be_bytes()[..], &[code(&ROLES, Some(role))], id.as_str().as_bytes()].concat();
    URL_SAFE_NO_PAD.encode(keys.entry_tag(&message))
}

/// Value of the `role` column before entries had a header.
pub(super) fn legacy_role(role: Role) -> &'static str {
    LEGACY_ROLES.iter().find(|(_, known)| *known == role).map_or("", |(name, _)| name)
}

/// Returns the one-based index of `value`; 0 for none.
fn code<T: PartialEq>(values: &[T], value: Option<T>) -> u8 {
    let at = value.and_then(|value| values.iter().position(|known| *known == value));
    at.and_then(|at| u8::try_from(at + 1).ok()).unwrap_or(0)
}

/// Returns the value of `code`; outer `None` for an unknown code.
#[expect(clippy::option_option, reason = "absent is a value here, unknown is not")]
fn decode<T: Copy>(values: &[T], code: u8) -> Option<Option<T>> {
    match usize::from(code).checked_sub(1) {
        None => Some(None),
        Some(at) => values.get(at).copied().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use protocol::UserLabel;

    use super::*;

    fn contents() -> impl Iterator<Item = Content> {
        let of = |role, finish, source, help: Option<Help>| Content {
            role: RowRole::Entry(role),
            text: UserText::new("¿cómo?"),
            finish,
            source,
            help: help.map(Box::new),
        };
        let help = |level, subject, kind| Some(Help { level, subject, kind, resources: Vec::new() });
        let answers = FINISHES.into_iter().flat_map(|finish| SOURCES.map(|source| (finish, source)));
        let answers = answers.map(move |(finish, source)| of(Role::Assistant, Some(finish), Some(source), None));
        let kinds = KINDS.into_iter().map(Some).chain([None]);
        let helps = kinds.flat_map(|kind| LEVELS.map(|level| (level, kind)));
        let helps = helps.flat_map(|(level, kind)| SUBJECTS.map(|subject| (level, subject, kind)));
        let helps = helps.map(move |(level, subject, kind)| of(Role::Support, None, None, help(level, subject, kind)));
        let forgotten =
            [None, help(Level::High, Subject::Own, None)].map(|help| Content::forgotten(7, help.map(Box::new)));
        std::iter::once(of(Role::User, None, None, None)).chain(answers).chain(helps).chain(forgotten)
    }

    #[test]
    fn contents_round_trip_and_are_bound_to_their_message() {
        let (keys, position) = (Keyring::default(), EntryPosition { user: UserLabel(7), seq: 3 });
        let [id, other]: [MessageId; 2] = ["a", "b"].map(|id| id.parse().unwrap());
        for content in contents() {
            let seal = || content.seal(&keys, position, &id);
            assert_eq!(Content::open(&keys, position, &id, seal()).unwrap(), content);
            assert!(Content::open(&keys, position, &other, seal()).is_err());
            assert!(!LEGACY_ROLES.iter().any(|(name, _)| seal().tag.contains(name)));
        }
    }

    #[test]
    fn rejects_malformed_headers() {
        for bytes in [&b""[..], b"hola", &[2, 1, 0, 0, 0, 0, 0], &[1, 0, 0, 0, 0, 0, 0], &[1, 5, 0, 0, 0, 0, 0]] {
            assert_eq!(Content::read(bytes), None, "{bytes:?}");
        }
        assert_eq!(Content::read(&[1, 1, 9, 0, 0, 0, 0]), None);
        assert_eq!(Content::read(&[1, 3, 0, 0, 1, 1, 99]), None);
        assert_eq!(Content::read(&[1, 1, 0, 0, 0, 0, 0, 0xff]), None, "not UTF-8");
    }

    #[test]
    fn legacy_roles_match_the_wire() {
        let roles = [Role::User, Role::Assistant, Role::Support];
        assert_eq!(roles.map(legacy_role), roles.map(|role| role.to_string()));
    }
}
