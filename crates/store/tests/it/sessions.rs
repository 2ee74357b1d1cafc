//! Sessions, labels and tokens.

use protocol::{ResumeToken, UserLabel};
use sha2::{Digest as _, Sha256};
use store::{Page, StoreError, Summary};

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
        store.put_summary(user, Summary { first: 1, last: 1, text: UserText::new("charla") }).await.err(),
    ];
    for (call, error) in errors.into_iter().enumerate() {
        let fits = matches!(error, Some(StoreError::NoSession { user: gone }) if gone == user);
        assert!(fits, "{name}: call {call}: {error:?}");
    }
}
