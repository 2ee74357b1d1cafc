//! Learned model that judges each sentence of an answer beside the patterns.
//!
//! A convolution over words and their letters scores the rules; a linear model over hashed sequences of words and
//! letters is added to its score of the whole sentence. Both read word by word, so that the end of a sentence costs the
//! same however long it was. `scripts/train-answers` trains it, and writes the file of weights.

use std::sync::LazyLock;

use super::lexer::Event;
use super::table::RULES;

/// Rules that the model knows, in the order of its heads; a number is no matter of words.
pub(super) const NAMES: [&str; 17] = [
    "methods",
    "doses",
    "concealment",
    "death_solution",
    "farewell_note",
    "human",
    "professional",
    "romance",
    "discourage_help",
    "secrecy",
    "exclusivity",
    "diagnosis",
    "medication",
    "promises",
    "contract",
    "minimising",
    "diet",
];
/// Heads: none, then the rules.
const HEADS: usize = 1 + NAMES.len();
/// Numbers that stand for a word.
const WIDTH: usize = 24;
const FILTERS: usize = 48;
/// Words that a filter sees.
const WINDOW: usize = 3;
const HIDDEN: usize = 32;
const POOLED: usize = FILTERS + WIDTH;
/// Rows for letters of words.
const GRAM_ROWS: usize = 1 << 13;
const MAX_GRAMS: usize = 16;
/// Bits of the number of a row for sequences.
const SEQUENCE_BITS: u32 = 18;
/// Words that the convolution reads of a sentence.
const LENGTH: usize = 32;
/// Words of fewer letters are keyed as a whole.
const SHORT: usize = 3;
const MAGIC: &[u8] = b"ANSW";

/// Sentence read so far.
#[derive(Debug)]
pub(super) struct Judge {
    /// Byte at which it begins.
    start: usize,
    words: usize,
    /// Hashes of the last three words.
    last: [Option<u32>; 3],
    /// Sum of the weights of its sequences, and their number.
    sequences: f32,
    count: f32,
    /// Numbers of the last two words; zero before the first.
    before: [[f32; WIDTH]; 2],
    /// Greatest value of each filter so far.
    pooled: [f32; FILTERS],
    /// Sum of the words' numbers.
    sum: [f32; WIDTH],
    /// Words that the convolution read.
    read: f32,
}

/// Words of sentences as the model reads them.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) sentences: Vec<Vec<String>>,
    current: Vec<String>,
    words: usize,
}

impl Words {
    pub(super) fn take(&mut self, event: Event, word: &str) {
        let (kind, end) = match event {
            Event::Word { .. } => (Some(word), None),
            Event::Digits { .. } => (Some(by_length(word)), None),
            Event::Separator(char) => (is_quote(char).then_some("\""), None),
            Event::Clause => ((self.words > 0).then_some(","), None),
            Event::Opening { .. } => (None, Some((false, true))),
            Event::Sentence { question, .. } => (None, Some((question, false))),
            Event::Line { .. } => (None, Some((false, false))),
        };
        self.words += usize::from(matches!(event, Event::Word { .. } | Event::Digits { .. }));
        self.current.extend(kind.map(str::to_owned));
        let Some((question, opening)) = end else { return };
        if self.words > 0 {
            self.current.extend(question.then(|| "?".to_owned()));
            self.sentences.push(std::mem::take(&mut self.current));
            self.words = 0;
        } else if question || opening {
            self.current.clear();
        }
        self.current.extend(opening.then(|| "¿".to_owned()));
    }
}

/// Returns the key of a number by its length.
fn by_length(digits: &str) -> &'static str {
    const NAMES: [&str; 6] = ["#0", "#1", "#2", "#3", "#4", "#5"];
    NAMES.get(digits.len()).copied().unwrap_or("#5")
}

fn is_quote(char: char) -> bool {
    matches!(char, '"' | '«' | '»' | '“' | '”')
}

/// Verdict of the model on a sentence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Verdict {
    /// It breaks this rule, by its index in the data.
    pub(super) rule: Option<usize>,
    /// It is harmless, so that a match of most rules is doubted.
    pub(super) harmless: bool,
    /// It is so clearly harmless that a match of a grave rule is doubted too.
    pub(super) clearly_harmless: bool,
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            start: 0,
            words: 0,
            last: [Some(hash(b"^")), None, None],
            sequences: 0.0,
            count: 0.0,
            before: [[0.0; WIDTH]; 2],
            pooled: [0.0; FILTERS],
            sum: [0.0; WIDTH],
            read: 0.0,
        }
    }
}

impl Judge {
    pub(super) fn word(&mut self, word: &str, start: usize) {
        if self.words == 0 && self.read == 0.0 {
            self.start = start;
        }
        self.words += 1;
        self.token(word.as_bytes());
    }

    pub(super) fn number(&mut self, digits: &str, start: usize) {
        self.word(by_length(digits), start);
    }

    /// Takes a comma or a colon.
    pub(super) fn clause(&mut self) {
        if self.words > 0 {
            self.token(b",");
        }
    }

    pub(super) fn quote(&mut self, at: usize) {
        if self.read == 0.0 {
            self.start = at;
        }
        self.token(b"\"");
    }

    /// Takes the end of a sentence, and begins the next. Returns the byte at which it began, and the verdict on it;
    /// `opening`: it ends at `¿`, which begins a question.
    pub(super) fn end(&mut self, question: bool, opening: bool) -> Option<(usize, Verdict)> {
        let said = (self.words > 0).then(|| {
            if question {
                self.token(b"?");
            }
            (self.start, self.verdict())
        });
        if said.is_some() || opening || question {
            *self = Self::default();
        }
        if opening {
            self.token("¿".as_bytes());
        }
        said
    }

    /// Returns the verdict on the sentence so far.
    pub(super) fn verdict(&self) -> Verdict {
        let (rule, score) = self.score();
        let model = &*MODEL;
        let threshold = model.thresholds.get(rule).copied().unwrap_or(f32::MAX);
        Verdict {
            rule: (score > threshold).then(|| model.rules.get(rule).copied()).flatten(),
            harmless: score < model.harmless,
            clearly_harmless: score < model.clearly_harmless,
        }
    }

    fn token(&mut self, token: &[u8]) {
        let model = &*MODEL;
        let known = hash(token);
        self.sequence(model, token, known);
        if self.read < LENGTH_F32 {
            self.convolve(model, token, known);
        }
    }

    /// Adds the sequences that end with a token.
    fn sequence(&mut self, model: &Model, token: &[u8], known: u32) {
        let mut add = |row: u64| {
            self.sequences += model.sequence(row);
            self.count += 1.0;
        };
        let [last, second, third] = self.last;
        add(mix(&[1, known]));
        if let Some(last) = last {
            add(mix(&[2, last, known]));
            if let Some(second) = second {
                add(mix(&[3, second, last, known]));
                add(mix(&[4, second, known]));
            }
        }
        if let Some(third) = third {
            add(mix(&[5, third, known]));
        }
        self.last = [Some(known), last, second];
        letters(token, &[3, 4, 5], |part| add(mix(&[6, part])));
    }

    fn convolve(&mut self, model: &Model, token: &[u8], known: u32) {
        let word = model.numbers(token, known);
        if self.read > 0.0 {
            let [older, newer] = &self.before;
            let seen = model.filters([older, newer, &word]);
            keep_greatest(&mut self.pooled, &seen);
        }
        for (sum, number) in self.sum.iter_mut().zip(word) {
            *sum += number;
        }
        self.before = [self.before[1], word];
        self.read += 1.0;
    }

    /// Head of the likeliest rule, and how much speaks for any.
    fn score(&self) -> (usize, f32) {
        let model = &*MODEL;
        let [older, newer] = &self.before;
        let mut pooled = self.pooled;
        // The last word's filters see nothing behind it.
        keep_greatest(&mut pooled, &model.filters([older, newer, &[0.0; WIDTH]]));
        let mut input = [0.0; POOLED];
        let scale = self.read.max(1.0).sqrt();
        let mean = self.sum.iter().map(|sum| sum / scale);
        for (place, value) in input.iter_mut().zip(pooled.into_iter().chain(mean)) {
            *place = value;
        }
        let heads = model.heads(&input);
        let (none, rules) = heads.split_first().unwrap_or((&0.0, &[]));
        let (best, most) = rules
            .iter()
            .enumerate()
            .fold((0, f32::MIN), |best, (rule, value)| if *value > best.1 { (rule, *value) } else { best });
        let any = most + rules.iter().map(|value| (value - most).exp()).sum::<f32>().ln();
        (best, any - none + model.mix * self.sequence_score(model))
    }

    fn sequence_score(&self, model: &Model) -> f32 {
        let mut end = Self { last: self.last, sequences: self.sequences, count: self.count, ..Self::default() };
        end.sequence(model, b"$", hash(b"$"));
        end.sequences / (end.count + 4.0).sqrt() + model.bias
    }
}

#[expect(clippy::cast_precision_loss, reason = "a small constant")]
const LENGTH_F32: f32 = LENGTH as f32;

fn keep_greatest(pooled: &mut [f32; FILTERS], seen: &[f32; FILTERS]) {
    for (most, value) in pooled.iter_mut().zip(seen) {
        *most = most.max(*value);
    }
}

/// FNV-1a, 32 bits.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn mix(parts: &[u32]) -> u64 {
    parts
        .iter()
        .fold(0, |hash: u64, part| (hash.rotate_left(25) ^ u64::from(*part)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Calls `add` with the hashes of the sequences of letters of a word, by length, then from its beginning.
fn letters(token: &[u8], lengths: &[usize], mut add: impl FnMut(u32)) {
    if token.len() <= SHORT || !token.iter().all(u8::is_ascii_lowercase) {
        return;
    }
    let mut framed = [b'>'; 64];
    let Some(place) = framed.get_mut(1..=token.len()) else { return };
    place.copy_from_slice(token);
    framed[0] = b'<';
    let framed = framed.get(..token.len() + 2).unwrap_or_default();
    for length in lengths {
        framed.windows(*length).for_each(|part| add(hash(part)));
    }
}

/// Weights, as the file holds them.
#[derive(Debug)]
struct Model {
    /// Scores from which a sentence breaks each rule.
    thresholds: Vec<f32>,
    /// Index of each head's rule in the data.
    rules: Vec<usize>,
    /// Below, a sentence is harmless, and clearly harmless.
    harmless: f32,
    clearly_harmless: f32,
    /// Weight of the sequences.
    mix: f32,
    bias: f32,
    filters: Vec<f32>,
    filter_bias: Vec<f32>,
    hidden: Vec<f32>,
    hidden_bias: Vec<f32>,
    out: Vec<f32>,
    out_bias: Vec<f32>,
    /// Hashes of the vocabulary, sorted.
    words: Vec<u32>,
    word_rows: Table,
    gram_rows: Table,
    sequences: Table,
}

/// Numbers of eight bits, with their scale.
#[derive(Debug)]
struct Table {
    scale: f32,
    values: &'static [u8],
}

static FILE: LazyLock<Vec<u8>> =
    LazyLock::new(|| crate::inflate(include_bytes!(concat!(env!("OUT_DIR"), "/answers.weights.deflate"))));

static MODEL: LazyLock<Model> = LazyLock::new(|| Model::read(&FILE).expect("a test reads the file"));

/// Reads the weights.
pub(super) fn prepare() {
    LazyLock::force(&MODEL);
}

impl Model {
    fn read(file: &'static [u8]) -> Option<Self> {
        let mut rest = file.strip_prefix(MAGIC)?;
        let words = usize::try_from(u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?)).ok()?;
        let rest = &mut rest;
        let thresholds = floats(rest, NAMES.len())?;
        let [harmless, clearly_harmless, mix, bias] = floats(rest, 4)?[..] else { return None };
        let rules = NAMES.iter().map(|name| RULES.iter().position(|rule| rule.id == *name)).collect::<Option<_>>()?;
        let model = Self {
            thresholds,
            rules,
            harmless,
            clearly_harmless,
            mix,
            bias,
            filters: floats(rest, WINDOW * WIDTH * FILTERS)?,
            filter_bias: floats(rest, FILTERS)?,
            hidden: floats(rest, POOLED * HIDDEN)?,
            hidden_bias: floats(rest, HIDDEN)?,
            out: floats(rest, HIDDEN * HEADS)?,
            out_bias: floats(rest, HEADS)?,
            words: take(rest, words * 4)?.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
            word_rows: table(rest, words * WIDTH)?,
            gram_rows: table(rest, GRAM_ROWS * WIDTH)?,
            sequences: table(rest, 1 << SEQUENCE_BITS)?,
        };
        rest.is_empty().then_some(model)
    }

    fn sequence(&self, row: u64) -> f32 {
        let row = usize::try_from(row >> (u64::BITS - SEQUENCE_BITS)).unwrap_or_default();
        self.sequences.values.get(row).map_or(0.0, |value| f32::from(value.cast_signed())) * self.sequences.scale
    }

    /// Numbers that stand for a word: its own, and those of its letters.
    fn numbers(&self, token: &[u8], known: u32) -> [f32; WIDTH] {
        let mut sum = [0.0; WIDTH];
        let mut count = 0;
        letters(token, &[3, 4], |part| {
            if count < MAX_GRAMS {
                count += 1;
                let row = usize::try_from(part).unwrap_or_default() % GRAM_ROWS;
                self.gram_rows.add(row, 1.0, &mut sum);
            }
        });
        let scale = f32::from(u8::try_from(count.max(1)).unwrap_or(1)).sqrt();
        sum.iter_mut().for_each(|number| *number /= scale);
        if let Ok(row) = self.words.binary_search(&known) {
            self.word_rows.add(row, 1.0, &mut sum);
        }
        sum
    }

    fn filters(&self, words: [&[f32; WIDTH]; WINDOW]) -> [f32; FILTERS] {
        let mut out = [0.0; FILTERS];
        layer(words.into_iter().flatten(), &self.filters, &self.filter_bias, &mut out);
        out
    }

    fn heads(&self, input: &[f32; POOLED]) -> [f32; HEADS] {
        let mut hidden = [0.0; HIDDEN];
        layer(input.iter(), &self.hidden, &self.hidden_bias, &mut hidden);
        hidden.iter_mut().for_each(|value| *value = value.max(0.0));
        let mut out = [0.0; HEADS];
        layer(hidden.iter(), &self.out, &self.out_bias, &mut out);
        out
    }
}

impl Table {
    fn add(&self, row: usize, factor: f32, sum: &mut [f32; WIDTH]) {
        let values = self.values.get(row * WIDTH..(row + 1) * WIDTH).unwrap_or_default();
        for (number, value) in sum.iter_mut().zip(values) {
            *number += f32::from(value.cast_signed()) * self.scale * factor;
        }
    }
}

/// `out = input · weights + bias`, weights by rows of the input.
fn layer<'a, const N: usize>(input: impl Iterator<Item = &'a f32>, weights: &[f32], bias: &[f32], out: &mut [f32; N]) {
    for (place, value) in out.iter_mut().zip(bias) {
        *place = *value;
    }
    let (rows, _) = weights.as_chunks::<N>();
    for (value, row) in input.zip(rows) {
        for (place, weight) in out.iter_mut().zip(row) {
            *place += value * weight;
        }
    }
}

fn take(rest: &mut &'static [u8], count: usize) -> Option<&'static [u8]> {
    let (taken, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    Some(taken)
}

fn floats(rest: &mut &'static [u8], count: usize) -> Option<Vec<f32>> {
    let (chunks, _) = take(rest, count * 4)?.as_chunks();
    Some(chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn table(rest: &mut &'static [u8], count: usize) -> Option<Table> {
    let scale = *floats(rest, 1)?.first()?;
    Some(Table { scale, values: take(rest, count)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_file_loads() {
        assert!(Model::read(&FILE).is_some());
        for length in [0, 4, 40, FILE.len() - 1] {
            assert!(Model::read(FILE.get(..length).unwrap_or_default()).is_none(), "{length}");
        }
    }
}
