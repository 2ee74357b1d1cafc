//! Questions about safety, the companion's and a model's, and the level of an answer to them.

use super::data::{Act, Group};
use super::memory;
use super::reading::{Answer, Reading};
use crate::Level;
use crate::assess::questions;

/// A question about safety.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Thoughts of suicide.
    Thoughts,
    /// A wish not to be.
    Wish,
    /// Intent for today.
    Today,
    /// A plan.
    Plan,
    /// Means at hand.
    Means,
    /// Time of the plan.
    Time,
    /// Safety now.
    Safe,
    /// Ability to keep safe, or a promise to.
    StaySafe,
    /// Self-injury already done.
    Done,
    /// An attempt before.
    Past,
}

/// A question about safety that an answer asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) question: Question,
    /// It is the last question of the answer: a yes or a no replies to it.
    pub(crate) is_last: bool,
}

/// Meaning of a message as an answer to a question about safety.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Risk of this level.
    Risk(Level),
    /// No risk, in clear words.
    Denied,
}

/// Rules of `data/questions` with their question, the most telling first; the last column: only while a level is
/// remembered.
const RULES: [(&str, Question, bool); 14] = [
    ("stay_safe", Question::StaySafe, false),
    ("past", Question::Past, false),
    ("done", Question::Done, false),
    ("means", Question::Means, false),
    ("plan", Question::Plan, false),
    ("today", Question::Today, false),
    ("wish", Question::Wish, false),
    ("thoughts", Question::Thoughts, false),
    ("safe", Question::Safe, false),
    ("today_vague", Question::Today, true),
    ("done_vague", Question::Done, true),
    ("means_vague", Question::Means, true),
    ("time_vague", Question::Time, true),
    ("plan_vague", Question::Plan, true),
];
/// Sentences at the end of an answer that are read, and characters of each.
const SENTENCES: usize = 8;
const SENTENCE_CHARS: usize = 300;

pub(super) const SOON: [&str; 20] = [
    "hoy",
    "ahora",
    "ahorita",
    "ya",
    "esta noche",
    "esta tarde",
    "mas tarde",
    "en un rato",
    "manana",
    "cerca",
    "today",
    "tonight",
    "now",
    "right now",
    "soon",
    "later",
    "tomorrow",
    "this evening",
    "in a bit",
    "close",
];
const HERE: [&str; 20] = [
    "aca",
    "aqui",
    "al lado",
    "en casa",
    "en mi casa",
    "conmigo",
    "a mano",
    "en la mano",
    "en el cajon",
    "en mi cuarto",
    "here",
    "next to me",
    "with me",
    "at home",
    "in my hand",
    "beside me",
    "in my room",
    "in the drawer",
    "cerca",
    "nearby",
];
const MEANS: [&str; 24] = [
    "pastillas",
    "pastilla",
    "soga",
    "cuerda",
    "arma",
    "pistola",
    "revolver",
    "cuchillo",
    "veneno",
    "puente",
    "balcon",
    "tren",
    "ahorcarme",
    "colgarme",
    "pills",
    "rope",
    "gun",
    "knife",
    "poison",
    "bridge",
    "train",
    "overdose",
    "hanging",
    "balcony",
];
/// Phrases that take a yes back, or only resemble one.
const NOT_NOW: [&str; 12] = [
    "pero no hoy",
    "hoy no",
    "no hoy",
    "ahora no",
    "no ahora",
    "no lo voy a hacer",
    "no voy a hacerlo",
    "not today",
    "not now",
    "but not",
    "not tonight",
    "no plan",
];
/// Phrases that deny an intent, whatever the question was.
const WILL_NOT: [&str; 16] = [
    "no lo voy a hacer",
    "no voy a hacerlo",
    "no la voy a hacer",
    "no pienso hacerlo",
    "no lo haria",
    "no lo hare",
    "jamas lo haria",
    "nunca lo haria",
    "not going to do it",
    "not gonna do it",
    "wont do it",
    "wouldnt do it",
    "would never do it",
    "never do that",
    "not going to do anything",
    "no voy a hacer nada",
];
const BARE: [&str; 8] = ["| ok |", "| okay |", "| oka |", "| okey |", "| dale |", "| vale |", "| bueno |", "| fine |"];

/// Words of frequency: a yes to a question about thoughts.
const SOMETIMES: [&str; 17] = [
    "a veces",
    "de a ratos",
    "por momentos",
    "un poco",
    "algunas veces",
    "todo el tiempo",
    "todos los dias",
    "siempre",
    "bastante",
    "sometimes",
    "now and then",
    "a little",
    "a bit",
    "all the time",
    "every day",
    "a lot",
    "always",
];
/// Phrases with which a no does not reply to "are you safe".
const NO_MATTER: [&str; 10] = [
    "pasa nada",
    "hay problema",
    "te preocupes",
    "hay drama",
    "estoy bien",
    "worries",
    "problem",
    "im fine",
    "im ok",
    "im okay",
];

/// Returns the question about safety that an answer asks, the companion's or a model's. Some words ask about safety
/// only where the person is `in_risk`.
pub(crate) fn question(answer: &str, in_risk: bool) -> Option<Asked> {
    let Some((act, _)) = memory::identify(answer) else { return in_own_words(answer, in_risk) };
    let question = match act {
        Act::ConcernAsk | Act::CrisisAsk => Question::Thoughts,
        Act::CrisisAskNow => Question::Today,
        Act::CrisisPlan => Question::Plan,
        Act::CrisisMeans => Question::Means,
        Act::CrisisTime => Question::Time,
        // Texts of these acts ask different questions.
        Act::CrisisAgain | Act::LookBack | Act::GoodbyeRisk => return in_own_words(answer, in_risk),
        _ => return None,
    };
    Some(Asked { question, is_last: true })
}

/// Returns the last question about safety in a model's answer.
pub(crate) fn in_own_words(answer: &str, in_risk: bool) -> Option<Asked> {
    let mut is_last = true;
    for sentence in sentences(answer).into_iter().rev().take(SENTENCES) {
        let is_question = sentence.ends_with('?');
        let atoms = questions::atoms(sentence);
        let has = |name: &str| atoms.contains(&name);
        let asks = is_question || has("asks");
        if asks && !has("other") {
            let found = RULES.iter().find(|(name, _, vague)| has(name) && (in_risk || !vague));
            if let Some((_, question, _)) = found {
                return Some(Asked { question: *question, is_last });
            }
        }
        is_last &= !is_question;
    }
    None
}

/// Splits a text into sentences with their marks; a Spanish question begins at its opening mark.
fn sentences(text: &str) -> Vec<&str> {
    let ends = |letter: char| matches!(letter, '.' | '!' | '?' | ';' | '…' | '\n');
    text.split_inclusive(ends)
        .map(|sentence| {
            let sentence = sentence.rsplit_once('¿').map_or(sentence, |(_, question)| question).trim();
            let start = sentence.char_indices().rev().nth(SENTENCE_CHARS).map_or(0, |(at, _)| at);
            sentence.get(start..).unwrap_or_default()
        })
        .filter(|sentence| sentence.chars().any(char::is_alphabetic))
        .collect()
}

/// Returns the meaning of `text` as an answer to `asked`; `None` for neither meaning.
pub(crate) fn meaning(asked: Asked, text: &str) -> Option<Meaning> {
    let reading = Reading::of(text);
    let meaning = match asked.question {
        Question::Safe | Question::StaySafe => return meaning_of_safety(asked, &reading),
        question => risk(question, &reading),
    };
    match meaning {
        // The yes may reply to a later question: caution, but no emergency.
        Some(level) if !asked.is_last => Some(Meaning::Risk(level.min(Level::High))),
        Some(level) => Some(Meaning::Risk(level)),
        None => {
            let is_no = reading.answer() == Answer::No && !reading.has(Group::Explicit) || reading.has(Group::Deny);
            let of_all = matches!(asked.question, Question::Thoughts | Question::Today);
            let will_not = WILL_NOT.iter().any(|phrase| reading.says(phrase)) && !reading.has(Group::Explicit);
            (asked.is_last && (of_all && is_no || will_not)).then_some(Meaning::Denied)
        }
    }
}

/// Returns the level of an answer to a question to which a yes is a sign of risk.
fn risk(question: Question, reading: &Reading) -> Option<Level> {
    let answer = reading.answer();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| reading.says(phrase));
    if matches!(answer, Answer::No | Answer::Refused)
        || reading.is_one_of(&BARE)
        || reading.has(Group::GivenAway) && !reading.negates()
        || says(&NOT_NOW)
    {
        return None;
    }
    let yes = answer == Answer::Yes;
    // A sentence without a yes may be of something else; with a negation it is no yes.
    let names =
        |phrases: &[&str]| reading.words <= 8 && !says(&["no", "not", "dont", "never", "nunca"]) && says(phrases);
    let at_times = yes || names(&SOMETIMES);
    match question {
        Question::Thoughts => (at_times || reading.has(Group::Explicit)).then_some(Level::High),
        Question::Wish | Question::Past => at_times.then_some(Level::Concern),
        Question::Today | Question::Time => (yes || names(&SOON)).then_some(Level::Imminent),
        Question::Plan => (yes || names(&MEANS) || names(&SOON)).then_some(Level::Imminent),
        Question::Means => (yes || names(&HERE) || names(&MEANS)).then_some(Level::Imminent),
        Question::Done => yes.then_some(Level::Imminent),
        Question::Safe | Question::StaySafe => None,
    }
}

/// Reads an answer to a question to which a no is a sign of risk.
fn meaning_of_safety(asked: Asked, reading: &Reading) -> Option<Meaning> {
    // A no, or a yes, may reply to a later question.
    if !asked.is_last || NO_MATTER.iter().any(|phrase| reading.says(phrase)) {
        return None;
    }
    match reading.answer() {
        Answer::No => Some(Meaning::Risk(Level::High)),
        Answer::Unsure if asked.question == Question::StaySafe => Some(Meaning::Risk(Level::High)),
        Answer::Yes => Some(Meaning::Denied),
        _ if reading.has(Group::Safe) => Some(Meaning::Denied),
        Answer::Unsure | Answer::Refused | Answer::Other => None,
    }
}

#[cfg(test)]
mod tests;
