//! What may happen in a talk, and what is said in it.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use testkit::llm::Answer;

/// Characters of a piece of an answer, and milliseconds between two.
const PIECE_CHARS: usize = 7;
const GAP_MS: u64 = 5;

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Time goes by, in milliseconds.
    Wait(u64),
    /// A connection that holds everything up to `since` takes the place of `line`.
    Resume { line: usize, since: u64 },
    /// The connection breaks once so many bytes have come from the server.
    CutAfter { line: usize, bytes: usize },
    /// Sends message `id`, with a text that is not always the same. It breaks after so many `bytes`.
    Say { line: usize, id: usize, other: bool, bytes: Option<usize> },
}

/// The text of message `id`, or another one under the same id.
pub(super) fn text_of(id: usize, other: bool) -> String {
    if other { format!("otra cosa {id} — ¿sí?") } else { format!("mensaje {id} ☂") }
}

/// What the model says to `said`.
pub(super) fn answer_to(said: &str) -> String {
    format!("Te escucho: «{said}». ñandú 🌱 {}", said.chars().rev().collect::<String>())
}

pub(super) fn recite(_: u64, said: &str) -> Answer {
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
        5 => say.prop_map(|(line, id, other, bytes)| Step::Say { line, id, other, bytes }),
    ]
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..24)
}
