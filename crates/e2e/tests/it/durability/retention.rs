//! `RETENTION_DAYS`: what is older is gone after the next start.

use serde_json::json;

use super::house::{House, entries, numbered, visit};
use crate::program::Setting;

/// Makes everything up to entry `seq` of `user`'s session two days older.
fn make_old(house: &House, user: &str, seq: u64) {
    const DAYS: i64 = 2 * 86_400_000;
    let db = house.open_database();
    let (user, seq): (i64, i64) = (user.rsplit('-').next().unwrap().parse().unwrap(), seq.try_into().unwrap());
    let sql = "UPDATE entries SET at = at - ?1 WHERE user_id = ?2 AND seq <= ?3";
    let entries = db.execute(sql, [DAYS, user, seq]).unwrap();
    assert_eq!(entries, usize::try_from(seq).unwrap());
    let sql = "UPDATE sessions SET oldest_at = oldest_at - ?1, last_seen = last_seen - ?1 WHERE user_id = ?2";
    assert_eq!(db.execute(sql, [DAYS, user]).unwrap(), 1);
}

#[tokio::test]
async fn what_is_older_than_its_days_is_gone_after_a_start() {
    let house = House::new().await;
    let mut core = house.core(&[]).await;
    let mut tokens = Vec::new();
    // (how many entries are to be old)
    for old in [4, 2, 0] {
        let (mut person, welcome) = visit(&core, None).await;
        person.ask("a", "hola").await;
        person.ask("b", "chau").await;
        tokens.push((
            welcome["resume"].as_str().unwrap().to_owned(),
            welcome["user"].as_str().unwrap().to_owned(),
            old,
        ));
    }
    core.terminate().await;
    for (_, user, old) in tokens.iter().filter(|(_, _, old)| 0 < *old) {
        make_old(&house, user, *old);
    }

    let days: [Setting; 1] = [("RETENTION_DAYS", "1".to_owned())];
    let core = house.core(&days).await;
    core.wait_for("old entries and sessions removed").await;
    let (mut gone, told) = visit(&core, Some(&tokens[0].0)).await;
    assert_eq!(told["code"], "bad_resume", "{told}");
    assert_eq!(gone.hello().await["seq"], json!(0));
    let whole = numbered(&["hola", "eco: hola", "chau", "eco: chau"]);
    for (token, _, old) in &tokens[1..] {
        let (mut person, welcome) = visit(&core, Some(token)).await;
        assert_eq!((&welcome["resumed"], &welcome["seq"]), (&json!(true), &json!(4)), "{welcome}");
        assert_eq!(entries(&mut person).await, whole[usize::try_from(*old).unwrap()..]);
        // The count goes on where it was.
        assert_eq!(person.ask("c", "acá estoy").await.done["seq"], 6);
    }
}

#[tokio::test]
async fn a_summary_goes_with_the_first_message_it_draws_on() {
    const SECRET: &str = "algo-de-hace-mucho";
    let house = House::new().await;
    let short = [("LLM_HISTORY_MAX_MESSAGES", "2".to_owned()), ("LLM_SUMMARY_EVERY_MESSAGES", "2".to_owned())];
    let mut core = house.core(&short).await;
    let (mut person, welcome) = visit(&core, None).await;
    for (id, text) in [("a", SECRET), ("b", "segundo-dicho"), ("c", "tercero"), ("d", "cuarto-dicho")] {
        person.ask(id, text).await;
    }
    // The stand-in echoes: its summary is what it was to sum up.
    core.wait_for("older messages summed up").await;
    core.terminate().await;
    let holds_secret = || {
        let found = |(_, bytes): &(String, Vec<u8>)| bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
        house.files().iter().any(found)
    };
    assert!(holds_secret());
    make_old(&house, welcome["user"].as_str().unwrap(), 2);

    let days = [&short[..], &[("RETENTION_DAYS", "1".to_owned())]].concat();
    let mut core = house.core(&days).await;
    core.wait_for("old entries and sessions removed").await;
    let (mut person, _) = visit(&core, welcome["resume"].as_str()).await;
    person.ask("e", "¿te acordás?").await;
    let read = house.standin.requests().pop().unwrap().body().to_string();
    assert!(read.contains("cuarto-dicho") && !read.contains("segundo-dicho") && !read.contains(SECRET), "{read}");
    // What is left is summed up anew.
    person.ask("f", "seis").await;
    core.wait_for("older messages summed up").await;
    person.ask("g", "siete").await;
    let read = house.standin.requests().pop().unwrap().body().to_string();
    assert!(read.contains("segundo-dicho") && !read.contains(SECRET), "{read}");
    core.terminate().await;
    assert!(!holds_secret());
}
