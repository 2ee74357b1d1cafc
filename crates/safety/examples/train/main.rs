//! Trains the weights of the linear score from the development set, and writes `data/weights.bin`.
//!
//!     cargo run --release -p safety --example train
//!
//! Logistic regression by `AdaGrad`; the threshold is the one at which, in cross-validation by family, the given
//! share of harmless and sad sentences would be raised. The same sets give the same file.

#![expect(clippy::print_stdout, reason = "a command reports")]

#[path = "../eval/sets.rs"]
#[expect(dead_code, reason = "the evaluation reads more of the sets")]
mod sets;

use std::error::Error;
use std::path::Path;

use safety::Level;
use safety::score::{WEIGHTS, describe};
use sets::Sentence;

const EPOCHS: usize = 25;
const RATE: f64 = 0.1;
const FOLDS: u32 = 5;
/// Share of sentences without risk that may be raised in cross-validation.
const RAISED_WRONGLY: f64 = 0.003;
/// Share of sentences without risk that sound harmless; the others are unclear.
const HARMLESS: f64 = 0.7;
/// Largest weight as stored, in steps of an `i8`.
const LARGEST: f64 = 127.0;

struct Example {
    features: Vec<u16>,
    value: f64,
    is_risk: bool,
    fold: u32,
}

struct Model {
    weights: Vec<f64>,
    bias: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let sentences = sets::sentences(Path::new("crates/safety/sets/dev"));
    let examples: Vec<Example> = sentences.iter().filter_map(example).collect();
    let mut scores: Vec<(f64, bool)> = Vec::new();
    for fold in 0..FOLDS {
        let model = train(examples.iter().filter(|example| example.fold != fold));
        let held = examples.iter().filter(|example| example.fold == fold);
        scores.extend(held.map(|example| (model.score(example), example.is_risk)));
    }
    scores.sort_by(|one, other| other.0.total_cmp(&one.0));
    let threshold = reached_by(RAISED_WRONGLY, &scores);
    let floor = reached_by(1.0 - HARMLESS, &scores);
    let found = scores.iter().filter(|(score, is_risk)| *is_risk && *score >= threshold).count();
    let risk = scores.iter().filter(|(_, is_risk)| *is_risk).count();
    let dropped = scores.iter().filter(|(score, is_risk)| *is_risk && *score < floor).count();
    println!(
        "{} sentences; alone, at {RAISED_WRONGLY} raised wrongly, it finds {found} of {risk}, and {dropped} sound harmless",
        scores.len()
    );
    let model = train(examples.iter());
    std::fs::write("crates/safety/data/weights.bin", model.bytes([threshold, floor]))?;
    Ok(())
}

/// Returns the score that this share of the sentences without risk reaches.
fn reached_by(share: f64, scores: &[(f64, bool)]) -> f64 {
    let harmless: Vec<f64> = scores.iter().filter(|(_, is_risk)| !is_risk).map(|(score, _)| *score).collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
    let allowed = (harmless.len() as f64 * share) as usize;
    harmless.get(allowed).copied().unwrap_or(f64::MAX)
}

fn example(sentence: &Sentence) -> Option<Example> {
    let is_risk = match (sentence.least(), sentence.most()) {
        (Level::None, Level::None) => false,
        (Level::None, _) => return None,
        _ => true,
    };
    let (features, length) = describe(&sentence.text);
    let family = sentence.family.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    Some(Example { features, value: 1.0 / length, is_risk, fold: family % FOLDS })
}

fn train<'a>(examples: impl Iterator<Item = &'a Example>) -> Model {
    let mut examples: Vec<&Example> = examples.collect();
    let mut model = Model { weights: vec![0.0; WEIGHTS], bias: 0.0 };
    let (mut squares, mut bias_squares) = (vec![1e-6; WEIGHTS], 1e-6);
    let mut state = 1_u64;
    for _ in 0..EPOCHS {
        for at in (1..examples.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            examples.swap(at, usize::try_from(state >> 33).unwrap_or_default() % (at + 1));
        }
        for example in &examples {
            let truth = if example.is_risk { 1.0 } else { 0.0 };
            let slope = 1.0 / (1.0 + (-model.score(example)).exp()) - truth;
            let step = slope * example.value;
            for feature in &example.features {
                let at = usize::from(*feature);
                squares[at] += step * step;
                model.weights[at] -= RATE * step / squares[at].sqrt();
            }
            bias_squares += slope * slope;
            model.bias -= RATE * slope / f64::sqrt(bias_squares);
        }
    }
    model
}

impl Model {
    fn score(&self, example: &Example) -> f64 {
        let sum: f64 = example.features.iter().map(|feature| self.weights[usize::from(*feature)]).sum();
        self.bias + sum * example.value
    }

    #[expect(clippy::cast_possible_truncation, reason = "scaled to fit")]
    fn bytes(&self, marks: [f64; 2]) -> Vec<u8> {
        let largest = self.weights.iter().fold(1e-9, |largest: f64, weight| largest.max(weight.abs()));
        // A few large weights would leave the others no steps.
        let step = largest.min(4.0) / LARGEST;
        let rounded = |value: f64| (value / step).round();
        let mut bytes = Vec::with_capacity(WEIGHTS + 12);
        bytes.extend((rounded(self.bias) as i32).to_le_bytes());
        bytes.extend(marks.iter().flat_map(|mark| (rounded(*mark) as i32).to_le_bytes()));
        bytes.extend(
            self.weights.iter().map(|weight| (rounded(*weight).clamp(-LARGEST, LARGEST) as i8).to_le_bytes()[0]),
        );
        bytes
    }
}
