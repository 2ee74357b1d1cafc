//! The safety plan, in the person's own words.

use protocol::server_frame::{PlanStep, SafetyPlan};
use protocol::{Language, UserText};

use super::data::{Act, Edition, Group};
use super::memory::Memory;
use super::ordinary;
use super::reading::{Answer, Reading};
use super::{Turn, Utterance};

/// Characters kept of a step, so that a plan fits one line of the wire however it is escaped.
pub const MAX_STEP_CHARS: usize = 4_000;

const STEPS: [Act; 6] = [Act::PlanOne, Act::PlanTwo, Act::PlanThree, Act::PlanFour, Act::PlanFive, Act::PlanSix];

/// Reads the safety plan (Stanley and Brown) out of a conversation, entry by entry.
#[derive(Debug, Default)]
pub struct PlanReader {
    words: [Option<String>; 6],
    /// Number of the step that the last answer asks for.
    step: Option<usize>,
}

impl PlanReader {
    /// Reads the next entry. The last answer to a step counts; messages sent in a row are one.
    pub fn read(&mut self, said: &Utterance<'_>) {
        if !said.by_person {
            self.step = step_of(said);
        }
        let Some(words) = self.step.and_then(|step| self.words.get_mut(step)) else { return };
        if !said.by_person {
            *words = None;
        } else if is_content(said.text) {
            add(words.get_or_insert_default(), said.text);
        }
    }

    /// Returns the plan with headings in `language`, as far as it was filled in; `None` where no step was answered.
    pub fn plan(self, language: Language) -> Option<SafetyPlan> {
        let edition = Edition::of(language);
        let filled = edition.plan_headings.into_iter().zip(self.words);
        let steps: Vec<_> = filled
            .filter_map(|(heading, words)| Some(PlanStep { heading: heading.to_owned(), text: UserText::new(words?) }))
            .collect();
        let (title, footer) = (edition.plan_title.to_owned(), edition.plan_footer.to_owned());
        (!steps.is_empty()).then_some(SafetyPlan { title, steps, footer })
    }
}

/// Adds a message to the words of a step, as one line.
fn add(words: &mut String, text: &str) {
    let room = MAX_STEP_CHARS.saturating_sub(words.chars().count());
    let joint = if words.is_empty() { "" } else { "; " };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let more = format!("{joint}{line}");
    if more.chars().count() <= room {
        words.push_str(&more);
    } else if 0 < room {
        words.extend(more.chars().take(room - 1));
        words.push('…');
    }
}

/// Returns the number of the step that an answer asks for.
fn step_of(said: &Utterance<'_>) -> Option<usize> {
    let history = [*said];
    let turn = Turn { history: &history, ..Turn::new(Language::Spanish) };
    let before = Memory::of(&turn).before()?;
    STEPS.iter().position(|act| *act == before)
}

/// Returns `true` if a message fills a step in, and does not refuse it. "No" alone does not, "no duermo" does.
fn is_content(text: &str) -> bool {
    let reading = Reading::of(text);
    let empty = match reading.answer() {
        Answer::Refused => true,
        Answer::Yes => reading.words <= 1,
        Answer::Unsure => reading.words <= 4,
        Answer::No | Answer::Other => {
            ordinary::takes_leave(&reading)
                || reading.opens_with(Group::Thanks) && reading.words <= 3
                || reading.has(Group::Deny)
                || reading.wants_to_stop()
                || reading.opens_with(Group::Nothing) && reading.words <= 5
        }
    };
    reading.words > 0 && !empty
}
