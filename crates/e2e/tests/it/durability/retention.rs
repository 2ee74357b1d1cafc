//! `RETENTION_DAYS`: older entries are pruned at the next start.

use serde_json::json;

use super::sqlite_node::{SqliteNode, connect_client, entries, numbered};
use crate::program::Setting;

/// Backdates the entries of `user`'s session up to `seq` by two days.
fn make_old(node: &SqliteNode, user: &str, seq: u64) {
    const DAYS: i64 = 2 * 86_400_000;
    let db = node.open_database();
    let (user, seq): (i64, i64) = (user.rsplit('-').next().unwrap().parse().unwrap(), seq.try_into().unwrap());
    let sql = "UPDATE entries SET at = at - ?1 WHERE user_id = ?2 AND seq <= ?3";
    let entries = db.execute(sql, [DAYS, user, seq]).unwrap();
    assert_eq!(entries, usize::try_from(seq).unwrap());
    let sql = "UPDATE sessions SET oldest_at = oldest_at - ?1, last_seen = last_seen - ?1 WHERE user_id = ?2";
    assert_eq!(db.execute(sql, [DAYS, user]).unwrap(), 1);
}

#[tokio::test]
async fn prunes_old_entries_at_start() {
    let node = SqliteNode::new().await;
    let mut core = node.core(&[]).await;
    let mut tokens = Vec::new();
    // (number of old entries)
    for old in [4, 2, 0] {
        let (mut person, welcome) = connect_client(&core, None).await;
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
        make_old(&node, user, *old);
    }

    let days: [Setting; 1] = [("RETENTION_DAYS", "1".to_owned())];
    let core = node.core(&days).await;
    core.wait_for("old entries and sessions removed").await;
    let (mut gone, reply) = connect_client(&core, Some(&tokens[0].0)).await;
    assert_eq!(reply["code"], "bad_resume", "{reply}");
    assert_eq!(gone.hello().await["seq"], json!(0));
    let whole = numbered(&["hola", "eco: hola", "chau", "eco: chau"]);
    for (token, _, old) in &tokens[1..] {
        let (mut person, welcome) = connect_client(&core, Some(token)).await;
        assert_eq!((&welcome["resumed"], &welcome["seq"]), (&json!(true), &json!(4)), "{welcome}");
        assert_eq!(entries(&mut person).await, whole[usize::try_from(*old).unwrap()..]);
        // Sequence numbers continue.
        assert_eq!(person.ask("c", "acá estoy").await.done["seq"], 6);
    }
}

#[tokio::test]
async fn prunes_summaries_of_pruned_entries() {
    const SECRET: &str = "algo-de-hace-mucho";
    let node = SqliteNode::new().await;
    let short = [("LLM_HISTORY_MAX_MESSAGES", "2".to_owned()), ("LLM_SUMMARY_EVERY_MESSAGES", "2".to_owned())];
    let mut core = node.core(&short).await;
    let (mut person, welcome) = connect_client(&core, None).await;
    for (id, text) in [("a", SECRET), ("b", "segundo-dicho"), ("c", "tercero"), ("d", "cuarto-dicho")] {
        person.ask(id, text).await;
    }
    // The stand-in echoes, so the summary contains the texts.
    core.wait_for("older messages summed up").await;
    core.terminate().await;
    let holds_secret = || {
        let found = |(_, bytes): &(String, Vec<u8>)| bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
        node.files().iter().any(found)
    };
    assert!(holds_secret());
    make_old(&node, welcome["user"].as_str().unwrap(), 2);

    let days = [&short[..], &[("RETENTION_DAYS", "1".to_owned())]].concat();
    let mut core = node.core(&days).await;
    core.wait_for("old entries and sessions removed").await;
    let (mut person, _) = connect_client(&core, welcome["resume"].as_str()).await;
    person.ask("e", "¿te acordás?").await;
    let read = node.standin.requests().pop().unwrap().body().to_string();
    assert!(read.contains("cuarto-dicho") && !read.contains("segundo-dicho") && !read.contains(SECRET), "{read}");
    // The remaining messages are summarized again.
    person.ask("f", "seis").await;
    core.wait_for("older messages summed up").await;
    person.ask("g", "siete").await;
    let read = node.standin.requests().pop().unwrap().body().to_string();
    assert!(read.contains("segundo-dicho") && !read.contains(SECRET), "{read}");
    core.terminate().await;
    assert!(!holds_secret());
}
