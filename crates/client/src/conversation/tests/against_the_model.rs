//! Anything that may happen, in any order: what a consumer of the events has at the end is what the model of the server
//! has stored.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Say,
    Elsewhere,
    /// So many frames of the client reach the server.
    Up(usize),
    /// So many frames of the server reach the client.
    Down(usize),
    Piece(u8),
    Support,
    Finish,
    Refuse,
    Cut,
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Say),
        1 => Just(Step::Elsewhere),
        6 => (1..4_usize).prop_map(Step::Up),
        6 => (1..6_usize).prop_map(Step::Down),
        6 => any::<u8>().prop_map(Step::Piece),
        1 => Just(Step::Support),
        3 => Just(Step::Finish),
        1 => Just(Step::Refuse),
        3 => Just(Step::Cut),
        1 => Just(Step::Die),
    ]
}

/// What a consumer that only follows the events has.
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
                let told = self.texts.entry(id.to_string()).or_default();
                assert_eq!(told.chars().count(), offset, "{id}");
                told.push_str(text.expose());
            }
            Event::Restarted { id } => {
                self.restarts += 1;
                self.texts.insert(id.to_string(), String::new());
            }
            Event::Done(done) => {
                let text = self.texts.remove(done.id.as_str()).unwrap_or_default();
                assert_eq!(text.chars().count(), done.chars, "{}", done.id);
                let before = self.ended.insert(done.id.to_string(), Some(text));
                // A refusal may cross with the message that was sent again, which is answered then.
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

struct World {
    conversation: Conversation,
    model: Model,
    consumer: Consumer,
    said: usize,
}

impl World {
    fn new(replayed: u64) -> Self {
        let conversation = Conversation::new(Introduction { window: 2, ..Introduction::default() });
        let model = Model::new(replayed);
        let mut world = Self { conversation, model, consumer: Consumer::default(), said: 0 };
        world.reconnect();
        world.up(1);
        world.down(1);
        world
    }

    fn reconnect(&mut self) {
        self.model.wire = None;
        self.conversation.disconnected();
        self.conversation.connected();
    }

    fn up(&mut self, count: usize) {
        for _ in 0..count {
            let Some(frame) = self.conversation.next_frame() else { break };
            self.model.receive(frame);
        }
    }

    fn down(&mut self, count: usize) {
        for _ in 0..count {
            let Some(frame) = self.model.wire.as_mut().and_then(VecDeque::pop_front) else { break };
            assert_eq!(self.conversation.on_frame(frame), Next::Continue);
            while let Some(event) = self.conversation.next_event() {
                self.consumer.follow(event);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Say => {
                let id: MessageId = format!("m{}", self.said).parse().unwrap();
                self.said += 1;
                self.conversation.send(id, UserText::new("hola")).unwrap();
            }
            Step::Elsewhere => {
                self.model.elsewhere(format!("x{}", self.model.entries.len()).parse().unwrap());
            }
            Step::Up(count) => self.up(*count),
            Step::Down(count) => self.down(*count),
            // Other lives, other words; some of them begin in the same way.
            Step::Piece(seed) => {
                let piece = ["a", "ño", "🙂b", "a\u{301}"][usize::from(*seed) % 4];
                self.model.piece(if *seed < 128 { piece } else { ["é", "z", "aa"][self.model.lives % 3] });
            }
            Step::Support => self.model.support(),
            Step::Finish => self.model.finish(),
            Step::Refuse => self.model.refuse(),
            Step::Cut => self.reconnect(),
            Step::Die => {
                self.model.die();
                self.reconnect();
            }
        }
    }

    /// Lets everything come to its end.
    fn settle(&mut self) {
        for _ in 0..10 + 4 * self.said {
            self.up(usize::MAX);
            self.model.piece("fin");
            self.model.finish();
            self.down(usize::MAX);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_reordered(steps in proptest::collection::vec(step(), 0..60)) {
        let mut world = World::new(u64::MAX);
        steps.iter().for_each(|step| world.step(step));
        world.settle();
        let (consumer, model) = (&world.consumer, &world.model);

        prop_assert_eq!(world.conversation.open_messages(), 0);
        prop_assert_eq!(&consumer.seqs, &(1..=model.entries.len() as u64).collect::<Vec<_>>());
        for number in 0..world.said {
            let id = format!("m{number}");
            prop_assert!(consumer.ended.contains_key(&id), "{} has no end", id);
            let parsed = id.parse().unwrap();
            prop_assert_eq!(model.entries.iter().filter(|it| it.id == parsed && it.role == Role::User).count(), 1);
            let stored = model.entry_of(&parsed, Role::Assistant).map(|it| it.text.expose().to_owned());
            prop_assert_eq!(&consumer.ended[&id], &stored, "{}", id);
        }
        for entry in model.entries.iter().filter(|entry| entry.role == Role::Assistant) {
            let told = consumer.ended.get(entry.id.as_str());
            prop_assert_eq!(told, Some(&Some(entry.text.expose().to_owned())), "{}", entry.id);
        }
        if model.lives == 0 {
            prop_assert_eq!(consumer.restarts, 0);
        }
    }
}
