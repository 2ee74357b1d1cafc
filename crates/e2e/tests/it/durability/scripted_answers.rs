//! Model answers for fleets of clients.

use testkit::llm::Answer;

/// Characters per delta, and milliseconds between two.
const PIECE: usize = 9;
const GAP_MS: u64 = 3;

/// Answer that differs with each call, in several deltas, so that a repeated answer or a mix of
/// two is detected.
pub(crate) fn scripted_answer(number: u64, said: &str) -> Answer {
    // Earlier unanswered messages precede the last one, separated by blank lines.
    let said = said.rsplit("\n\n").next().unwrap_or_default();
    let text: Vec<char> = format!("{number}. Dijiste «{said}», y te escucho: ñandú, 🌱, 心.").chars().collect();
    Answer::pieces(text.chunks(PIECE).map(String::from_iter)).paced(GAP_MS, GAP_MS)
}
