//! Learned model beside the rules: hashed sequences of letters and words with a weight each, a small network that
//! filters words in threes, and a last layer that weighs both with the findings of the rules.
//!
//! Rules alone miss every fifth grave sentence of people unknown to their authors, and more than half of those without
//! the words of death; so the model may raise a message to any level, not to concern alone, and name subject and kinds
//! where rules found none. It may drop findings of the rules, in plain words only where it is very sure and the message
//! is not short. Texts about people in general (`manner`), such as proverbs, need a higher score.
//!
//! Thresholds are chosen on whole authors that the models have not read (45,700 lines; es, en): high and imminent as at
//! least high 0.62 and 0.60 at 2.5 and 2.5 % false alarms, half of the harmless lines being near misses (rules 0.40 and
//! 0.41 at 5.1 and 7.6 %); imminent as imminent 0.68 and 0.60, concern 0.53 and 0.53. On `sets/test`, looked at once
//! with these weights (November 2026): 0.85 and 0.87 at 4.0 and 3.4 % (rules and the former score 0.76 and 0.81 at 6.4
//! and 9.2 %); imminent 0.88 and 0.89, concern 0.68 and 0.63; earlier weights were chosen with some ten looks at its
//! counts. fortunes-es is raised in 0.46 %.
//!
//! Words are folded (`words`), so spelling changes little; long messages are read in pieces of whole sentences, of
//! which the gravest counts. Arithmetic is integer up to the pooled filters: results are the same everywhere.
//! `data/weights.bin` is written by `scripts/train-safety`.

pub(crate) mod manner;
mod net;
pub(crate) mod words;

use std::sync::LazyLock;

use net::{HEADS, LINEAR, Network};
use words::Word;

use super::TABLES;
use super::decide::Atoms;
use super::normalise::Reading;
use crate::{Kind, Kinds, Level};

/// Score below which plain words in a clause of their own do not count. On the development set, 8 of 15 false alarms
/// of such clauses lie below, and 1 of 341 grave sentences.
const PLAINLY_HARMLESS: f32 = -2.0;
/// Fewer words say little.
const FEW: usize = 4;
/// Most words of a short message.
const SHORT: usize = 6;
/// Most words of a piece: a long message must not thin a sentence out.
const PIECE: usize = 48;
/// Pieces that the network reads, those with the gravest linear scores: more would make long messages slow.
const MAX_PIECES: usize = 4;
/// Heads of the model: at least concern, at least high, imminent, somebody else, then the kinds in their order.
const OTHER: usize = 3;
const FIRST_KIND: usize = 4;

/// Judgement of the model on a message, with the findings of the rules as an input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Level that it argues for.
    pub level: Level,
    /// It argues for no risk.
    pub harmless: bool,
    /// It argues for no risk with a score that may contradict plain words.
    pub surely_harmless: bool,
    /// It argues for no risk with a score that may contradict plain words in a clause of their own.
    pub plainly_harmless: bool,
    /// The message is so short that plain words of the person always count.
    pub short: bool,
    /// Somebody else is at risk.
    pub other: bool,
    pub kinds: Kinds,
}

/// Findings of the rules, as input of the model.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    pub atoms: Atoms,
    pub level: Level,
}

static FILE: LazyLock<Vec<u8>> =
    LazyLock::new(|| crate::inflate(include_bytes!(concat!(env!("OUT_DIR"), "/weights.deflate"))));

static BUILT_IN: LazyLock<Network> =
    LazyLock::new(|| Network::read(&FILE, &TABLES.atoms).expect("a test reads the file"));

/// Most words of a sentence sent in parts. More words are several messages: each has been judged before, so joined they
/// need a higher score.
const PARTS_OF_ONE: usize = 24;
const CAUTION: f32 = 1.5;

/// Judges a message as the gravest of its pieces, which are whole sentences; `None` where it has no words. With
/// `joined`, `text` is several messages read as one.
pub(super) fn judge(text: &str, reading: &Reading, found: Found, joined: bool) -> Option<Judgement> {
    let words = words::words(reading);
    if words.is_empty() {
        return None;
    }
    let network = &*BUILT_IN;
    let is_found = found.level > Level::None || found.atoms.own != 0 || found.atoms.other != 0;
    let caution = if joined && words.len() > PARTS_OF_ONE { CAUTION } else { 0.0 }
        + if is_found { 0.0 } else { network.thresholds.quiet }
        + if manner::is_general(text, reading) { network.thresholds.general } else { 0.0 }
        + if words.len() < FEW { network.thresholds.few } else { 0.0 };
    let short = words.len() <= SHORT;
    let mut sounds: Vec<(&[Word], [f32; LINEAR])> =
        pieces(&words).map(|piece| (piece, network.linear(piece))).collect();
    if sounds.len() > MAX_PIECES {
        sounds.sort_by(|one, other| other.1[0].total_cmp(&one.1[0]));
    }
    let asked = sounds.iter().take(MAX_PIECES).filter(|(_, sound)| is_found || sound[0] >= network.thresholds.gate);
    let scores = asked.map(|(piece, sound)| network.scores(piece, sound, found));
    let gravest = scores.max_by(|one, other| weight(one).total_cmp(&weight(other)));
    Some(gravest.map_or(Judgement { harmless: true, ..Judgement::default() }, |scores| Judgement {
        short,
        ..judgement(network, &scores, caution)
    }))
}

fn weight(scores: &[f32; HEADS]) -> f32 {
    scores.iter().take(OTHER).sum()
}

fn judgement(network: &Network, scores: &[f32; HEADS], caution: f32) -> Judgement {
    let thresholds = &network.thresholds;
    let reaches = |head: usize, threshold: f32| scores.get(head).is_some_and(|score| *score >= threshold);
    let [concern, high, imminent] =
        [thresholds.concern, thresholds.high, thresholds.imminent].map(|threshold| threshold + caution);
    let (is_imminent, is_high) = (reaches(2, imminent), reaches(1, high));
    let level = match is_imminent || is_high || reaches(0, concern) {
        false => Level::None,
        true if is_imminent || reaches(2, thresholds.as_imminent) => Level::Imminent,
        true if is_high || reaches(1, thresholds.as_high) => Level::High,
        true => Level::Concern,
    };
    let of_kind = |kind: &Kind| scores.get(FIRST_KIND + *kind as usize).copied().unwrap_or(f32::MIN);
    let likely = Kind::ALL.into_iter().filter(|kind| of_kind(kind) >= 0.0);
    let likeliest = Kind::ALL.into_iter().max_by(|one, other| of_kind(one).total_cmp(&of_kind(other)));
    let kinds: Kinds = if level == Level::None { Kinds::default() } else { likely.chain(likeliest).collect() };
    Judgement {
        level,
        harmless: !reaches(0, thresholds.harmless),
        surely_harmless: !reaches(0, thresholds.sure),
        plainly_harmless: !reaches(0, PLAINLY_HARMLESS),
        short: false,
        other: reaches(OTHER, thresholds.other),
        kinds,
    }
}

/// Parts a message before sentences, so that pieces are as long as they may be; longer sentences are cut.
fn pieces(words: &[Word]) -> impl Iterator<Item = &[Word]> {
    let mut rest = words;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let cut = match rest.len() {
            0..=PIECE => rest.len(),
            _ => (1..=PIECE).rev().find(|at| rest.get(*at).is_some_and(|word| word.begins)).unwrap_or(PIECE),
        };
        let (piece, behind) = rest.split_at_checked(cut)?;
        rest = behind;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_file_loads() {
        assert!(Network::read(&FILE, &TABLES.atoms).is_some());
        for length in [0, 4, 40, FILE.len() - 1] {
            assert!(Network::read(FILE.get(..length).unwrap_or_default(), &TABLES.atoms).is_none(), "{length}");
        }
    }

    #[test]
    fn pieces_end_at_sentence_boundaries() {
        let mut words = vec![Word::default(); 125];
        for begin in [0, 10, 40, 60, 120] {
            words[begin].begins = true;
        }
        let lengths: Vec<usize> = pieces(&words).map(<[Word]>::len).collect();
        assert_eq!(lengths, [40, 20, 48, 17]);
        assert_eq!(pieces(&[]).count(), 0);
    }
}
