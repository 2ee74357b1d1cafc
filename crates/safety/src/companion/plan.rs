//! The safety plan, in the person's own words.

use std::fmt::Write as _;

use protocol::Language;

use super::data::{Act, Edition, Group};
use super::memory::Memory;
use super::reading::{Answer, Reading};
use super::{Said, Turn};

const STEPS: [Act; 6] = [Act::PlanOne, Act::PlanTwo, Act::PlanThree, Act::PlanFour, Act::PlanFive, Act::PlanSix];

/// Safety plan (Stanley and Brown), as far as it was filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Title in the person's language.
    pub title: &'static str,
    /// The steps that were answered, in their order.
    pub steps: Vec<PlanStep>,
    /// Closing line: the way to help when the danger grows.
    pub footer: &'static str,
}

/// Step of a [`Plan`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanStep {
    /// Heading in the person's language.
    pub heading: &'static str,
    /// The person's words.
    pub words: String,
}

impl Plan {
    /// Returns the plan as text to keep: a line for the title, two for each step, one for the way to help.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for (number, step) in (1..).zip(&self.steps) {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{number}. {}\n   {}\n", step.heading, step.words);
        }
        let _ = write!(text, "\n{}\n", self.footer);
        text
    }
}

/// Returns the safety plan that a conversation holds; `None` where no step was answered. The last answer to a
/// step counts. `history` may be as long as there is.
pub fn safety_plan(history: &[Said<'_>], language: Language) -> Option<Plan> {
    let edition = Edition::of(language);
    let words = answers(history);
    let steps: Vec<_> = edition
        .plan_headings
        .into_iter()
        .zip(words)
        .filter_map(|(heading, words)| Some(PlanStep { heading, words: words? }))
        .collect();
    (!steps.is_empty()).then_some(Plan { title: edition.plan_title, steps, footer: edition.plan_footer })
}

/// Returns the person's words to each step.
fn answers(history: &[Said<'_>]) -> [Option<String>; 6] {
    let mut words: [Option<String>; 6] = Default::default();
    let mut step = None;
    for said in history {
        if !said.by_person {
            step = step_of(said);
            if let Some(words) = step.and_then(|step: usize| words.get_mut(step)) {
                *words = None;
            }
        } else if let Some(words) = step.and_then(|step| words.get_mut(step)).filter(|_| is_content(said.text)) {
            let line = said.text.split_whitespace().collect::<Vec<_>>().join(" ");
            match words {
                Some(words) => {
                    words.push_str("; ");
                    words.push_str(&line);
                }
                None => *words = Some(line),
            }
        }
    }
    words
}

/// Returns the number of the step that an answer asks for.
fn step_of(said: &Said<'_>) -> Option<usize> {
    let history = [*said];
    let turn = Turn { history: &history, ..Turn::new(Language::Spanish) };
    let before = Memory::of(&turn).before()?;
    STEPS.iter().position(|act| *act == before)
}

/// Tells whether a message fills a step in, and does not refuse it.
fn is_content(text: &str) -> bool {
    let reading = Reading::of(text);
    let empty = matches!(reading.answer(), Answer::Refused | Answer::No)
        || reading.answer() == Answer::Unsure && reading.words <= 4
        || reading.has(Group::Stop);
    reading.words > 0 && !empty
}
