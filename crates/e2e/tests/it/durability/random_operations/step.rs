//! Steps of the property test, with their messages and answers.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use testkit::llm::Answer;

/// Characters per delta, and milliseconds between two.
const PIECE_CHARS: usize = 7;
const GAP_MS: u64 = 5;

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Advances the clock by milliseconds.
    Wait(u64),
    /// Replaces connection `line` by one that resumes from `since`.
    Resume { line: usize, since: u64 },
    /// Breaks the connection after `bytes` received bytes.
    CutAfter { line: usize, bytes: usize },
    /// Sends message `id`, with another text if `other`; only the first `bytes` if given.
    Send { line: usize, id: usize, other: bool, bytes: Option<usize> },
}

/// Text of message `id`, or another one under the same id.
pub(super) fn text_of(id: usize, other: bool) -> String {
    if other { format!("otra cosa {id} — ¿sí?") } else { format!("mensaje {id} ☂") }
}

/// Model's answer to `said`.
pub(super) fn answer_to(said: &str) -> String {
    format!("Te escucho: «{said}». ñandú 🌱 {}", said.chars().rev().collect::<String>())
}

pub(super) fn scripted_answer(_: u64, said: &str) -> Answer {
    let text: Vec<char> = answer_to(said).chars().collect();
    Answer::pieces(text.chunks(PIECE_CHARS).map(String::from_iter)).paced(GAP_MS, GAP_MS)
}

fn step() -> impl Strategy<Value = Step> {
    let line = || 0_usize..2;
    let say = (line(), 0_usize..5, prop::bool::weighted(0.2), option::weighted(0.3, 0_usize..90));
    prop_oneof![
        3 => (0_u64..40).prop_map(Step::Wait),
        2 => (line(), 0_u64..10).prop_map(|(line, since)| Step::Resume { line, since }),
        3 => (line(), 0_usize..1_500).prop_map(|(line, bytes)| Step::CutAfter { line, bytes }),
        5 => say.prop_map(|(line, id, other, bytes)| Step::Send { line, id, other, bytes }),
    ]
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..24)
}
