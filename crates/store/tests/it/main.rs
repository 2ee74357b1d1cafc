//! Contract suite of [`store::Store`], run on every implementation.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an unexpected result fails the test")]

mod concurrency;
mod entries;
mod fixture;
mod forgetting;
mod keys;
mod model;
mod postgres;
mod pruning;
mod recent;
mod referrals;
mod sessions;
mod summaries;
mod unkept;

use protocol::server_frame::{Entry, Finish, Help, Kind, Level, Role, Source, Subject};
use protocol::{Locale, MessageId, ResumeToken, SessionId, Timestamp, UserLabel, UserText};
use store::{Appended, NewEntry, NewSession, Store};

/// Granularity of `last_seen`.
const HOUR_MS: i64 = 3_600_000;
/// Start of every test's timeline.
const START_MS: i64 = 1_700_000_000_000;

/// Time after the start, in steps of two hours: longer than the granularity of `last_seen`.
fn hours(count: i64) -> Timestamp {
    Timestamp::from_unix_ms(START_MS + 2 * count * HOUR_MS)
}

fn new_session(at: Timestamp) -> NewSession {
    let (id, token) = (SessionId::random(), ResumeToken::random());
    NewSession { id, token, locale: Locale::default(), country: None, created_at: at }
}

async fn session(store: &dyn Store) -> UserLabel {
    store.create_session(new_session(hours(0))).await.unwrap().user
}

fn id(id: &str) -> MessageId {
    id.parse().unwrap()
}

fn message(name: &str, text: &str) -> NewEntry {
    message_at(name, text, hours(0))
}

fn message_at(name: &str, text: &str, at: Timestamp) -> NewEntry {
    NewEntry { id: id(name), role: Role::User, text: UserText::new(text), at, finish: None, source: None, help: None }
}

/// Displayed help for the message `name`.
fn support(name: &str, text: &str) -> NewEntry {
    let (level, subject, kind) = (Level::High, Subject::Other, Some(Kind::SelfHarm));
    let help = Help { level, subject, kind, resources: Vec::new() };
    NewEntry { role: Role::Support, help: Some(Box::new(help)), ..message(name, text) }
}

fn answer(name: &str, text: &str) -> NewEntry {
    NewEntry { role: Role::Assistant, finish: Some(Finish::Stop), source: Some(Source::Llm), ..message(name, text) }
}

/// Returns the newly stored entry.
fn new(appended: Appended) -> Entry {
    match appended {
        Appended::New(entry) => entry,
        Appended::Existing { seq } => panic!("known as {seq}"),
        Appended::Forgotten(forgotten) => panic!("{forgotten:?}"),
    }
}

fn seqs(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq).collect()
}
