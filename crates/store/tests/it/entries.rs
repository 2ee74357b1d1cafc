//! Appends and pages.

use protocol::server_frame::Resource;
use store::Page;

use super::fixture::Fixture;
use super::*;

#[tokio::test]
async fn appends_are_numbered_with_any_hint() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let new_session = new_session(hours(0));
        let user = store.create_session(new_session.clone()).await.unwrap().user;
        // (hint, entry, its seq)
        let right = |name: &str| message(name, name);
        let steps = [(0, right("a"), 1), (1, answer("a", "x"), 2), (0, right("b"), 3), (99, right("c"), 4)];
        for (after, entry, seq) in steps.into_iter().chain([(u64::MAX, right("d"), 5), (5, right("e"), 6)]) {
            let stored = new(store.append(user, after, entry.clone()).await.unwrap());
            let NewEntry { id, role, text, at, finish, source, help } = entry;
            assert_eq!(
                stored,
                Entry { seq, id, role, text, at, finish, source, help },
                "{}: after {after}",
                fixture.name
            );
        }
        let record = store.session_by_token(&new_session.token).await.unwrap().unwrap();
        assert_eq!((record.seq, record.messages, record.pruned), (6, 5, 0), "{}", fixture.name);
    }
}

#[tokio::test]
async fn retry_with_same_id_and_role_is_idempotent() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let (user, other) = (session(&*store).await, session(&*store).await);
        new(store.append(user, 0, message("a", "hola")).await.unwrap());
        new(store.append(user, 1, answer("a", "buenas")).await.unwrap());
        let resources = vec![Resource::default()];
        let mut shown = support("a", "ayuda");
        shown.help.as_mut().unwrap().resources = resources;
        new(store.append(user, 2, shown).await.unwrap());
        for after in [0, 1, 3, u64::MAX] {
            let known = store.append(user, after, message("a", "otra cosa")).await.unwrap();
            assert_eq!(known, Appended::Existing { seq: 1 }, "{}: after {after}", fixture.name);
            let known = store.append(user, after, answer("a", "otra cosa")).await.unwrap();
            assert_eq!(known, Appended::Existing { seq: 2 }, "{}: after {after}", fixture.name);
            let known = store.append(user, after, support("a", "otra cosa")).await.unwrap();
            assert_eq!(known, Appended::Existing { seq: 3 }, "{}: after {after}", fixture.name);
        }
        new(store.append(other, 0, message("a", "hola")).await.unwrap());
        new(store.append(user, 3, message("A", "hola")).await.unwrap());
        let found = store.entries_of(user, &id("a")).await.unwrap();
        assert_eq!(seqs(&found), [1, 2, 3], "{}", fixture.name);
        assert_eq!(found[1].text.expose(), "buenas", "{}", fixture.name);
        assert_eq!((found[1].finish, found[1].source), (Some(Finish::Stop), Some(Source::Llm)), "{}", fixture.name);
        // Resources are not stored.
        assert_eq!((found[2].role, &found[2].help), (Role::Support, &support("a", "").help), "{}", fixture.name);
        assert!(store.entries_of(user, &id("z")).await.unwrap().is_empty(), "{}", fixture.name);
    }
}

#[tokio::test]
async fn pages_are_bounded_and_oldest_first() {
    let after = |seq, limit| Page::After { seq, limit };
    let before = |seq, limit| Page::Before { seq, limit };
    let cases: &[(Page, &[u64])] = &[
        (after(0, 3), &[1, 2, 3]),
        (after(2, 2), &[3, 4]),
        (after(4, 9), &[5]),
        (after(5, 9), &[]),
        (after(u64::MAX, 9), &[]),
        (after(0, 0), &[]),
        (after(0, usize::MAX), &[1, 2, 3, 4, 5]),
        (before(6, 2), &[4, 5]),
        (before(u64::MAX, 3), &[3, 4, 5]),
        (before(3, 9), &[1, 2]),
        (before(1, 9), &[]),
        (before(0, 9), &[]),
        (before(6, 0), &[]),
        (before(u64::MAX, usize::MAX), &[1, 2, 3, 4, 5]),
    ];
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let (empty, user) = (session(&*store).await, session(&*store).await);
        for seq in 0..5 {
            store.append(user, seq, message(&format!("m{seq}"), "hola")).await.unwrap();
        }
        for (page, want) in cases {
            assert_eq!(seqs(&store.entries(user, *page).await.unwrap()), *want, "{}: {page:?}", fixture.name);
            assert!(store.entries(empty, *page).await.unwrap().is_empty(), "{}: {page:?}", fixture.name);
        }
    }
}

#[tokio::test]
async fn texts_round_trip_across_a_reopen() {
    let long: String = "\u{10ffff}".repeat(8_000);
    let texts = ["", "\0", "ñandú 👩‍👩‍👧 \u{202e}", "'; DROP TABLE entries; --", "\r\n\t\u{feff}", &long];
    for fixture in Fixture::all() {
        let user;
        {
            let store = fixture.open().await;
            user = session(&*store).await;
            for (index, text) in texts.iter().enumerate() {
                store.append(user, index as u64, message(&format!("m{index}"), text)).await.unwrap();
            }
        }
        let entries = fixture.open().await.entries(user, Page::After { seq: 0, limit: 99 }).await.unwrap();
        let found: Vec<_> = entries.iter().map(|entry| entry.text.expose()).collect();
        assert!(found == texts, "{}", fixture.name);
    }
}
