//! Weights of the model, and the scores of a piece of a message.

use super::Found;
use super::words::{PARTS, SEQUENCE_BITS, Word, sequences};

/// Outputs of the model, see `score`.
pub(super) const HEADS: usize = 13;
/// Heads that sequences have weights for.
pub(super) const LINEAR: usize = 4;
/// Numbers that stand for a word.
const WIDTH: usize = 24;
/// Words that a filter sees.
const WINDOW: usize = 3;
/// Numbers that a filter sees, in pairs: so the compiler multiplies and adds eight at a time.
const SEEN: usize = WIDTH * WINDOW;
const PAIRS: usize = SEEN / 2;
const FILTERS: usize = 32;
const HIDDEN: usize = 32;
const POOLED: usize = FILTERS + WIDTH;
/// Buckets of the vocabulary, by the highest bits of a key's hash.
const BUCKET_BITS: u32 = 12;
/// Most parts of a word.
const MAX_PARTS: usize = 12;
/// Most atoms of rules.
const ATOMS: usize = 64;
/// Levels of the rules.
const LEVELS: usize = 4;
/// Fractional bits of the fixed-point numbers of words, and of the filters.
const WORD_POINT: u32 = 8;
const FILTER_POINT: u32 = 10;

/// Thresholds of the scores.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thresholds {
    pub concern: f32,
    pub high: f32,
    pub imminent: f32,
    /// Below, it is surely harmless.
    pub harmless: f32,
    pub other: f32,
    /// Below, by sequences alone, the filters are skipped where the rules found nothing.
    pub gate: f32,
    /// Added where the rules found nothing: most messages are no risk.
    pub quiet: f32,
    /// Below, findings in plain words are dropped as well.
    pub sure: f32,
    /// Added where the text is about people in general.
    pub general: f32,
    /// Added for few words.
    pub few: f32,
    /// Scores from which a message that counts anyway is high, or imminent.
    pub as_high: f32,
    pub as_imminent: f32,
}

/// The model as `data/weights.bin` holds it; `scripts/train-safety` writes the file, numbers little-endian.
#[derive(Debug)]
pub(super) struct Network {
    pub thresholds: Thresholds,
    /// Hashes of the vocabulary's keys, sorted, and where each bucket begins.
    hashes: Vec<u32>,
    buckets: Vec<u16>,
    /// Rows of the vocabulary and of parts of words, and the values of their steps in fixed point; those of parts by
    /// the number of parts.
    rows: &'static [u8],
    parts: &'static [u8],
    row_steps: [i16; WIDTH],
    part_steps: Vec<[i16; WIDTH]>,
    marks_before: Vec<[i16; WIDTH]>,
    before_all: [i16; WIDTH],
    filters: Vec<[i16; 2 * FILTERS]>,
    filter_bias: Vec<f32>,
    first: Vec<[f32; HIDDEN]>,
    first_bias: [f32; HIDDEN],
    second: Vec<[f32; HEADS]>,
    second_bias: [f32; HEADS],
    /// Weights of sequences, and the value of one step.
    sequences: &'static [u8],
    sequence_steps: [f32; LINEAR],
    sequence_bias: [f32; LINEAR],
    /// The last layer: for the scores before it, each atom of the person and of others, and the level of the rules.
    last: Vec<[f32; HEADS]>,
    of_atoms: [[[f32; HEADS]; ATOMS]; 2],
    of_levels: Vec<[f32; HEADS]>,
    last_bias: [f32; HEADS],
}

/// Reads a file from its beginning.
struct Bytes(&'static [u8]);

impl Bytes {
    fn take(&mut self, count: usize) -> Option<&'static [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn list<T, const N: usize>(&mut self, count: usize, read: fn([u8; N]) -> T) -> Option<Vec<T>> {
        let bytes = self.take(count.checked_mul(N)?)?;
        Some(bytes.as_chunks::<N>().0.iter().map(|bytes| read(*bytes)).collect())
    }

    fn floats<const N: usize>(&mut self) -> Option<[f32; N]> {
        self.list(N, f32::from_le_bytes)?.try_into().ok()
    }

    fn table<const N: usize>(&mut self, count: usize) -> Option<Vec<[f32; N]>> {
        (0..count).map(|_| self.floats()).collect()
    }

    fn number(&mut self) -> Option<usize> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?).into())
    }

    /// Reads the weights of atoms `names`, in the order of `atoms`.
    fn read_atom_weights(&mut self, names: &[&str], atoms: &[String]) -> Option<[[f32; HEADS]; ATOMS]> {
        let table: Vec<[f32; HEADS]> = self.table(names.len())?;
        let mut found = [[0.0; HEADS]; ATOMS];
        for (weights, atom) in found.iter_mut().zip(atoms) {
            let place = names.iter().position(|name| name == atom);
            *weights = place.and_then(|at| table.get(at)).copied().unwrap_or([0.0; HEADS]);
        }
        Some(found)
    }

    fn steps<const N: usize>(&mut self) -> Option<[i16; N]> {
        self.list(N, i16::from_le_bytes)?.try_into().ok()
    }
}

impl Network {
    /// Reads a file of weights for the given atoms; atoms missing in the file have no weight. `None` if it is damaged.
    pub(super) fn read(file: &'static [u8], atoms: &[String]) -> Option<Self> {
        let mut bytes = Bytes(file);
        let length = bytes.number()?;
        let names: Vec<&str> = str::from_utf8(bytes.take(length)?).ok()?.lines().collect();
        let [concern, high, imminent, harmless, other, gate, quiet, sure, general, few, as_high, as_imminent] =
            bytes.floats()?;
        let count = bytes.number()?;
        let network = Self {
            thresholds: Thresholds {
                concern,
                high,
                imminent,
                harmless,
                other,
                gate,
                quiet,
                sure,
                general,
                few,
                as_high,
                as_imminent,
            },
            buckets: bytes.list((1 << BUCKET_BITS) + 1, u16::from_le_bytes)?,
            hashes: bytes.list(count, u32::from_le_bytes)?,
            rows: bytes.take(count * WIDTH)?,
            parts: bytes.take(PARTS * WIDTH)?,
            row_steps: bytes.steps()?,
            part_steps: (0..=MAX_PARTS).map(|_| bytes.steps()).collect::<Option<_>>()?,
            marks_before: (0..4).map(|_| bytes.steps()).collect::<Option<_>>()?,
            before_all: bytes.steps()?,
            filters: (0..PAIRS).map(|_| bytes.steps()).collect::<Option<_>>()?,
            filter_bias: bytes.list(FILTERS, f32::from_le_bytes)?,
            first: bytes.table(POOLED)?,
            first_bias: bytes.floats()?,
            second: bytes.table(HIDDEN)?,
            second_bias: bytes.floats()?,
            sequences: bytes.take(LINEAR << SEQUENCE_BITS)?,
            sequence_steps: bytes.floats()?,
            sequence_bias: bytes.floats()?,
            last: bytes.table(LINEAR + HEADS)?,
            of_atoms: [bytes.read_atom_weights(&names, atoms)?, bytes.read_atom_weights(&names, atoms)?],
            of_levels: bytes.table(LEVELS)?,
            last_bias: bytes.floats()?,
        };
        bytes.0.is_empty().then_some(network)
    }

    /// Returns the scores of a piece, above zero where it is rather true than not, from those of its sequences.
    pub(super) fn scores(&self, piece: &[Word], sequences: &[f32; LINEAR], found: Found) -> [f32; HEADS] {
        let mut scores = self.last_bias;
        let filtered = self.filtered(piece);
        for (input, row) in sequences.iter().chain(&filtered).zip(&self.last) {
            add(&mut scores, row, *input);
        }
        for (bits, rows) in [found.atoms.own, found.atoms.other].into_iter().zip(&self.of_atoms) {
            let mut left = bits;
            while left != 0 {
                if let Some(row) = usize::try_from(left.trailing_zeros()).ok().and_then(|at| rows.get(at)) {
                    add(&mut scores, row, 1.0);
                }
                left &= left - 1;
            }
        }
        if let Some(row) = self.of_levels.get(found.level as usize) {
            add(&mut scores, row, 1.0);
        }
        scores
    }

    /// Adds the weights of sequences of letters and words: a first idea of a piece.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    pub(super) fn linear(&self, piece: &[Word]) -> [f32; LINEAR] {
        let mut sums = [0_i32; LINEAR];
        let mut count = 0_usize;
        let weights = self.sequences.as_chunks::<LINEAR>().0;
        for at in 0..piece.len() {
            sequences(piece, at, |row| {
                count += 1;
                let row = usize::try_from(row).ok().and_then(|row| weights.get(row)).unwrap_or(&[0; LINEAR]);
                for (sum, weight) in sums.iter_mut().zip(row) {
                    *sum += i32::from(weight.cast_signed());
                }
            });
        }
        let value = 1.0 / (count.max(1) as f32).sqrt();
        let mut scores = self.sequence_bias;
        for ((score, sum), step) in scores.iter_mut().zip(sums).zip(self.sequence_steps) {
            *score += sum as f32 * step * value;
        }
        scores
    }

    /// Runs the filters over the piece, and the layers behind them.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn filtered(&self, piece: &[Word]) -> [f32; HEADS] {
        let mut line = Vec::with_capacity((piece.len() + 2) * WIDTH);
        line.extend(self.before_all);
        let mut sum = [0_i32; WIDTH];
        for word in piece {
            let numbers = self.numbers(word);
            for (sum, number) in sum.iter_mut().zip(numbers) {
                *sum += i32::from(number);
            }
            line.extend(numbers);
        }
        line.extend([0; WIDTH]);
        let mut highest = [0_i32; FILTERS];
        for seen in line.windows(SEEN).step_by(WIDTH) {
            let mut sums = [0_i32; FILTERS];
            for (filter, pair) in self.filters.iter().zip(seen.as_chunks::<2>().0) {
                let [first, second] = pair.map(i32::from);
                for (sum, [one, other]) in sums.iter_mut().zip(filter.as_chunks::<2>().0) {
                    *sum += i32::from(*one) * first + i32::from(*other) * second;
                }
            }
            for (highest, sum) in highest.iter_mut().zip(sums) {
                *highest = sum.max(*highest);
            }
        }
        let one = f32::from(1_u16 << WORD_POINT);
        let step = 1.0 / (one * f32::from(1_u16 << FILTER_POINT));
        let mut hidden = self.first_bias;
        for ((highest, bias), row) in highest.iter().zip(&self.filter_bias).zip(&self.first) {
            add(&mut hidden, row, (*highest as f32 * step + bias).max(0.0));
        }
        let scale = 1.0 / (one * (piece.len().max(1) as f32).sqrt());
        for (sum, row) in sum.iter().zip(self.first.get(FILTERS..).unwrap_or_default()) {
            add(&mut hidden, row, *sum as f32 * scale);
        }
        let mut scores = self.second_bias;
        for (value, row) in hidden.iter().zip(&self.second) {
            add(&mut scores, row, value.max(0.0));
        }
        scores
    }

    /// Returns the numbers that stand for a word, in fixed point.
    fn numbers(&self, word: &Word) -> [i16; WIDTH] {
        let rows = self.rows.as_chunks::<WIDTH>().0;
        let parts = self.parts.as_chunks::<WIDTH>().0;
        let row = self.place(word.key).and_then(|at| rows.get(at)).unwrap_or(&[0; WIDTH]);
        let mut sum = [0_i16; WIDTH];
        for part in word.parts().iter().filter_map(|part| parts.get(usize::from(*part))) {
            for (sum, step) in sum.iter_mut().zip(part) {
                *sum += i16::from(step.cast_signed());
            }
        }
        let none = [0; WIDTH];
        let part_steps = self.part_steps.get(word.parts().len()).unwrap_or(&none);
        let mut numbers = *self.marks_before.get(usize::from(word.mark)).unwrap_or(&none);
        for at in 0..WIDTH {
            let own = mul_high(i16::from(row[at].cast_signed()) << 8, self.row_steps[at]);
            let parts = mul_high(sum[at] << 4, part_steps[at]);
            numbers[at] = numbers[at].saturating_add(own).saturating_add(parts);
        }
        numbers
    }

    /// Returns the place of a key in the vocabulary.
    fn place(&self, key: u32) -> Option<usize> {
        let hash = key.wrapping_mul(0x9e37_79b1);
        let bucket = usize::try_from(hash >> (32 - BUCKET_BITS)).ok()?;
        let begin = usize::from(*self.buckets.get(bucket)?);
        let end = usize::from(*self.buckets.get(bucket + 1)?);
        self.hashes.get(begin..end)?.iter().position(|known| *known == hash).map(|at| begin + at)
    }
}

/// Higher half of a product.
fn mul_high(one: i16, other: i16) -> i16 {
    ((i32::from(one) * i32::from(other)) >> 16) as i16
}

fn add<const N: usize>(sums: &mut [f32; N], row: &[f32; N], times: f32) {
    for (sum, weight) in sums.iter_mut().zip(row) {
        *sum += times * weight;
    }
}
