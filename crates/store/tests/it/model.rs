//! Property test: random calls return the same from every database and from the in-memory store.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use store::{Cutoffs, MemoryStore, Page, Recent, StoreError, Summary};

use super::fixture::{Fixture, keyring};
use super::*;

#[derive(Debug, Clone)]
enum Call {
    Create,
    Append { user: u64, after: u64, id: u8, role: Role, text: String },
    EntriesOf { user: u64, id: u8 },
    Entries { user: u64, page: Page },
    Recent { user: u64, limit: usize },
    PutSummary { user: u64, first: u64, last: u64, text: String },
    SetLocale { user: u64, english: bool },
    Touch { users: Vec<u64> },
    Erase { user: u64 },
    Prune { empty: i64, kept: Option<i64> },
}

fn call() -> impl Strategy<Value = Call> {
    let user = || 1..5_u64;
    let page = (any::<bool>(), 0..12_u64, 0..6_usize)
        .prop_map(|(after, seq, limit)| if after { Page::After { seq, limit } } else { Page::Before { seq, limit } });
    let role = prop_oneof![Just(Role::User), Just(Role::Assistant)];
    prop_oneof![
        2 => Just(Call::Create),
        8 => (user(), 0..9_u64, 0..12_u8, role, any::<String>())
            .prop_map(|(user, after, id, role, text)| Call::Append { user, after, id, role, text }),
        1 => (user(), 0..12_u8).prop_map(|(user, id)| Call::EntriesOf { user, id }),
        3 => (user(), page).prop_map(|(user, page)| Call::Entries { user, page }),
        4 => (user(), 0..6_usize).prop_map(|(user, limit)| Call::Recent { user, limit }),
        2 => (user(), 1..6_u64, 1..9_u64, any::<String>())
            .prop_map(|(user, first, last, text)| Call::PutSummary { user, first, last, text }),
        1 => (user(), any::<bool>()).prop_map(|(user, english)| Call::SetLocale { user, english }),
        1 => prop::collection::vec(user(), 0..3).prop_map(|users| Call::Touch { users }),
        1 => user().prop_map(|user| Call::Erase { user }),
        1 => (1..9_i64, prop::option::of(1..9_i64)).prop_map(|(empty, kept)| Call::Prune { empty, kept }),
    ]
}

/// Result of a call as text, with labels relative to `base`.
async fn run(store: &dyn Store, call: &Call, new: &NewSession, base: u64, now: i64) -> String {
    let label = |user: &u64| UserLabel(base + user);
    let said = |error: StoreError| match error {
        StoreError::NoSession { user } => format!("no session {}", user.0 - base),
        other => panic!("{other}"),
    };
    let at = hours(now);
    match call {
        Call::Create => {
            let made = store.create_session(new.clone()).await.unwrap();
            format!("{} {:?}", made.user.0 - base, made.id)
        }
        Call::Append { user, after, id: name, role, text } => {
            let entry = NewEntry { role: *role, ..message_at(&format!("m{name}"), text, at) };
            store.append(label(user), *after, entry).await.map_or_else(said, |appended| match appended {
                Appended::New(entry) => plain(&[entry]),
                Appended::Existing { seq } => format!("known {seq}"),
                Appended::Forgotten(forgotten) => format!("forgotten as {}", forgotten.seq),
            })
        }
        Call::EntriesOf { user, id: name } => {
            let found = store.entries_of(label(user), &id(&format!("m{name}"))).await;
            found.map_or_else(said, |entries| plain(&entries))
        }
        Call::Entries { user, page } => {
            store.entries(label(user), *page).await.map_or_else(said, |entries| plain(&entries))
        }
        Call::Recent { user, limit } => {
            let with_summary = |Recent { summary, entries }| format!("{:?} {}", summary.map(gist), plain(&entries));
            store.recent(label(user), *limit).await.map_or_else(said, with_summary)
        }
        Call::PutSummary { user, first, last, text } => {
            let summary = Summary { first: *first, last: *last, text: UserText::new(text.as_str()) };
            store.put_summary(label(user), summary).await.map_or_else(said, |put| put.to_string())
        }
        Call::SetLocale { user, english } => {
            let locale = if *english { "en" } else { "es" }.parse().unwrap();
            store.set_locale(label(user), locale).await.map_or_else(said, |()| String::new())
        }
        Call::Touch { users } => {
            let users: Vec<_> = users.iter().map(label).collect();
            store.touch(&users, at).await.map_or_else(said, |()| String::new())
        }
        Call::Erase { user } => store.erase(label(user)).await.map_or_else(said, |count| count.to_string()),
        Call::Prune { empty, kept } => {
            let cutoffs = Cutoffs {
                now: hours(now),
                empty_before: hours(now - empty),
                entries_before: kept.map(|kept| hours(now - kept)),
                inactive_before: None,
            };
            store.prune(cutoffs, 9_999).await.map_or_else(said, |count| count.to_string())
        }
    }
}

fn plain(entries: &[Entry]) -> String {
    let plain =
        |entry: &Entry| format!("{} {} {} {:?} {:?}", entry.seq, entry.id, entry.role, entry.text.expose(), entry.at);
    entries.iter().map(plain).collect::<Vec<_>>().join("\n")
}

fn gist(Summary { first, last, text }: Summary) -> (u64, u64, String) {
    (first, last, text.expose().to_owned())
}

async fn agree(store: &dyn Store, calls: &[Call]) -> Result<(), TestCaseError> {
    let model = MemoryStore::default();
    let base = session(store).await.0;
    store.erase(UserLabel(base)).await.unwrap();
    let mut made = Vec::new();
    for (now, call) in (1..).zip(calls) {
        let new = new_session(hours(now));
        let got = run(store, call, &new, base, now).await;
        let want = run(&model, call, &new, 0, now).await;
        prop_assert_eq!(got, want, "call {}: {:?}", now, call);
        made.push(new.token);
    }
    for token in &made {
        let (got, want) = (store.session_by_token(token).await.unwrap(), model.session_by_token(token).await.unwrap());
        let plain = |found: Option<store::SessionRecord>, base: u64| {
            found.map(|s| (s.user.0 - base, s.id, s.created_at, s.locale, s.seq, s.messages, s.pruned))
        };
        prop_assert_eq!(plain(got.clone(), base), plain(want, 0));
        // The next run needs an empty database.
        if let Some(session) = got {
            store.erase(session.user).await.unwrap();
        }
    }
    Ok(())
}

#[test]
fn databases_match_model() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sealed = || keyring(Some(1), &[]);
    for fixture in [Fixture::sqlite("sqlite, sealed", sealed()), Fixture::postgres("postgres, sealed", sealed())] {
        let store = runtime.block_on(fixture.open());
        let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
        let tried = TestRunner::new(config)
            .run(&prop::collection::vec(call(), 1..60), |calls| runtime.block_on(agree(&*store, &calls)));
        tried.unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
    }
}
