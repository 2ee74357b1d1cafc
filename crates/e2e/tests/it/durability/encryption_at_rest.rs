//! Encryption at rest and key rotation.

use std::process::Output;

use super::sqlite_node::{SqliteNode, connect_client, entries, numbered};
use crate::program::Setting;

/// 32 bytes each.
const OLD: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const NEW: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
const SECRET: &str = "algo-que-nadie-mas-lee";

fn keys(current: &str, previous: Option<&str>) -> Vec<Setting> {
    let previous = previous.map(|key| ("DATA_KEY_PREVIOUS", key.to_owned()));
    [("DATA_KEY", current.to_owned())].into_iter().chain(previous).collect()
}

/// Asserts that no file of the database contains the texts.
fn nothing_to_read(node: &SqliteNode) {
    for (name, bytes) in node.files() {
        assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{name}");
    }
}

/// Asserts that the core exited with a reason and without printing keys.
fn refused(output: &Output, setting: &str) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(setting), "{text}");
    assert!(![OLD, NEW, SECRET].iter().any(|secret| text.contains(secret)), "{text}");
}

#[tokio::test]
async fn encrypts_texts_and_rotates_keys_under_load() {
    let node = SqliteNode::new().await;
    let mut core = node.core(&keys(OLD, None)).await;
    let (mut person, welcome) = connect_client(&core, None).await;
    let token = welcome["resume"].as_str().unwrap();
    person.ask("a", SECRET).await;
    let answer = format!("eco: {SECRET}");
    assert_eq!(entries(&mut person).await, numbered(&[SECRET, &answer]));
    nothing_to_read(&node);
    core.kill().await;
    nothing_to_read(&node);

    // It starts neither without the key nor with another one.
    refused(&node.run(&[], None).await, "DATA_KEY_PREVIOUS");
    refused(&node.run(&keys(NEW, None), None).await, "DATA_KEY_PREVIOUS");

    let both = keys(NEW, Some(OLD));
    let mut core = node.core(&both).await;
    let (mut person, welcome) = connect_client(&core, Some(token)).await;
    assert_eq!(welcome["resumed"], true, "{welcome}");
    person.ask("b", SECRET).await;
    let rekey = node.run(&both, Some("rekey")).await;
    assert!(rekey.status.success(), "{}", String::from_utf8_lossy(&rekey.stderr));
    person.ask("c", SECRET).await;
    core.terminate().await;
    nothing_to_read(&node);

    refused(&node.run(&keys(OLD, None), None).await, "DATA_KEY_PREVIOUS");
    let core = node.core(&keys(NEW, None)).await;
    let (mut person, _) = connect_client(&core, Some(token)).await;
    assert_eq!(entries(&mut person).await, numbered(&[SECRET, &answer].repeat(3)));
}

#[tokio::test]
async fn rekey_encrypts_plain_texts() {
    let node = SqliteNode::new().await;
    let mut core = node.core(&[]).await;
    let (mut person, welcome) = connect_client(&core, None).await;
    person.ask("a", SECRET).await;
    core.terminate().await;
    let found = |(_, bytes): &(String, Vec<u8>)| bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
    assert!(node.files().iter().any(found), "without a key the texts are plain");

    let rekey = node.run(&keys(NEW, None), Some("rekey")).await;
    assert!(rekey.status.success(), "{}", String::from_utf8_lossy(&rekey.stderr));
    nothing_to_read(&node);
    let core = node.core(&keys(NEW, None)).await;
    let (mut person, _) = connect_client(&core, welcome["resume"].as_str()).await;
    assert_eq!(entries(&mut person).await, numbered(&[SECRET, &format!("eco: {SECRET}")]));
}

#[tokio::test]
async fn encrypts_summaries_and_keeps_them_across_restarts() {
    let node = SqliteNode::new().await;
    let with = |keys: Vec<Setting>| {
        let short = [("LLM_HISTORY_MAX_MESSAGES", "2".to_owned()), ("LLM_SUMMARY_EVERY_MESSAGES", "2".to_owned())];
        [keys, short.to_vec()].concat()
    };
    let mut core = node.core(&with(keys(OLD, None))).await;
    let (mut person, welcome) = connect_client(&core, None).await;
    for id in ["a", "b", "c", "d"] {
        person.ask(id, SECRET).await;
    }
    // The stand-in echoes, so the summary contains the texts.
    core.wait_for("older messages summed up").await;
    core.kill().await;
    nothing_to_read(&node);

    let both = with(keys(NEW, Some(OLD)));
    let rekey = node.run(&both, Some("rekey")).await;
    assert!(rekey.status.success(), "{}", String::from_utf8_lossy(&rekey.stderr));
    nothing_to_read(&node);
    let core = node.core(&with(keys(NEW, None))).await;
    let (mut person, _) = connect_client(&core, welcome["resume"].as_str()).await;
    person.ask("e", "¿te acordás?").await;
    let read = node.standin.requests().pop().unwrap().body();
    let system = read["messages"][0]["content"].as_str().unwrap();
    assert!(system.contains(SECRET), "{read}");
}
