//! The built-in companion: answers where no model may or can.
//!
//! [`reply`] is a pure function. Its state is a fold over the end of the conversation, in which the companion's own
//! texts show the questions, offers and refusals so far; so a restart or another core changes nothing. One act a turn
//! is decided by table (`crisis` before `ordinary`), then `voice` chooses among the act's texts. Texts and word groups
//! are data: `data/companion.es.toml` and `data/companion.en.toml`.

pub(crate) mod asked;
mod crisis;
mod data;
mod memory;
mod ordinary;
mod plan;
mod reading;
mod truth;
mod voice;

#[cfg(test)]
mod tests;

use protocol::server_frame::Exercise;
use protocol::{Language, Timestamp};

use crate::{Kinds, Level, Subject};
use data::{Act, Edition, Group};
use memory::Memory;
pub use plan::{MAX_STEP_CHARS, PlanReader};
use reading::Reading;

/// A clinician has reviewed the texts.
pub const REVIEWED_BY_CLINICIAN: bool = data::REVIEWED;

/// Longest reply, in characters.
pub const MAX_REPLY_CHARS: usize = 240;

/// An entry of the conversation.
#[derive(Debug, Clone, Copy)]
pub struct Utterance<'a> {
    /// The person wrote it; else it is an answer.
    pub by_person: bool,
    /// The text.
    pub text: &'a str,
    /// Time at which it was stored.
    pub at: Timestamp,
}

/// Input of [`reply`]: the end of the conversation, and the risk of the message to answer.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// The end of the conversation, oldest first, the message to answer last. Forty entries are enough.
    pub history: &'a [Utterance<'a>],
    /// Level in force: that of the episode.
    pub level: Level,
    /// Level of the message alone.
    pub now: Level,
    /// Subject of the message's risk.
    pub subject: Subject,
    /// Kinds of risk, of the message.
    pub kinds: Kinds,
    /// The person has said that they are a minor.
    pub minor: bool,
    /// Emergency number of the person's country, such as `911`; the only number that an answer may name.
    pub emergency: Option<&'a str>,
    /// Language to answer in.
    pub language: Language,
    /// Separates conversations, for the choice among texts.
    pub seed: u64,
}

impl Turn<'_> {
    /// Returns a turn without a message and without risk.
    pub fn new(language: Language) -> Self {
        Self {
            history: &[],
            level: Level::None,
            now: Level::None,
            subject: Subject::Own,
            kinds: Kinds::default(),
            minor: false,
            emergency: None,
            language,
            seed: 0,
        }
    }
}

/// Answer of the companion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// At most [`MAX_REPLY_CHARS`] characters, one line, at most one question; not one of the last ten answers.
    pub text: String,
    /// Exercise offered or gone on with.
    pub exercise: Option<Exercise>,
}

/// Answers the last message of `turn.history`: a pure function without I/O.
///
/// ```
/// use protocol::{Language, Timestamp};
/// use safety::companion::{MAX_REPLY_CHARS, Turn, Utterance, reply};
///
/// let message = Utterance { by_person: true, text: "no puedo dormir", at: Timestamp::from_unix_ms(0) };
/// let turn = Turn { history: &[message], ..Turn::new(Language::Spanish) };
/// let answer = reply(&turn);
/// assert!(!answer.text.is_empty() && answer.text.chars().count() <= MAX_REPLY_CHARS);
/// // A pure function: the same conversation gets the same answer.
/// assert_eq!(reply(&turn), answer);
/// ```
pub fn reply(turn: &Turn<'_>) -> Reply {
    let memory = Memory::of(turn);
    let (act, text) = voice::words(&memory, decide(&memory));
    Reply { text, exercise: exercise(act) }
}

/// Decides the act of this turn: risk precedes everything but the statement that it is no person.
fn decide(memory: &Memory<'_>) -> Act {
    let turn = memory.turn;
    // Minutes count: before any other answer, the one about itself included.
    if let Some(act) = crisis::emergency(memory) {
        return act;
    }
    let risk = turn.level.max(turn.now);
    if memory.now().has(Group::Truth) && turn.now < Level::High {
        return if risk >= Level::High { Act::TruthRisk } else { Act::Truth };
    }
    if let Some(act) = crisis::running_plan(memory).or_else(|| crisis::helper(memory)) {
        return act;
    }
    if let Some(act) = farewell(memory) {
        return act;
    }
    crisis::kinds(memory).or_else(|| crisis::crisis(memory)).unwrap_or_else(|| ordinary::act(memory))
}

/// Answers a good-bye while a level is remembered: the help lines and one question, once; then the help lines.
fn farewell(memory: &Memory<'_>) -> Option<Act> {
    let turn = memory.turn;
    if turn.level == Level::None || turn.now >= Level::High || crisis::is_of_other(memory) {
        return None;
    }
    let asked = memory.lately(Act::GoodbyeRisk, 6);
    if ordinary::leaving(memory).is_some() {
        return Some(if asked { Act::GoodbyeRiskAgain } else { Act::GoodbyeRisk });
    }
    match memory.before() {
        Some(Act::GoodbyeRisk) => {}
        // A short answer to it is no reason to hold the person.
        Some(Act::GoodbyeRiskAgain) if memory.answer() == reading::Answer::Yes || memory.now().has(Group::Thanks) => {
            return Some(Act::GoodbyeRiskAgain);
        }
        _ => return None,
    }
    match memory.answer() {
        reading::Answer::No => Some(Act::CrisisCallLine),
        _ if memory.now().words <= 12 => Some(Act::GoodbyeRiskAgain),
        _ => None,
    }
}

/// Returns the exercise that an act belongs to.
fn exercise(act: Act) -> Option<Exercise> {
    match act {
        Act::OfferBreath | Act::Panic | Act::BreathLongOne | Act::BreathLongTwo | Act::BreathLongThree => {
            Some(Exercise::BreathLong)
        }
        Act::BreathBoxOne | Act::BreathBoxTwo | Act::BreathBoxThree => Some(Exercise::BreathBox),
        Act::OfferGrounding
        | Act::GroundingOne
        | Act::GroundingTwo
        | Act::GroundingThree
        | Act::GroundingFour
        | Act::GroundingFive => Some(Exercise::Grounding),
        Act::OfferSmallStep | Act::SmallStepOne | Act::SmallStepTwo | Act::SmallStepThree => Some(Exercise::SmallStep),
        Act::OfferReachOut | Act::ReachOutOne | Act::ReachOutTwo | Act::ReachOutThree => Some(Exercise::ReachOut),
        Act::PlanOffer
        | Act::PlanOne
        | Act::PlanTwo
        | Act::PlanThree
        | Act::PlanFour
        | Act::PlanFive
        | Act::PlanSix
        | Act::PlanDone => Some(Exercise::SafetyPlan),
        _ => None,
    }
}

/// Returns `true` if `answer` is one of the companion's steps of a safety plan: the next message belongs to the plan, on
/// any core.
pub fn is_plan_step(answer: &str) -> bool {
    memory::identify(answer).is_some_and(|(act, _)| exercise(act) == Some(Exercise::SafetyPlan))
}

/// Returns `true` if `text` says good-bye for now ("chau", "me voy a dormir", "gotta go").
pub fn takes_leave(text: &str) -> bool {
    ordinary::takes_leave(&Reading::of(text))
}

/// Returns the answer to a question that the companion answers in place of the model ("¿sos una persona?"); `None`
/// where `text` is no such question.
///
/// ```
/// use protocol::Language;
/// use safety::companion::truth;
///
/// assert!(truth("¿sos una persona?", Language::Spanish).is_some());
/// assert_eq!(truth("hoy vi a mi hermana", Language::Spanish), None);
/// ```
pub fn truth(text: &str, language: Language) -> Option<&'static str> {
    if !Reading::of(text).has(Group::Truth) {
        return None;
    }
    let texts = Edition::of(language).texts(Act::Truth);
    texts.get(text.len() % texts.len().max(1)).map(|forms| forms[0])
}
