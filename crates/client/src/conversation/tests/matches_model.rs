//! Property test: after random steps in any order, a consumer of the events holds exactly the entries that the server
//! model has stored.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Send,
    OtherDevice,
    /// Delivers up to this many client frames to the server.
    ToServer(usize),
    /// Delivers up to this many server frames to the client.
    ToClient(usize),
    Delta(u8),
    Support,
    Finish,
    Refuse,
    Disconnect,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Send),
        1 => Just(Step::OtherDevice),
        6 => (1..4_usize).prop_map(Step::ToServer),
        6 => (1..6_usize).prop_map(Step::ToClient),
        6 => any::<u8>().prop_map(Step::Delta),
        1 => Just(Step::Support),
        3 => Just(Step::Finish),
        1 => Just(Step::Refuse),
        3 => Just(Step::Disconnect),
        1 => Just(Step::Crash),
    ]
}

/// State of a consumer that only follows events.
#[derive(Default)]
struct Consumer {
    seqs: Vec<u64>,
    texts: BTreeMap<String, String>,
    ended: BTreeMap<String, Option<String>>,
    restarts: usize,
}

impl Consumer {
    fn follow(&mut self, event: Event) {
        match event {
            Event::Turn(entry) => {
                if entry.role == Role::Assistant {
                    self.ended.insert(entry.id.to_string(), Some(entry.text.expose().to_owned()));
                }
                self.seqs.push(entry.seq);
            }
            Event::Accepted { seq, .. } => self.seqs.push(seq),
            Event::Support(support) => self.seqs.extend(support.seq),
            Event::Delta { id, offset, text } => {
                let delivered = self.texts.entry(id.to_string()).or_default();
                assert_eq!(delivered.chars().count(), offset, "{id}");
                delivered.push_str(text.expose());
            }
            Event::Restarted { id } => {
                self.restarts += 1;
                self.texts.insert(id.to_string(), String::new());
            }
            Event::Done(done) => {
                let text = self.texts.remove(done.id.as_str()).unwrap_or_default();
                assert_eq!(text.chars().count(), done.chars, "{}", done.id);
                let before = self.ended.insert(done.id.to_string(), Some(text));
                // A refusal may cross with a resend, which is answered later.
                assert!(before.flatten().is_none(), "{} ended twice", done.id);
                self.seqs.extend(done.seq);
            }
            Event::Refused(error) => {
                let id = error.id.unwrap().to_string();
                self.texts.remove(&id);
                assert!(self.ended.insert(id.clone(), None).is_none(), "{id} ended twice");
            }
            _ => {}
        }
    }
}

struct Harness {
    conversation: Conversation,
    model: Model,
    consumer: Consumer,
    said: usize,
}

impl Harness {
    fn new(replayed: u64) -> Self {
        let conversation = Conversation::new(SessionOptions { window: 2, ..SessionOptions::default() });
        let model = Model::new(replayed);
        let mut harness = Self { conversation, model, consumer: Consumer::default(), said: 0 };
        harness.reconnect();
        harness.deliver_to_server(1);
        harness.deliver_to_client(1);
        harness
    }

    fn reconnect(&mut self) {
        self.model.wire = None;
        self.conversation.disconnected();
        self.conversation.connected();
    }

    fn deliver_to_server(&mut self, count: usize) {
        for _ in 0..count {
            let Some(frame) = self.conversation.next_frame() else { break };
            self.model.receive(frame);
        }
    }

    fn deliver_to_client(&mut self, count: usize) {
        for _ in 0..count {
            let Some(frame) = self.model.wire.as_mut().and_then(VecDeque::pop_front) else { break };
            assert_eq!(self.conversation.on_frame(frame), Action::Continue);
            while let Some(event) = self.conversation.next_event() {
                self.consumer.follow(event);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Send => {
                let id: MessageId = format!("m{}", self.said).parse().unwrap();
                self.said += 1;
                self.conversation.send(id, UserText::new("hola")).unwrap();
            }
            Step::OtherDevice => {
                self.model.message_from_other_device(format!("x{}", self.model.entries.len()).parse().unwrap());
            }
            Step::ToServer(count) => self.deliver_to_server(*count),
            Step::ToClient(count) => self.deliver_to_client(*count),
            // After a crash the text differs, sometimes only after a common prefix.
            Step::Delta(seed) => {
                let piece = ["a", "ño", "🙂b", "a\u{301}"][usize::from(*seed) % 4];
                self.model.delta(if *seed < 128 { piece } else { ["é", "z", "aa"][self.model.crashes % 3] });
            }
            Step::Support => self.model.support(),
            Step::Finish => self.model.finish(),
            Step::Refuse => self.model.refuse(),
            Step::Disconnect => self.reconnect(),
            Step::Crash => {
                self.model.crash();
                self.reconnect();
            }
        }
    }

    /// Delivers frames until every answer is complete.
    fn run_to_completion(&mut self) {
        for _ in 0..10 + 4 * self.said {
            self.deliver_to_server(usize::MAX);
            self.model.delta("fin");
            self.model.finish();
            self.deliver_to_client(usize::MAX);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn delivery_matches_model(steps in proptest::collection::vec(step(), 0..60)) {
        let mut harness = Harness::new(u64::MAX);
        steps.iter().for_each(|step| harness.step(step));
        harness.run_to_completion();
        let (consumer, model) = (&harness.consumer, &harness.model);

        prop_assert_eq!(harness.conversation.open_messages(), 0);
        prop_assert_eq!(&consumer.seqs, &(1..=model.entries.len() as u64).collect::<Vec<_>>());
        for number in 0..harness.said {
            let id = format!("m{number}");
            prop_assert!(consumer.ended.contains_key(&id), "{} has no end", id);
            let parsed = id.parse().unwrap();
            prop_assert_eq!(model.entries.iter().filter(|it| it.id == parsed && it.role == Role::User).count(), 1);
            let stored = model.entry_of(&parsed, Role::Assistant).map(|it| it.text.expose().to_owned());
            prop_assert_eq!(&consumer.ended[&id], &stored, "{}", id);
        }
        for entry in model.entries.iter().filter(|entry| entry.role == Role::Assistant) {
            let delivered = consumer.ended.get(entry.id.as_str());
            prop_assert_eq!(delivered, Some(&Some(entry.text.expose().to_owned())), "{}", entry.id);
        }
        if model.crashes == 0 {
            prop_assert_eq!(consumer.restarts, 0);
        }
    }
}
