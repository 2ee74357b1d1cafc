//! Database file that is locked, on a full disk, deleted or damaged.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use testkit::line_peer::LinePeer;
use testkit::process::{Launch, built};
use testkit::watchdog::{LIMIT, within};
use tokio::process::Command;

use super::interrupted_turn::{all_is_well_again, is_answered, is_unavailable, listening};
use super::sqlite_node::{SqliteNode, connect_client, entries, numbered};
use crate::http::{self, POLL_INTERVAL};
use crate::program::{Kind, Program};
use crate::test_client::TestClient;

/// Another process locks the database longer than the core waits: clients get an error, and the
/// answer that completed meanwhile is stored.
#[tokio::test]
async fn locked_database_loses_nothing() {
    let node = SqliteNode::new().await;
    let core = node.core(&[]).await;
    let (mut speaker, _) = connect_client(&core, None).await;
    let (mut listener, held) = listening(&node, &core).await;
    let other = node.open_database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    drop(held);

    speaker.say("b", "¿estás?").await;
    // It waits in the write queue and then for the lock, each up to SQLite's busy timeout.
    core.wait_for("group commit failed").await;
    is_unavailable(&speaker.frame().await, "b");
    core.wait_for("the answer could not be stored yet").await;
    // Reads are not blocked.
    assert_eq!(entries(&mut speaker).await, []);
    other.execute_batch("ROLLBACK").unwrap();
    all_is_well_again(&mut speaker, "¿estás?").await;
    is_answered(&mut listener).await;
}

/// Starts a core with its database on a 16 MB disk, in its own mount namespace.
async fn on_a_small_disk(node: &SqliteNode) -> Program {
    fs::create_dir(node.folder().join("data")).unwrap();
    let core = built(Kind::Core.name()).unwrap().canonicalize().unwrap();
    let launch = NAMESPACE.iter().fold(Launch::new("unshare").directory(node.folder()), Launch::argument);
    let script = "mount -t tmpfs -o size=16m,mode=700 tmpfs data && exec \"$0\"";
    let launch = ["sh", "-c", script].iter().fold(launch, Launch::argument).argument(core);
    Program::launched(Kind::Core, launch, &node.settings(&[])).await
}

/// Clients that send long messages on the full disk: more than fit into the free pages of the
/// existing files.
const SPEAKERS: usize = 12;

const NAMESPACE: [&str; 3] = ["--user", "--map-root-user", "--mount"];

/// Fills the disk of process `pid`; returns the file to delete.
fn fill(pid: u32, folder: &Path) -> PathBuf {
    let path = PathBuf::from(format!("/proc/{pid}/root{}/data/filler", folder.display()));
    let mut file = File::create(&path).unwrap();
    let full = (0..1_000_000).find_map(|_| file.write_all(&[0; 512]).err()).unwrap();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    path
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a test that cannot be run says so")]
async fn full_disk_loses_nothing() {
    let allowed = Command::new("unshare").args(NAMESPACE).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).status();
    if !allowed.await.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this kernel lets nobody mount a small disk (unshare --user --mount)");
        return;
    }
    let node = SqliteNode::new().await;
    let core = on_a_small_disk(&node).await;
    let mut speakers = Vec::new();
    for _ in 0..SPEAKERS {
        speakers.push(connect_client(&core, None).await.0);
    }
    let (mut listener, held) = listening(&node, &core).await;
    let filler = fill(core.pid(), node.folder());

    let long = "🌱".repeat(8_000);
    for speaker in &mut speakers {
        speaker.say("b", &long).await;
    }
    let mut refused = Vec::new();
    for mut speaker in speakers {
        // A few fit into the existing log.
        let reported = speaker.frame().await;
        if reported["type"] != "accepted" {
            is_unavailable(&reported, "b");
            assert_eq!(entries(&mut speaker).await, []);
            refused.push(speaker);
        }
    }
    assert!(SPEAKERS / 2 < refused.len(), "only {} of {SPEAKERS} were refused", refused.len());
    drop(held);
    // Messages are refused, and readiness fails.
    let reported = readiness(&core, 503).await;
    assert!(reported.contains("full"), "{reported}");
    fs::remove_file(filler).unwrap();
    readiness(&core, 200).await;
    for mut speaker in refused {
        all_is_well_again(&mut speaker, &long).await;
    }
    is_answered(&mut listener).await;
}

/// Body of `/readyz` once its status is `status`.
async fn readiness(core: &Program, status: u16) -> String {
    let seen = within(LIMIT, async {
        loop {
            let (got, reported) = http::get(core.admin(), "/readyz").await.unwrap();
            if got == status {
                return reported;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    });
    seen.await.unwrap()
}

#[tokio::test]
async fn rejects_messages_after_the_file_was_deleted() {
    let node = SqliteNode::new().await;
    let core = node.core(&[]).await;
    let (mut person, _) = connect_client(&core, None).await;
    readiness(&core, 200).await;
    let aside = node.folder().join("aside.db");
    fs::rename(node.database(), &aside).unwrap();
    let reported = readiness(&core, 503).await;
    assert!(reported.contains("moved or deleted"), "{reported}");
    person.say("b", "¿estás?").await;
    is_unavailable(&person.frame().await, "b");
    // Moved back, the file is used again.
    fs::rename(&aside, node.database()).unwrap();
    readiness(&core, 200).await;
    all_is_well_again(&mut person, "¿estás?").await;
}

/// A file belongs to one core: the second exits with an error, the first is not affected.
#[tokio::test]
async fn rejects_a_second_core_on_one_file() {
    let node = SqliteNode::new().await;
    let mut core = node.core(&[]).await;
    let (mut person, welcome) = connect_client(&core, None).await;
    let output = node.run(&[], None).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert!(text.contains("another core-server (process ") && text.contains("sqlite://data/psicoia.db"), "{text}");
    person.ask("a", "hola").await;
    // `rekey` may run concurrently, and a killed core leaves no lock.
    let rekey = node.run(&[], Some("rekey")).await;
    assert!(rekey.status.success(), "{}", String::from_utf8_lossy(&rekey.stderr));
    core.kill().await;
    let core = node.core(&[]).await;
    let (mut person, _) = connect_client(&core, welcome["resume"].as_str()).await;
    assert_eq!(entries(&mut person).await, numbered(&["hola", "eco: hola"]));
}

/// An undecryptable row is skipped: answers, history and resuming work.
#[tokio::test]
async fn undecryptable_row_is_skipped() {
    let node = SqliteNode::new().await;
    let mut core = node.core(&[]).await;
    let (mut person, welcome) = connect_client(&core, None).await;
    person.ask("a", "hola").await;
    person.ask("b", "¿estás?").await;
    core.terminate().await;
    node.open_database().execute("UPDATE entries SET key_id = 1 WHERE seq IN (1, 4)", []).unwrap();
    let core = node.core(&[]).await;

    let mut person = TestClient::new(LinePeer::connect(core.address()).await.unwrap());
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

/// Damage to the bytes of a valid database.
type Damage = fn(&mut Vec<u8>);

const DAMAGES: [(&str, Damage); 4] = [
    ("another kind of file", |bytes| *bytes = b"esto no es una base de datos\n".repeat(1_000)),
    ("a header that is overwritten", |bytes| bytes[..100].fill(0xA5)),
    ("pages that are overwritten", |bytes| bytes[4_096..].fill(0xA5)),
    ("the end missing", |bytes| bytes.truncate(5_000)),
];

/// An unreadable file is never replaced: it may hold conversations.
#[tokio::test]
async fn damaged_file_is_rejected_unchanged() {
    let node = SqliteNode::new().await;
    let mut core = node.core(&[]).await;
    let (mut person, welcome) = connect_client(&core, None).await;
    person.ask("a", "hola").await;
    core.terminate().await;
    let good = fs::read(node.database()).unwrap();
    for (name, damage) in DAMAGES {
        let mut bytes = good.clone();
        damage(&mut bytes);
        fs::write(node.database(), &bytes).unwrap();
        let output = node.run(&[], None).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        assert!(text.contains("sqlite://data/psicoia.db"), "{name}: {text}");
        assert!(fs::read(node.database()).unwrap() == bytes, "{name}: the file was changed");
    }
    fs::write(node.database(), &good).unwrap();
    // With the original bytes the core starts.
    let core = node.core(&[]).await;
    let (mut person, _) = connect_client(&core, welcome["resume"].as_str()).await;
    assert_eq!(entries(&mut person).await, numbered(&["hola", "eco: hola"]));
}
