//! What the model says to a crowd.

use testkit::llm::Answer;

/// Characters of a piece of an answer, and milliseconds between two.
const PIECE: usize = 9;
const GAP_MS: u64 = 3;

/// What the model says: different with each call, and in pieces, so that an answer which was
/// given twice or put together from two shows.
pub(crate) fn recite(number: u64, said: &str) -> Answer {
    // Earlier messages without an answer stand in front, each with a blank line behind it.
    let said = said.rsplit("\n\n").next().unwrap_or_default();
    let text: Vec<char> = format!("{number}. Dijiste «{said}», y te escucho: ñandú, 🌱, 心.").chars().collect();
    Answer::pieces(text.chunks(PIECE).map(String::from_iter)).paced(GAP_MS, GAP_MS)
}
