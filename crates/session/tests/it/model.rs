//! Property: whatever happens in whatever order, each connection reads the stored entries, whole and in their order.
//!
//! Inputs are random, and results of the store come late. The model of a connection is plain: the highest `seq` it has
//! read, and the drafts of answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use protocol::ServerFrame;
use protocol::server_frame::Role;
use session::{Failure, Input, MessageRejection, SessionEvent};

use crate::scene::{Scene, WISH, delta_frame, done_frame};

const OTHER: u64 = 2;
/// Seconds in which a run comes to rest.
const MAX_ROUNDS: u32 = 20;

/// Step of a run. Numbers choose among the connections and messages that there are.
#[derive(Debug, Clone)]
enum Step {
    Attach,
    Detach(usize),
    HalfClose(usize),
    Say {
        from: usize,
        id: u8,
        is_wish: bool,
    },
    Stop(u8),
    /// The store answers, or is away.
    Answer {
        is_away: bool,
    },
    Generate(String),
    Restart,
    Finish,
    Fail,
    /// Another core stores an entry, with or without an event.
    Store {
        id: u8,
        role: Role,
        is_published: bool,
    },
    /// Another core answers a stored message.
    Stream {
        id: u8,
        text: String,
    },
    Wait(u64),
    Subscribed,
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0..5_u8;
    let role = prop_oneof![Just(Role::User), Just(Role::Assistant)];
    prop_oneof![
        2 => Just(Step::Attach),
        1 => any::<usize>().prop_map(Step::Detach),
        1 => any::<usize>().prop_map(Step::HalfClose),
        6 => (any::<usize>(), id(), prop::bool::weighted(0.1))
            .prop_map(|(from, id, is_wish)| Step::Say { from, id, is_wish }),
        1 => id().prop_map(Step::Stop),
        8 => prop::bool::weighted(0.1).prop_map(|is_away| Step::Answer { is_away }),
        6 => "[abñ]{1,3}".prop_map(Step::Generate),
        1 => Just(Step::Restart),
        3 => Just(Step::Finish),
        1 => Just(Step::Fail),
        3 => (id(), role, any::<bool>()).prop_map(|(id, role, is_published)| Step::Store { id, role, is_published }),
        2 => (id(), "[abñ]{1,3}").prop_map(|(id, text)| Step::Stream { id, text }),
        1 => (1..3_000_u64).prop_map(Step::Wait),
        1 => Just(Step::Subscribed),
    ]
}

/// A connection, as a client reads it.
#[derive(Debug, Default)]
struct Reader {
    is_attached: bool,
    last: u64,
    drafts: BTreeMap<String, String>,
    /// Messages sent here: `accepted`, and perhaps an answer, come behind later entries if they were stored before.
    own: BTreeSet<String>,
    /// Entries whose `accepted` came: without the sender's connection every connection gets it.
    accepted: BTreeSet<u64>,
    /// Messages that ended with an error: their answers may be stored later, and not read here.
    lost: BTreeSet<String>,
}

struct Run {
    scene: Scene,
    readers: Vec<Reader>,
    completed: u64,
    submitted: u64,
}

impl Run {
    fn new() -> Self {
        let mut scene = Scene::in_cluster();
        scene.is_held = true;
        Self { scene, readers: Vec::new(), completed: 0, submitted: 0 }
    }

    fn take(&mut self, step: &Step) {
        let name = |id: u8| char::from(b'a' + id).to_string();
        let scene = &mut self.scene;
        let lines = match step {
            Step::Attach => {
                let reader = Reader { is_attached: true, last: scene.session.seq(), ..Reader::default() };
                self.readers.push(reader);
                scene.attach()
            }
            Step::Detach(number) | Step::HalfClose(number) => {
                let Some(number) = attached(&self.readers, *number) else {
                    return;
                };
                let id = scene.connection(number);
                if let Step::HalfClose(_) = step {
                    scene.on(Input::HalfClose(id))
                } else {
                    self.readers[number].is_attached = false;
                    scene.on(Input::Detach(id))
                }
            }
            Step::Say { from, id, is_wish } => {
                let Some(from) = attached(&self.readers, *from) else {
                    return;
                };
                self.submitted += 1;
                self.readers[from].own.insert(name(*id));
                scene.say(from, &name(*id), if *is_wish { WISH } else { "hola" })
            }
            Step::Stop(id) => scene.on(Input::Stop(name(*id).parse().unwrap())),
            Step::Answer { is_away } if scene.is_waiting() => {
                scene.failure = is_away.then_some(Failure::Rejected(MessageRejection::unavailable()));
                let lines = scene.answer();
                scene.failure = None;
                lines
            }
            Step::Generate(text) if scene.is_generating() => scene.generate(text),
            Step::Restart if scene.is_generating() => scene.restart(),
            Step::Finish if scene.is_generating() => scene.finish(),
            Step::Fail if scene.may_fail() => scene.fail_turn(Failure::Rejected(MessageRejection::busy())),
            Step::Store { id, role, is_published } => return self.store(&name(*id), *role, *is_published),
            Step::Stream { id, text } => return self.stream(&name(*id), text),
            Step::Wait(ms) => scene.wait(Duration::from_millis(*ms)),
            Step::Subscribed => scene.on(Input::Subscribed),
            _ => return,
        };
        self.read(lines);
    }

    /// Another core stores an entry, unless there is one, or its message is missing.
    fn store(&mut self, id: &str, role: Role, is_published: bool) {
        let has = |role| self.scene.entries.iter().any(|entry| entry.id.as_str() == id && entry.role == role);
        if has(role) || (role == Role::Assistant && !has(Role::User)) {
            return;
        }
        let entry = self.scene.store(id, role);
        if is_published {
            let lines = self.scene.receive_frame(OTHER, ServerFrame::Turn(entry));
            self.read(lines);
        }
    }

    /// Another core streams an answer, and stores it unless there is one.
    fn stream(&mut self, id: &str, text: &str) {
        let has = |role| self.scene.entries.iter().any(|entry| entry.id.as_str() == id && entry.role == role);
        if !has(Role::User) || has(Role::Assistant) {
            return;
        }
        let lines = self.scene.receive_frame(OTHER, delta_frame(id, 0, text));
        self.read(lines);
        let mut entry = self.scene.store(id, Role::Assistant);
        entry.text = protocol::UserText::new(text);
        let (seq, chars) = (entry.seq, entry.text.chars());
        *self.scene.entries.last_mut().unwrap() = entry;
        let lines = self.scene.receive_frame(OTHER, done_frame(id, Some(seq), chars));
        self.read(lines);
    }

    /// Lets everything that waits come to its end, with the store back.
    fn settle(&mut self) {
        let lines = self.scene.receive(OTHER, SessionEvent::Here { connections: 0 });
        self.read(lines);
        for _ in 0..2 {
            // The first subscription of a new session misses nothing.
            let lines = self.scene.on(Input::Subscribed);
            self.read(lines);
        }
        // Followed answers are polled once a second.
        for _ in 0..MAX_ROUNDS {
            let lines = self.scene.wait(Duration::from_secs(1));
            self.read(lines);
            while self.scene.is_waiting() || self.scene.is_generating() {
                let lines = if self.scene.is_waiting() { self.scene.answer() } else { self.scene.finish() };
                self.read(lines);
            }
        }
        assert!(!self.scene.session.is_busy(), "never at rest");
    }

    // ---- the model ----------------------------------------------------------------------------------

    fn read(&mut self, lines: Vec<String>) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["complete" | "fail", _] => self.completed += 1,
                ["close", number, _] => self.readers[number.parse::<usize>().unwrap()].is_attached = false,
                [to, ..] => {
                    for number in 0..self.readers.len() {
                        if self.readers[number].is_attached && is_recipient(to, number) {
                            self.read_frame(number, &words[1..], &line);
                        }
                    }
                }
                [] => {}
            }
        }
    }

    fn read_frame(&mut self, number: usize, frame: &[&str], line: &str) {
        let entries = &self.scene.entries;
        let reader = &mut self.readers[number];
        match *frame {
            ["turn", seq, role, id] => {
                let seq = seq.parse().unwrap();
                if !reader.accepted.contains(&seq) {
                    reader.advance(seq, entries, line);
                }
                if role == "assistant" {
                    reader.drafts.remove(id);
                }
            }
            ["accepted", seq, _] => {
                let seq: u64 = seq.parse().unwrap();
                reader.accepted.insert(seq);
                if reader.last < seq {
                    reader.advance(seq, entries, line);
                }
            }
            ["delta", offset, id, text] => {
                let offset: usize = offset.parse().unwrap();
                let draft = reader.drafts.entry(id.to_owned()).or_default();
                if draft.chars().count() < offset {
                    return reader.reconnect(id, line);
                }
                *draft = draft.chars().take(offset).chain(text.chars()).collect();
            }
            ["done", "-", id] => drop(reader.drafts.remove(id)),
            ["done", seq, id] => {
                let seq: u64 = seq.parse().unwrap();
                let draft = reader.drafts.remove(id).unwrap_or_default();
                let stored = &entries[usize::try_from(seq).unwrap() - 1];
                assert_eq!(stored.id.as_str(), id, "{line}");
                if stored.text.expose() != draft {
                    return reader.reconnect(id, line);
                }
                if reader.last < seq {
                    reader.advance(seq, entries, line);
                }
            }
            ["error", _, id] => {
                reader.drafts.remove(id);
                reader.lost.insert(id.to_owned());
            }
            _ => {}
        }
    }

    fn check_rest(&self) {
        let entries = &self.scene.entries;
        for (number, reader) in self.readers.iter().enumerate().filter(|(_, reader)| reader.is_attached) {
            let mut rest = reader.last + 1..=entries.len() as u64;
            assert!(rest.all(|seq| reader.is_excused(seq, entries)), "connection {number} lacks entries: {reader:?}");
            assert!(reader.drafts.is_empty(), "connection {number} has drafts without an end: {reader:?}");
        }
        assert_eq!(self.completed, self.submitted, "every call completes");
        let mut keys = BTreeSet::new();
        assert!(entries.iter().all(|entry| keys.insert((entry.id.to_string(), format!("{:?}", entry.role)))));
    }
}

impl Reader {
    /// Advances to entry `seq`, the next one.
    fn advance(&mut self, seq: u64, entries: &[protocol::server_frame::Entry], line: &str) {
        assert!(self.last < seq, "{line} comes twice, or late");
        assert!(
            (self.last + 1..seq).all(|seq| self.is_excused(seq, entries)),
            "{line} leaves a gap behind {}",
            self.last
        );
        self.last = seq;
    }

    /// Text is missing: an error came for that answer before, and the client has forgotten its beginning.
    fn reconnect(&mut self, id: &str, line: &str) {
        assert!(self.lost.contains(id), "{line} behind missing text: {self:?}");
        self.is_attached = false;
    }

    fn is_excused(&self, seq: u64, entries: &[protocol::server_frame::Entry]) -> bool {
        let entry = &entries[usize::try_from(seq).unwrap() - 1];
        let id = entry.id.as_str();
        (entry.role == Role::Assistant && self.lost.contains(id))
            || (entry.role != Role::Support && self.own.contains(id))
    }
}

fn is_recipient(to: &str, number: usize) -> bool {
    let is = |text: &str| text.parse() == Ok(number);
    to == "all" || is(to) || to.strip_prefix("not-").is_some_and(|other| !is(other))
}

fn attached(readers: &[Reader], number: usize) -> Option<usize> {
    let attached: Vec<usize> = (0..readers.len()).filter(|number| readers[*number].is_attached).collect();
    attached.get(number.checked_rem(attached.len())?).copied()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_connection_reads_the_stored_entries(steps in prop::collection::vec(step(), 1..60)) {
        let mut run = Run::new();
        steps.iter().for_each(|step| run.take(step));
        run.settle();
        run.check_rest();
    }
}
