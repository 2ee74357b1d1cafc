//! A database file that is locked, on a full disk, or damaged.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use testkit::line_peer::LinePeer;
use testkit::process::{Launch, built};
use testkit::watchdog::{LIMIT, within};
use tokio::process::Command;

use super::house::{House, entries, numbered, visit};
use super::mid_turn::{all_is_well_again, is_answered, is_unavailable, listening};
use crate::http::{self, LOOK_AGAIN};
use crate::person::Person;
use crate::program::{Kind, Program};

/// Another process keeps the database longer than the core waits: nobody is left without a
/// word, and the answer that ended meanwhile is stored.
#[tokio::test]
async fn a_locked_database_loses_nothing() {
    let house = House::new().await;
    let core = house.core(&[]).await;
    let (mut speaker, _) = visit(&core, None).await;
    let (mut listener, held) = listening(&house, &core).await;
    let other = house.open_database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    drop(held);

    speaker.say("b", "¿estás?").await;
    // It waits for its turn to write, and then for the lock: each as long as SQLite's patience.
    core.wait_for("group commit failed").await;
    is_unavailable(&speaker.frame().await, "b");
    core.wait_for("the answer could not be stored yet").await;
    // Who only reads does not wait.
    assert_eq!(entries(&mut speaker).await, []);
    other.execute_batch("ROLLBACK").unwrap();
    all_is_well_again(&mut speaker, "¿estás?").await;
    is_answered(&mut listener).await;
}

/// A core whose database is on a disk of 16 megabytes, in a mount namespace of its own.
async fn on_a_small_disk(house: &House) -> Program {
    fs::create_dir(house.folder().join("data")).unwrap();
    let core = built(Kind::Core.name()).unwrap().canonicalize().unwrap();
    let launch = NAMESPACE.iter().fold(Launch::new("unshare").directory(house.folder()), Launch::argument);
    let script = "mount -t tmpfs -o size=16m,mode=700 tmpfs data && exec \"$0\"";
    let launch = ["sh", "-c", script].iter().fold(launch, Launch::argument).argument(core);
    Program::launched(Kind::Core, launch, &house.settings(&[])).await
}

/// How many say something long when the disk is full: more than there is room for in the files
/// that are there.
const SPEAKERS: usize = 12;

const NAMESPACE: [&str; 3] = ["--user", "--map-root-user", "--mount"];

/// Fills the disk of the process `pid` up; returns the file that does it.
fn fill(pid: u32, folder: &Path) -> PathBuf {
    let path = PathBuf::from(format!("/proc/{pid}/root{}/data/filler", folder.display()));
    let mut file = File::create(&path).unwrap();
    let full = (0..1_000_000).find_map(|_| file.write_all(&[0; 512]).err()).unwrap();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    path
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a test that cannot be run says so")]
async fn a_full_disk_loses_nothing() {
    let allowed = Command::new("unshare").args(NAMESPACE).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).status();
    if !allowed.await.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this kernel lets nobody mount a small disk (unshare --user --mount)");
        return;
    }
    let house = House::new().await;
    let core = on_a_small_disk(&house).await;
    let mut speakers = Vec::new();
    for _ in 0..SPEAKERS {
        speakers.push(visit(&core, None).await.0);
    }
    let (mut listener, held) = listening(&house, &core).await;
    let filler = fill(core.pid(), house.folder());

    let long = "🌱".repeat(8_000);
    for speaker in &mut speakers {
        speaker.say("b", &long).await;
    }
    let mut refused = Vec::new();
    for mut speaker in speakers {
        // A few find room in what the log has already.
        let told = speaker.frame().await;
        if told["type"] != "accepted" {
            is_unavailable(&told, "b");
            assert_eq!(entries(&mut speaker).await, []);
            refused.push(speaker);
        }
    }
    assert!(SPEAKERS / 2 < refused.len(), "only {} of {SPEAKERS} were refused", refused.len());
    drop(held);
    // No message gets in, and the readiness says so.
    let told = readiness(&core, 503).await;
    assert!(told.contains("full"), "{told}");
    fs::remove_file(filler).unwrap();
    readiness(&core, 200).await;
    for mut speaker in refused {
        all_is_well_again(&mut speaker, &long).await;
    }
    is_answered(&mut listener).await;
}

/// What `/readyz` tells once its status is `status`.
async fn readiness(core: &Program, status: u16) -> String {
    let seen = within(LIMIT, async {
        loop {
            let (got, told) = http::get(core.admin(), "/readyz").await.unwrap();
            if got == status {
                return told;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    });
    seen.await.unwrap()
}

#[tokio::test]
async fn nothing_is_accepted_into_a_file_that_was_deleted() {
    let house = House::new().await;
    let core = house.core(&[]).await;
    let (mut person, _) = visit(&core, None).await;
    readiness(&core, 200).await;
    let aside = house.folder().join("aside.db");
    fs::rename(house.database(), &aside).unwrap();
    let told = readiness(&core, 503).await;
    assert!(told.contains("moved or deleted"), "{told}");
    person.say("b", "¿estás?").await;
    is_unavailable(&person.frame().await, "b");
    // Back in its place it is the same again.
    fs::rename(&aside, house.database()).unwrap();
    readiness(&core, 200).await;
    all_is_well_again(&mut person, "¿estás?").await;
}

/// One core for a file: the second says so and ends, and the first notices nothing.
#[tokio::test]
async fn a_second_core_on_a_file_is_refused_until_the_first_has_ended() {
    let house = House::new().await;
    let mut core = house.core(&[]).await;
    let (mut person, welcome) = visit(&core, None).await;
    let output = house.run(&[], None).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert!(text.contains("another core-server (process ") && text.contains("sqlite://data/psicoia.db"), "{text}");
    person.ask("a", "hola").await;
    // `rekey` may run meanwhile, and a core that was killed leaves no lock.
    let rekey = house.run(&[], Some("rekey")).await;
    assert!(rekey.status.success(), "{}", String::from_utf8_lossy(&rekey.stderr));
    core.kill().await;
    let core = house.core(&[]).await;
    let (mut person, _) = visit(&core, welcome["resume"].as_str()).await;
    assert_eq!(entries(&mut person).await, numbered(&["hola", "eco: hola"]));
}

/// A row that does not open is missing alone: answers, history and the way back stay.
#[tokio::test]
async fn a_row_that_does_not_open_is_missing_alone() {
    let house = House::new().await;
    let mut core = house.core(&[]).await;
    let (mut person, welcome) = visit(&core, None).await;
    person.ask("a", "hola").await;
    person.ask("b", "¿estás?").await;
    core.terminate().await;
    house.open_database().execute("UPDATE entries SET key_id = 1 WHERE seq IN (1, 4)", []).unwrap();
    let core = house.core(&[]).await;

    let mut person = Person::new(LinePeer::connect(core.address()).await.unwrap());
    person.send(json!({"type": "hello", "v": 1, "resume": welcome["resume"], "since": 0})).await;
    assert_eq!(person.frame().await["seq"], 4);
    for seq in [2, 3] {
        let turn = person.frame().await;
        assert_eq!((&turn["type"], &turn["seq"]), (&json!("turn"), &json!(seq)), "{turn}");
    }
    assert_eq!(person.ask("c", "sigo acá").await.done["finish"], "stop");
    let texts = [(2, "eco: hola"), (3, "¿estás?"), (5, "sigo acá"), (6, "eco: ¿estás?\n\nsigo acá")];
    assert_eq!(entries(&mut person).await, texts.map(|(seq, text)| (seq, text.to_owned())));
    for (before, limit, seqs, more) in [(7, 2, vec![5, 6], true), (5, 1, vec![3], true), (2, 5, vec![], false)] {
        let params = json!({"before_seq": before, "limit": limit});
        person.send(json!({"type": "request", "id": "h", "method": "history", "params": params})).await;
        let result = person.frame_of("response").await["result"].take();
        let got: Vec<_> =
            result["entries"].as_array().unwrap().iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
        assert_eq!((got, &result["more"]), (seqs, &json!(more)), "before {before}");
    }
    core.wait_for("unreadable entries skipped").await;
}

/// What is done to the bytes of a good database.
type Damage = fn(&mut Vec<u8>);

const DAMAGES: [(&str, Damage); 4] = [
    ("another kind of file", |bytes| *bytes = b"esto no es una base de datos\n".repeat(1_000)),
    ("a header that is overwritten", |bytes| bytes[..100].fill(0xA5)),
    ("pages that are overwritten", |bytes| bytes[4_096..].fill(0xA5)),
    ("the end missing", |bytes| bytes.truncate(5_000)),
];

/// Nobody's conversations are thrown away because a file cannot be read.
#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let house = House::new().await;
    let mut core = house.core(&[]).await;
    let (mut person, welcome) = visit(&core, None).await;
    person.ask("a", "hola").await;
    core.terminate().await;
    let good = fs::read(house.database()).unwrap();
    for (name, damage) in DAMAGES {
        let mut bytes = good.clone();
        damage(&mut bytes);
        fs::write(house.database(), &bytes).unwrap();
        let output = house.run(&[], None).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        assert!(text.contains("sqlite://data/psicoia.db"), "{name}: {text}");
        assert!(fs::read(house.database()).unwrap() == bytes, "{name}: the file was changed");
    }
    fs::write(house.database(), &good).unwrap();
    // It was the file, and nothing else.
    let core = house.core(&[]).await;
    let (mut person, _) = visit(&core, welcome["resume"].as_str()).await;
    assert_eq!(entries(&mut person).await, numbered(&["hola", "eco: hola"]));
}
