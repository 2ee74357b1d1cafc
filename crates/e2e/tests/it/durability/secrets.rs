//! Texts at rest: under a key that can be changed while people talk.

use std::process::Output;

use super::house::{House, entries, numbered, visit};
use crate::program::Setting;

/// 32 bytes each.
const OLD: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const NEW: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
const SECRET: &str = "algo-que-nadie-mas-lee";

fn keys(current: &str, previous: Option<&str>) -> Vec<Setting> {
    let previous = previous.map(|key| ("DATA_KEY_PREVIOUS", key.to_owned()));
    [("DATA_KEY", current.to_owned())].into_iter().chain(previous).collect()
}

/// In none of the database's files stands what was said.
fn nothing_to_read(house: &House) {
    for (name, bytes) in house.files() {
        assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{name}");
    }
}

/// The core did not start, said why, and did not say what its keys are.
fn refused(output: &Output, setting: &str) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(setting), "{text}");
    assert!(![OLD, NEW, SECRET].iter().any(|secret| text.contains(secret)), "{text}");
}

#[tokio::test]
async fn texts_are_sealed_and_keys_are_changed_while_people_talk() {
    let house = House::new().await;
    let mut core = house.core(&keys(OLD, None)).await;
    let (mut person, welcome) = visit(&core, None).await;
    let token = welcome["resume"].as_str().unwrap();
    person.ask("a", SECRET).await;
    let answer = format!("eco: {SECRET}");
    assert_eq!(entries(&mut person).await, numbered(&[SECRET, &answer]));
    nothing_to_read(&house);
    core.kill().await;
    nothing_to_read(&house);

    // Neither without the key nor with another one.
    refused(&house.run(&[], None).await, "DATA_KEY_PREVIOUS");
    refused(&house.run(&keys(NEW, None), None).await, "DATA_KEY_PREVIOUS");

    let both = keys(NEW, Some(OLD));
    let mut core = house.core(&both).await;
    let (mut person, welcome) = visit(&core, Some(token)).await;
    assert_eq!(welcome["resumed"], true, "{welcome}");
    person.ask("b", SECRET).await;
    let rekey = house.run(&both, Some("rekey")).await;
    assert!(rekey.status.success(), "{}", String::from_utf8_lossy(&rekey.stderr));
    person.ask("c", SECRET).await;
    core.terminate().await;
    nothing_to_read(&house);

    refused(&house.run(&keys(OLD, None), None).await, "DATA_KEY_PREVIOUS");
    let core = house.core(&keys(NEW, None)).await;
    let (mut person, _) = visit(&core, Some(token)).await;
    assert_eq!(entries(&mut person).await, numbered(&[SECRET, &answer].repeat(3)));
}

#[tokio::test]
async fn texts_that_were_plain_are_sealed_by_rekey() {
    let house = House::new().await;
    let mut core = house.core(&[]).await;
    let (mut person, welcome) = visit(&core, None).await;
    person.ask("a", SECRET).await;
    core.terminate().await;
    let found = |(_, bytes): &(String, Vec<u8>)| bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
    assert!(house.files().iter().any(found), "without a key the texts are plain");

    let rekey = house.run(&keys(NEW, None), Some("rekey")).await;
    assert!(rekey.status.success(), "{}", String::from_utf8_lossy(&rekey.stderr));
    nothing_to_read(&house);
    let core = house.core(&keys(NEW, None)).await;
    let (mut person, _) = visit(&core, welcome["resume"].as_str()).await;
    assert_eq!(entries(&mut person).await, numbered(&[SECRET, &format!("eco: {SECRET}")]));
}

#[tokio::test]
async fn a_summary_is_sealed_like_what_it_draws_on_and_outlives_the_core() {
    let house = House::new().await;
    let with = |keys: Vec<Setting>| {
        let short = [("LLM_HISTORY_MAX_MESSAGES", "2".to_owned()), ("LLM_SUMMARY_EVERY_MESSAGES", "2".to_owned())];
        [keys, short.to_vec()].concat()
    };
    let mut core = house.core(&with(keys(OLD, None))).await;
    let (mut person, welcome) = visit(&core, None).await;
    for id in ["a", "b", "c", "d"] {
        person.ask(id, SECRET).await;
    }
    // The stand-in echoes: its summary is what it was to sum up.
    core.wait_for("older messages summed up").await;
    core.kill().await;
    nothing_to_read(&house);

    let both = with(keys(NEW, Some(OLD)));
    let rekey = house.run(&both, Some("rekey")).await;
    assert!(rekey.status.success(), "{}", String::from_utf8_lossy(&rekey.stderr));
    nothing_to_read(&house);
    let core = house.core(&with(keys(NEW, None))).await;
    let (mut person, _) = visit(&core, welcome["resume"].as_str()).await;
    person.ask("e", "¿te acordás?").await;
    let read = house.standin.requests().pop().unwrap().body();
    let system = read["messages"][0]["content"].as_str().unwrap();
    assert!(system.contains(SECRET), "{read}");
}
