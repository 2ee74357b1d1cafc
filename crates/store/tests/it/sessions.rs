//! Sessions, labels and tokens.

use protocol::{LinkCode, ResumeToken, UserLabel};
use sha2::{Digest as _, Sha256};
use store::{Cutoffs, Forget, NewLink, Page, StoreError, Summary};

use super::fixture::Fixture;
use super::*;

#[tokio::test]
async fn labels_ascend_and_are_never_reused() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let (first, second) = (session(&*store).await, session(&*store).await);
        assert!(first < second, "{}", fixture.name);
        store.erase(second).await.unwrap();
        let third = session(&*store).await;
        assert!(second < third, "{}: after an erase", fixture.name);
        store.erase(third).await.unwrap();
        drop(store);
        let fourth = session(&*fixture.open().await).await;
        assert!(third < fourth, "{}: after reopening", fixture.name);
    }
}

#[tokio::test]
async fn create_session_is_idempotent() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let new = new_session(hours(0));
        let first = store.create_session(new.clone()).await.unwrap();
        store.append(first.user, 0, message("a", "hola")).await.unwrap();
        let again = store.create_session(new).await.unwrap();
        assert_eq!(
            (again.user, &again.id, again.seq, again.messages),
            (first.user, &first.id, 1, 1),
            "{}",
            fixture.name
        );
    }
}

#[tokio::test]
async fn token_resolves_until_erasure() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let new = NewSession { locale: "en-GB".parse().unwrap(), ..new_session(hours(3)) };
        let made = store.create_session(new.clone()).await.unwrap();
        assert_eq!((made.locale, made.created_at, made.seq), (new.locale, hours(3), 0), "{}", fixture.name);
        assert_eq!(store.session_by_token(&new.token).await.unwrap(), Some(made.clone()), "{}", fixture.name);
        assert_eq!(store.session_by_token(&ResumeToken::random()).await.unwrap(), None, "{}", fixture.name);
        drop(store);
        let store = fixture.open().await;
        store.set_locale(made.user, "es-UY".parse().unwrap()).await.unwrap();
        let found = store.session_by_token(&new.token).await.unwrap().unwrap();
        assert_eq!(found.locale, "es-UY".parse().unwrap(), "{}: reopened", fixture.name);
        store.erase(made.user).await.unwrap();
        assert_eq!(store.session_by_token(&new.token).await.unwrap(), None, "{}: erased", fixture.name);
    }
}

#[tokio::test]
async fn neither_token_nor_its_plain_hash_is_stored() {
    for fixture in Fixture::databases() {
        let store = fixture.open().await;
        let new = new_session(hours(0));
        store.create_session(new.clone()).await.unwrap();
        assert!(fixture.holds(new.id.as_str().as_bytes()), "{}: the search finds nothing at all", fixture.name);
        let token = new.token.as_bytes();
        assert!(!fixture.holds(token), "{}: the token", fixture.name);
        assert!(!fixture.holds(new.token.expose().as_bytes()), "{}: the token in base64", fixture.name);
        assert!(!fixture.holds(&Sha256::digest(token)), "{}: its hash", fixture.name);
        assert!(!fixture.holds(&Sha256::digest(new.token.expose())), "{}: the hash of its base64", fixture.name);
    }
}

#[tokio::test]
async fn erase_removes_session_and_entries() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let (erased, other) = (session(&*store).await, session(&*store).await);
        for user in [erased, other] {
            store.append(user, 0, message("a", "hola")).await.unwrap();
            store.append(user, 1, answer("a", "buenas")).await.unwrap();
        }
        assert_eq!(store.erase(erased).await.unwrap(), 2, "{}", fixture.name);
        assert_eq!(store.entries(other, Page::After { seq: 0, limit: 9 }).await.unwrap().len(), 2, "{}", fixture.name);
        no_session(&*store, erased, fixture.name).await;
        no_session(&*store, UserLabel(4_711), fixture.name).await;
        store.touch(&[erased, other], hours(9)).await.unwrap();
        store.touch(&[], hours(9)).await.unwrap();
        store.check().await.unwrap();
    }
}

#[tokio::test]
async fn rotation_kills_the_old_token_and_is_idempotent() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let new = new_session(hours(0));
        let user = store.create_session(new.clone()).await.unwrap().user;
        let (second, third) = (ResumeToken::random(), ResumeToken::random());
        for (token, rotations) in [(&second, 1), (&second, 1), (&third, 2)] {
            assert_eq!(store.rotate_token(user, token.clone()).await.unwrap(), rotations, "{}", fixture.name);
        }
        let record = store.session_by_token(&third).await.unwrap().unwrap();
        assert_eq!((record.user, record.rotations), (user, 2), "{}", fixture.name);
        assert_eq!(store.session(user).await.unwrap(), Some(record), "{}", fixture.name);
        for dead in [new.token, second] {
            assert_eq!(store.session_by_token(&dead).await.unwrap(), None, "{}", fixture.name);
        }
        store.erase(user).await.unwrap();
        assert_eq!(store.session_by_token(&third).await.unwrap(), None, "{}", fixture.name);
        assert_eq!(store.session(user).await.unwrap(), None, "{}", fixture.name);
    }
}

fn link(code: &LinkCode, token: &ResumeToken) -> NewLink {
    NewLink { code: code.clone(), token: token.clone(), expires_at: hours(2) }
}

#[tokio::test]
async fn code_opens_once_and_until_it_expires() {
    for fixture in Fixture::all() {
        let name = fixture.name;
        let store = fixture.open().await;
        let new = new_session(hours(0));
        let user = store.create_session(new.clone()).await.unwrap().user;
        let codes: [LinkCode; 4] = std::array::from_fn(|_| LinkCode::random());
        assert_eq!(store.take_link(&codes[0], hours(1)).await.unwrap(), None, "{name}: not stored");
        store.put_link(user, link(&codes[0], &new.token)).await.unwrap();
        drop(store);
        let store = fixture.open().await;
        assert_eq!(store.take_link(&codes[0], hours(1)).await.unwrap().as_ref(), Some(&new.token), "{name}");
        assert_eq!(store.take_link(&codes[0], hours(1)).await.unwrap(), None, "{name}: used up");
        store.put_link(user, link(&codes[0], &new.token)).await.unwrap();
        assert_eq!(store.take_link(&codes[0], hours(2)).await.unwrap(), None, "{name}: expired");
        store.put_link(user, link(&codes[1], &new.token)).await.unwrap();
        assert_eq!(store.take_link(&codes[0], hours(1)).await.unwrap(), None, "{name}: replaced");
        store.rotate_token(user, ResumeToken::random()).await.unwrap();
        assert_eq!(store.take_link(&codes[1], hours(1)).await.unwrap(), None, "{name}: rotated");
        store.put_link(user, link(&codes[2], &new.token)).await.unwrap();
        let expired = Cutoffs { now: hours(2), empty_before: hours(-1), entries_before: None, inactive_before: None };
        store.prune(expired, 9).await.unwrap();
        assert_eq!(store.take_link(&codes[2], hours(1)).await.unwrap(), None, "{name}: pruned");
        store.put_link(user, link(&codes[3], &new.token)).await.unwrap();
        store.erase(user).await.unwrap();
        assert_eq!(store.take_link(&codes[3], hours(1)).await.unwrap(), None, "{name}: erased");
    }
}

#[tokio::test]
async fn one_of_many_devices_takes_a_code() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let new = new_session(hours(0));
        let user = store.create_session(new.clone()).await.unwrap().user;
        let code = LinkCode::random();
        store.put_link(user, link(&code, &new.token)).await.unwrap();
        let takes = (0..8).map(|_| store.take_link(&code, hours(1)));
        let taken = futures_util::future::join_all(takes).await;
        let opened = taken.into_iter().filter(|taken| matches!(taken, Ok(Some(token)) if *token == new.token));
        assert_eq!(opened.count(), 1, "{}", fixture.name);
    }
}

#[tokio::test]
async fn neither_a_code_nor_its_token_is_stored() {
    for fixture in Fixture::databases() {
        let store = fixture.open().await;
        let new = new_session(hours(0));
        let user = store.create_session(new.clone()).await.unwrap().user;
        let code = LinkCode::random();
        store.put_link(user, link(&code, &new.token)).await.unwrap();
        for secret in
            [code.as_bytes(), code.expose().as_bytes(), &Sha256::digest(code.as_bytes()), new.token.as_bytes()]
        {
            assert!(!fixture.holds(secret), "{}", fixture.name);
        }
    }
}

/// Asserts that every call fails with [`StoreError::NoSession`].
async fn no_session(store: &dyn Store, user: UserLabel, name: &str) {
    let page = Page::Before { seq: 9, limit: 9 };
    let errors = [
        store.erase(user).await.err(),
        store.append(user, 2, message("b", "hola")).await.err(),
        store.entries(user, page).await.err(),
        store.entries_of(user, &id("a")).await.err(),
        store.set_locale(user, Locale::default()).await.err(),
        store.recent(user, 9).await.err(),
        store.rotate_token(user, ResumeToken::random()).await.err(),
        store.forget_summary(user).await.err(),
        store.forget(user, Forget { id: id("a"), at: hours(0), help: None }).await.err(),
        store.last_message(user).await.err(),
        store.put_link(user, link(&LinkCode::random(), &ResumeToken::random())).await.err(),
        store.put_summary(user, Summary { first: 1, last: 1, text: UserText::new("charla") }).await.err(),
    ];
    for (call, error) in errors.into_iter().enumerate() {
        let fits = matches!(error, Some(StoreError::NoSession { user: gone }) if gone == user);
        assert!(fits, "{name}: call {call}: {error:?}");
    }
}
