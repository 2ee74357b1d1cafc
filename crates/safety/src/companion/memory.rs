//! The companion's state: a fold over the end of the conversation.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::asked::{self, Asked, Question};
use super::data::{Act, ENGLISH, Edition, Group, SPANISH, TOPICS, Text, Topic};
use super::reading::{Answer, Reading};
use super::{Turn, Utterance};
use crate::Level;

/// Entries of the conversation that are read.
const MAX_ENTRIES: usize = 60;
/// Answers within which no text is said twice.
const NO_REPEAT_ANSWERS: usize = 10;

/// One of the companion's texts: an act and its number among the act's texts.
pub(super) type TextId = (Act, usize);

/// Number in place of a text that is a model's.
const IN_OWN_WORDS: usize = usize::MAX;

/// Texts without slots, in every language and register.
static WHOLE: LazyLock<HashMap<&'static str, TextId>> =
    LazyLock::new(|| all_forms().filter(|(form, _)| !form.contains('{')).collect());
/// Texts with slots. Divided once: every answer is compared with all of them.
static WITH_SLOTS: LazyLock<Vec<(Slotted, TextId)>> =
    LazyLock::new(|| all_forms().filter_map(|(form, id)| Some((Slotted::of(form)?, id))).collect());

fn all_forms() -> impl Iterator<Item = (&'static str, TextId)> {
    let edition = |edition: &'static Edition| {
        Act::ALL.into_iter().flat_map(move |(act, _)| {
            let texts = edition.texts(act).iter().enumerate();
            texts.flat_map(move |(number, forms)| forms.iter().map(move |form| (*form, (act, number))))
        })
    };
    edition(&SPANISH).chain(edition(&ENGLISH))
}

/// Identifies an answer as one of the companion's texts; `None` for a model's answer.
pub(super) fn identify(answer: &str) -> Option<TextId> {
    let with_slots = || WITH_SLOTS.iter().find(|(form, _)| form.fits(answer)).map(|(_, id)| *id);
    WHOLE.get(answer).copied().or_else(with_slots)
}

/// Returns the act whose question about safety a model's answer asks, so that the script continues from there and does
/// not ask again.
fn asked_by_model(answer: &str, level: Level) -> Option<TextId> {
    let Asked { question, is_last } = asked::in_own_words(answer, level > Level::None)?;
    let act = match question {
        Question::Wish => Act::ConcernAsk,
        Question::Thoughts | Question::Today => Act::CrisisAsk,
        Question::Plan if level >= Level::High => Act::CrisisPlan,
        Question::Means if level >= Level::High => Act::CrisisMeans,
        Question::Time if level >= Level::High => Act::CrisisTime,
        _ => return None,
    };
    is_last.then_some((act, IN_OWN_WORDS))
}

/// The parts of a text around its slots.
#[derive(Debug)]
struct Slotted {
    first: &'static str,
    inner: Vec<&'static str>,
    last: &'static str,
}

impl Slotted {
    /// Divides `form`; `None` if it has no slots.
    fn of(form: &'static str) -> Option<Self> {
        let mut parts = form.split(['{', '}']).step_by(2);
        let first = parts.next()?;
        let mut inner: Vec<_> = parts.collect();
        let last = inner.pop()?;
        Some(Self { first, inner, last })
    }

    /// Returns `true` if `text` is the form with its slots filled.
    fn fits(&self, text: &str) -> bool {
        let Some(mut rest) = text.strip_prefix(self.first) else { return false };
        for part in &self.inner {
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(self.last)
    }
}

/// A message of the person.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    /// The answer just before it, where it is one of the companion's texts.
    pub(super) before: Option<TextId>,
    pub(super) reading: Reading,
    pub(super) text: &'a str,
}

/// State of a conversation.
#[derive(Debug)]
pub(super) struct Memory<'a> {
    pub(super) turn: &'a Turn<'a>,
    /// Never empty.
    exchanges: Vec<Exchange<'a>>,
    /// The last answers, newest first.
    answers: Vec<(&'a str, Option<TextId>)>,
}

impl<'a> Memory<'a> {
    pub(super) fn of(turn: &'a Turn<'a>) -> Self {
        let recent = turn.history.get(turn.history.len().saturating_sub(MAX_ENTRIES)..).unwrap_or_default();
        let (mut exchanges, mut answers, mut before) = (Vec::new(), Vec::new(), None);
        for Utterance { by_person, text, .. } in recent {
            if *by_person {
                exchanges.push(Exchange { before: before.take(), reading: Reading::of(text), text });
            } else {
                before = identify(text).or_else(|| asked_by_model(text, turn.level));
                answers.push((*text, before));
            }
        }
        // The last entry is an answer: the person stays silent.
        if exchanges.is_empty() || !recent.last().is_some_and(|said| said.by_person) {
            exchanges.push(Exchange { before, reading: Reading::default(), text: "" });
        }
        answers.reverse();
        Self { turn, exchanges, answers }
    }

    fn last(&self) -> &Exchange<'a> {
        let last = self.exchanges.last();
        last.expect("`of` adds a message where there is none")
    }

    /// Returns the message to answer.
    pub(super) fn now(&self) -> &Reading {
        &self.last().reading
    }

    /// Returns the text of the message to answer.
    pub(super) fn text(&self) -> &'a str {
        self.last().text
    }

    /// Returns the act that the last message answers; consecutive messages answer the same one.
    pub(super) fn before(&self) -> Option<Act> {
        self.answers.first().and_then(|(_, id)| *id).map(|(act, _)| act)
    }

    /// Returns the number of the person's messages.
    pub(super) fn turns(&self) -> usize {
        self.exchanges.len()
    }

    /// Readings, newest first.
    pub(super) fn readings(&self) -> impl Iterator<Item = &Reading> {
        self.exchanges.iter().rev().map(|exchange| &exchange.reading)
    }

    /// Exchanges, oldest first.
    pub(super) fn exchanges(&self) -> &[Exchange<'a>] {
        &self.exchanges
    }

    /// Counts answers since the last one of which the act is wanted: 0 for the last answer.
    pub(super) fn since(&self, wanted: impl Fn(Act) -> bool) -> Option<usize> {
        self.answers.iter().position(|(_, id)| id.is_some_and(|(act, _)| wanted(act)))
    }

    pub(super) fn said(&self, act: Act) -> bool {
        self.since(|said| said == act).is_some()
    }

    /// Counts the answers of which the act is `act`.
    pub(super) fn times(&self, act: Act) -> usize {
        self.answers.iter().filter(|(_, id)| id.is_some_and(|(said, _)| said == act)).count()
    }

    pub(super) fn said_any(&self, acts: &[Act]) -> bool {
        self.since(|said| acts.contains(&said)).is_some()
    }

    /// Returns `true` if `act` is among the last `count` answers.
    pub(super) fn lately(&self, act: Act, count: usize) -> bool {
        self.since(|said| said == act).is_some_and(|since| since < count)
    }

    /// Returns the person's message behind the last answer with one of `acts`.
    pub(super) fn reply_to(&self, acts: &[Act]) -> Option<&Reading> {
        let answered = |exchange: &&Exchange<'_>| exchange.before.is_some_and(|(act, _)| acts.contains(&act));
        self.exchanges.iter().rev().find(answered).map(|exchange| &exchange.reading)
    }

    /// Returns the message to answer, read as an answer to the last act.
    pub(super) fn answer(&self) -> Answer {
        self.now().answer()
    }

    /// Returns `true` if a text is among the last ten answers.
    pub(super) fn is_used(&self, id: TextId) -> bool {
        self.answers.iter().take(NO_REPEAT_ANSWERS).any(|(_, said)| *said == Some(id))
    }

    /// Returns `true` if this text is among the last ten answers, by the companion or a model.
    pub(super) fn is_repeated(&self, text: &str) -> bool {
        self.answers.iter().take(NO_REPEAT_ANSWERS).any(|(said, _)| *said == text)
    }

    /// Returns `true` if the last answer reflected the person's words.
    pub(super) fn echoed(&self) -> bool {
        let form = |(act, number): TextId| SPANISH.texts(act).get(number).map(|forms: &Text| forms[0]);
        self.answers.first().and_then(|(_, id)| *id).and_then(form).is_some_and(|form| form.contains('{'))
    }

    /// Number of the register in which the person writes: vos, tú, usted.
    pub(super) fn register(&self) -> usize {
        let by = |reading: &Reading| {
            [Group::RegUsted, Group::RegVos, Group::RegTu].into_iter().find(|group| reading.has(*group))
        };
        match self.readings().find_map(by) {
            Some(Group::RegTu) => 1,
            Some(Group::RegUsted) => 2,
            _ => 0,
        }
    }

    /// Nouns that the person named in the last `count` messages, newest first, without repetition. Not the dead: what
    /// would fit the living ("¿qué te gustaría que cambie con tu mamá?") hurts.
    pub(super) fn topics(&self, count: usize) -> Vec<&'static Topic> {
        let mourned = self.mourned();
        let mut topics = self.named(count);
        topics.retain(|topic| !mourned.contains(&topic.forms));
        topics
    }

    /// Persons and animals named in messages about a death.
    fn mourned(&self) -> Vec<Text> {
        let mourning = self.readings().filter(|reading| reading.has(Group::Grief));
        let named = mourning.flat_map(|reading| reading.topics.iter()).filter_map(|index| TOPICS.get(*index));
        named.filter(|topic| topic.person).map(|topic| topic.forms).collect()
    }

    /// Nouns as in [`Memory::topics`], with the dead.
    pub(super) fn named(&self, count: usize) -> Vec<&'static Topic> {
        let mut topics: Vec<&'static Topic> = Vec::new();
        for index in self.readings().take(count).flat_map(|reading| reading.topics.iter()) {
            if let Some(topic) = TOPICS.get(*index)
                && !topics.iter().any(|known| known.forms == topic.forms)
            {
                topics.push(topic);
            }
        }
        topics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_each_of_its_texts() {
        for (form, (act, number)) in all_forms() {
            let mut text = form.to_owned();
            for slot in ["topic", "other", "one", "who", "person", "feeling", "emergency"] {
                text = text.replace(&format!("{{{slot}}}"), "el examen");
            }
            let (found, _) = identify(&text).unwrap_or_else(|| panic!("not recognised: {text}"));
            assert_eq!(found, act, "{number}: {text}");
        }
        assert_eq!(identify("Entiendo. ¿Querés contarme más?"), None);
    }
}
