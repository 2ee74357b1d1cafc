//! The companion's questions about safety, and what an answer to them says of risk.

use super::data::{Act, Group};
use super::memory;
use super::reading::{Answer, Reading};
use crate::Level;

/// A question about safety.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether there are thoughts of suicide.
    Thoughts,
    /// Whether it is for today.
    Today,
    /// Whether there is a plan.
    Plan,
    /// Whether the means are at hand.
    Means,
    /// When it is to be.
    Time,
}

const SOON: [&str; 20] = [
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
/// What takes a yes back, or only sounds like one.
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
const BARE: [&str; 8] = ["| ok |", "| okay |", "| oka |", "| okey |", "| dale |", "| vale |", "| bueno |", "| fine |"];

/// Returns the question that an answer of the companion asks.
pub(crate) fn question(answer: &str) -> Option<Question> {
    let (act, _) = memory::identify(answer)?;
    Some(match act {
        Act::ConcernAsk | Act::CrisisAsk => Question::Thoughts,
        Act::CrisisAskNow => Question::Today,
        Act::CrisisPlan => Question::Plan,
        Act::CrisisMeans => Question::Means,
        Act::CrisisTime => Question::Time,
        _ => return None,
    })
}

/// Returns the level that `text` has as an answer to `question`; `None` where it says no, or something else.
pub(crate) fn reading(question: Question, text: &str) -> Option<Level> {
    let reading = Reading::of(text);
    let answer = reading.answer();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| reading.says(phrase));
    if matches!(answer, Answer::No | Answer::Refused) || reading.is_one_of(&BARE) || says(&NOT_NOW) {
        return None;
    }
    let yes = answer == Answer::Yes;
    // A sentence without a yes may be of something else; with a negation it is no yes.
    let names =
        |phrases: &[&str]| reading.words <= 8 && !says(&["no", "not", "dont", "never", "nunca"]) && says(phrases);
    match question {
        Question::Thoughts => (yes || reading.has(Group::Explicit)).then_some(Level::High),
        Question::Today | Question::Time => (yes || names(&SOON)).then_some(Level::Imminent),
        Question::Plan => (yes || names(&MEANS) || names(&SOON)).then_some(Level::Imminent),
        Question::Means => (yes || names(&HERE) || names(&MEANS)).then_some(Level::Imminent),
    }
}
