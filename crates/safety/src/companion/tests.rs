//! Scripts as tables, properties of any conversation, and golden files of dialogs.

mod dialogs;
mod properties;
mod scripts;

use protocol::server_frame::SafetyPlan;
use protocol::{Language, Timestamp};

use super::*;
use crate::Kind;

/// Conversation with the companion.
#[derive(Debug, Clone)]
struct Conversation {
    language: Language,
    seed: u64,
    level: Level,
    now: Level,
    subject: Subject,
    kinds: Kinds,
    minor: bool,
    emergency: Option<&'static str>,
    said: Vec<(bool, String)>,
    last: Option<Act>,
}

impl Conversation {
    fn new(language: Language) -> Self {
        Self {
            language,
            seed: 7,
            level: Level::None,
            now: Level::None,
            subject: Subject::Own,
            kinds: Kinds::default(),
            minor: false,
            emergency: Some("911"),
            said: Vec::new(),
            last: None,
        }
    }

    /// Sets the level in force and that of the message.
    fn at(mut self, level: Level) -> Self {
        (self.level, self.now) = (level, level);
        self
    }

    fn with_turn<T>(&self, then: impl FnOnce(&Turn<'_>) -> T) -> T {
        let at = Timestamp::from_unix_ms(0);
        let history: Vec<_> =
            self.said.iter().map(|(by_person, text)| Utterance { by_person: *by_person, text, at }).collect();
        then(&Turn {
            history: &history,
            level: self.level,
            now: self.now,
            subject: self.subject,
            kinds: self.kinds,
            minor: self.minor,
            emergency: self.emergency,
            language: self.language,
            seed: self.seed,
        })
    }

    /// Adds a message of the person and the answer to it. The level of a message lasts for that message.
    fn say(&mut self, text: &str) -> Reply {
        self.said.push((true, text.to_owned()));
        let (act, reply) = self.with_turn(|turn| {
            let memory = Memory::of(turn);
            (voice::words(&memory, decide(&memory)).0, reply(turn))
        });
        self.said.push((false, reply.text.clone()));
        self.last = Some(act);
        self.now = Level::None;
        self.kinds = Kinds::default();
        reply
    }

    /// Says `text` and returns the act that answers it.
    fn act(&mut self, text: &str) -> Act {
        self.say(text);
        self.last.expect("`say` sets it")
    }

    fn plan(&self) -> Option<SafetyPlan> {
        self.with_turn(|turn| {
            let mut reader = PlanReader::default();
            turn.history.iter().for_each(|said| reader.read(said));
            reader.plan(turn.language)
        })
    }
}
