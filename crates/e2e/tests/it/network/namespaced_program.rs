//! Client at the other end of the link: the `psicoia` program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use client::Address;
use serde_json::Value;
use testkit::process::built;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

use super::Entry;
use super::namespace::Namespace;

/// Attempts to connect: the first may fail by the impairment under test.
const ATTEMPTS: &str = "10";

/// Running `psicoia --json` and its events. Killed on drop.
pub(super) struct NamespacedProgram {
    number: usize,
    program: Child,
    keyboard: ChildStdin,
    screen: Lines<BufReader<ChildStdout>>,
    session: PathBuf,
    said: Vec<(Instant, String)>,
    shown: Vec<(Instant, Value)>,
    answers: usize,
}

impl NamespacedProgram {
    /// Starts one in `net` and waits for `connected`.
    pub(super) async fn arrive(net: &Namespace, number: usize, address: Address, folder: &Path) -> Self {
        let session = folder.join(format!("session-{number}"));
        let mut command = Command::new("ip");
        command.args(["netns", "exec", net.name()]).arg(built("psicoia").unwrap());
        command.args([&address.to_string(), "--json", "--attempts", ATTEMPTS, "--session-file"]).arg(&session);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut program = command.spawn().unwrap();
        let (keyboard, screen) = (program.stdin.take().unwrap(), program.stdout.take().unwrap());
        let screen = BufReader::new(screen).lines();
        let (said, shown, answers) = (Vec::new(), Vec::new(), 0);
        let mut guest = Self { number, program, keyboard, screen, session, said, shown, answers };
        guest.until("connected").await;
        guest
    }

    /// Types a message.
    pub(super) async fn say(&mut self) {
        let text = format!("mensaje {} de la persona {} ☂", self.said.len() + 1, self.number);
        let typed = self.keyboard.write_all(format!("{text}\n").as_bytes()).await;
        typed.unwrap_or_else(|error| panic!("person {}: {error} after {:?}", self.number, self.shown));
        self.said.push((Instant::now(), text));
    }

    /// Waits for the end of the next answer.
    pub(super) async fn answered(&mut self) {
        self.until("done").await;
        self.answers += 1;
    }

    /// Waits for `pieces` deltas.
    pub(super) async fn received_deltas(&mut self, pieces: usize) {
        for _ in 0..pieces {
            self.until("delta").await;
        }
    }

    async fn until(&mut self, kind: &str) {
        while self.event().await["type"] != kind {}
    }

    async fn event(&mut self) -> &Value {
        let line = self.screen.next_line().await.unwrap();
        let line = line.unwrap_or_else(|| panic!("person {}: it ended after {:?}", self.number, self.shown.last()));
        self.shown.push((Instant::now(), serde_json::from_str(&line).unwrap()));
        &self.shown.last().unwrap().1
    }

    /// Resume token from the session file.
    pub(super) fn token(&self) -> String {
        fs::read_to_string(&self.session).unwrap().trim().to_owned()
    }

    /// Shortest time from a message to its `accepted`.
    pub(super) fn soonest_accepted(&self) -> Duration {
        let accepted = self.of("accepted").map(|(at, _)| *at);
        self.said.iter().zip(accepted).map(|((said, _), accepted)| accepted - *said).min().unwrap()
    }

    /// Time from `moment` to the first later event of the server.
    pub(super) fn first_event_after(&self, moment: Instant) -> Duration {
        let events = self.shown.iter().filter(|(at, event)| moment <= *at && event["type"] != "reconnecting");
        events.map(|(at, _)| *at - moment).next().unwrap()
    }

    /// True if the session was resumed on another connection.
    pub(super) fn resumed(&self) -> bool {
        self.of("connected").any(|(_, event)| event["resumed"] == true)
    }

    /// Total size of all deltas in bytes.
    pub(super) fn bytes_shown(&self) -> usize {
        self.of("delta").map(|(_, event)| event["text"].as_str().unwrap().len()).sum()
    }

    fn of(&self, kind: &str) -> impl Iterator<Item = &(Instant, Value)> {
        self.shown.iter().filter(move |(_, event)| event["type"] == kind)
    }

    /// Closes the input and waits for a successful exit; returns the entries shown.
    pub(super) async fn leave(mut self) -> Vec<Entry> {
        drop(self.keyboard);
        while let Some(line) = self.screen.next_line().await.unwrap() {
            let event: Value = serde_json::from_str(&line).unwrap();
            assert_eq!((&event["type"], &event["reason"]), (&"closed".into(), &"bye".into()), "{event}");
        }
        assert!(self.program.wait().await.unwrap().success());
        assert_eq!(self.answers, self.said.len());
        let said: Vec<String> = self.said.into_iter().map(|(_, text)| text).collect();
        let events: Vec<Value> = self.shown.into_iter().map(|(_, event)| event).collect();
        entries(&said, &events)
    }
}

/// Builds the entries shown from the messages sent and the events. Events are in order, because
/// messages are sent one at a time.
fn entries(said: &[String], events: &[Value]) -> Vec<Entry> {
    let (mut entries, mut said, mut answer) = (Vec::new(), said.iter(), String::new());
    for event in events {
        let id = || event["id"].as_str().unwrap().to_owned();
        let mut hold = |role: &str, text: String| {
            entries.push(Entry { seq: event["seq"].as_u64().unwrap(), id: id(), role: role.to_owned(), text });
        };
        match event["type"].as_str().unwrap() {
            "accepted" => hold("user", said.next().unwrap().clone()),
            "delta" => {
                assert_eq!(event["offset"], answer.chars().count(), "{event}");
                answer.push_str(event["text"].as_str().unwrap());
            }
            "done" => {
                assert_eq!((&event["finish"], &event["chars"]), (&"stop".into(), &answer.chars().count().into()));
                hold("assistant", std::mem::take(&mut answer));
            }
            "connected" | "reconnecting" | "queued" => {}
            "notice" if event["code"] == "ai" => {}
            _ => panic!("out of place: {event}"),
        }
    }
    entries
}
