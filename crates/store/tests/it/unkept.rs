//! Sessions that are not kept.

use protocol::ResumeToken;
use store::{MemoryStore, Page, WithUnkept};

use super::fixture::Fixture;
use super::*;

#[tokio::test]
async fn nothing_of_a_session_that_is_not_kept_reaches_the_store() {
    for fixture in Fixture::all() {
        let name = fixture.name;
        let kept = fixture.open().await;
        let unkept = std::sync::Arc::new(MemoryStore::unkept());
        let both = WithUnkept::new(std::sync::Arc::clone(&kept), std::sync::Arc::clone(&unkept));
        let (new, other) = (new_session(hours(0)), new_session(hours(0)));
        let stored = both.create_session(other.clone()).await.unwrap();
        let record = unkept.create_session(new.clone()).await.unwrap();
        assert!(stored.user.is_kept() && !record.user.is_kept(), "{name}");
        for user in [stored.user, record.user] {
            both.append(user, 0, message("a", "hola")).await.unwrap();
        }
        assert_eq!(both.session_by_token(&new.token).await.unwrap().unwrap().seq, 1, "{name}");
        assert_eq!(kept.session_by_token(&new.token).await.unwrap(), None, "{name}");
        assert_eq!(both.session_by_token(&other.token).await.unwrap().unwrap().user, stored.user, "{name}");
        assert_eq!(both.session_by_token(&ResumeToken::random()).await.unwrap(), None, "{name}");
        both.touch(&[stored.user, record.user], hours(1)).await.unwrap();
        let page = Page::After { seq: 0, limit: 9 };
        assert_eq!(both.entries(record.user, page).await.unwrap().len(), 1, "{name}");
        assert_eq!(both.erase(record.user).await.unwrap(), 1, "{name}");
        assert_eq!(both.session(record.user).await.unwrap(), None, "{name}");
        assert_eq!(both.entries(stored.user, page).await.unwrap().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn oldest_entries_of_a_session_that_is_not_kept_give_way() {
    let unkept = MemoryStore::unkept();
    let user = unkept.create_session(new_session(hours(0))).await.unwrap().user;
    for number in 0..502 {
        unkept.append(user, number, message(&format!("m{number}"), "hola")).await.unwrap();
    }
    let page = unkept.entries(user, Page::After { seq: 0, limit: 999 }).await.unwrap();
    assert_eq!((page.len(), page[0].seq), (500, 3));
    assert_eq!(unkept.session(user).await.unwrap().unwrap().pruned, 2);
}
