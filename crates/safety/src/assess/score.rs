//! Linear score over hashed n-grams. Rules find, statistics sort: the score raises a message without a finding to
//! concern, and drops findings that are harmless more often than not where the whole message sounds harmless. What
//! rules find in plain words of wish or intent it never touches. Key words first and a linear model behind them is
//! the deployed state of the art (npj Digital Medicine 2023, 10.1038/s41746-023-00951-3).
//!
//! `data/weights.bin` is written by `cargo run --release -p safety --example train`.

use std::sync::LazyLock;

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// Number of weights: 2¹⁶ of one byte each.
pub const WEIGHTS: usize = 1 << 16;
/// Longest n-gram of words.
const WORDS: usize = 3;
/// Length of the n-grams of letters, which a word of its own length also is.
const LETTERS: usize = 4;
/// Fewer words say too little to be raised.
const LEAST_WORDS: usize = 3;
/// More words are read in pieces of so many: a long message must not thin a sentence out.
const PIECE: usize = 30;
/// Most letters that are read: single characters stand for up to eighteen.
const LONGEST: usize = 10_000;

/// The sound of a message, apart from what rules find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sound {
    Harmless,
    Unclear,
    Suspicious,
}

/// Weights of the score, as `data/weights.bin` holds them: bias, threshold and floor in steps of the weights, each as a
/// little-endian `i32`, then the weights.
#[derive(Debug)]
struct Weights {
    bias: i32,
    /// From here on a text sounds suspicious.
    threshold: i32,
    /// Below, it sounds harmless.
    floor: i32,
    weights: &'static [u8],
}

static BUILT_IN: LazyLock<Weights> =
    LazyLock::new(|| Weights::read(include_bytes!("../../data/weights.bin")).expect("a test reads the file"));

impl Weights {
    /// Reads the bytes of a file of weights; `None` if they are damaged.
    fn read(bytes: &'static [u8]) -> Option<Self> {
        let (bias, rest) = bytes.split_first_chunk()?;
        let (threshold, rest) = rest.split_first_chunk()?;
        let (floor, weights) = rest.split_first_chunk()?;
        let [bias, threshold, floor] = [bias, threshold, floor].map(|bytes| i32::from_le_bytes(*bytes));
        (weights.len() == WEIGHTS).then_some(Self { bias, threshold, floor, weights })
    }

    fn sound(&self, words: &[&[char]]) -> Sound {
        let (mut sum, mut count) = (0, 0);
        features(words, |feature| {
            let weight = self.weights.get(usize::from(feature)).copied().unwrap_or(0);
            sum += i32::from(i8::from_le_bytes([weight]));
            count += 1;
        });
        let reaches = |mark: i32| f64::from(sum) >= f64::from(mark - self.bias) * length(count);
        match (reaches(self.threshold), reaches(self.floor)) {
            (true, _) => Sound::Suspicious,
            (false, true) => Sound::Unclear,
            (false, false) => Sound::Harmless,
        }
    }
}

/// Returns how `text` sounds: as its gravest piece does. A few words alone say too little.
pub(super) fn sound(text: &str) -> Sound {
    let letters = letters(text);
    let words = words(&letters);
    if words.len() < LEAST_WORDS {
        return Sound::Unclear;
    }
    words.chunks(PIECE).map(|piece| BUILT_IN.sound(piece)).max().unwrap_or(Sound::Unclear)
}

/// Returns the features of a text that is not long, and 1 over the value of each.
pub fn describe(text: &str) -> (Vec<u16>, f64) {
    let letters = letters(text);
    let mut found = Vec::new();
    features(&words(&letters), |feature| found.push(feature));
    let length = length(found.len());
    (found, length)
}

#[expect(clippy::cast_precision_loss, reason = "a piece has a few hundred features")]
fn length(features: usize) -> f64 {
    (features.max(1) as f64).sqrt()
}

/// Returns a text in lower case, without marks and apostrophes; a blank stands for whatever parts words.
fn letters(text: &str) -> Vec<char> {
    let mut letters = Vec::with_capacity(text.len());
    for written in text.chars() {
        if letters.len() >= LONGEST {
            break;
        }
        match written {
            '\'' | '’' => {}
            ascii if ascii.is_ascii_alphanumeric() => letters.push(ascii.to_ascii_lowercase()),
            ascii if ascii.is_ascii() => letters.push(' '),
            // Marks are dropped, so their order does not matter.
            other => decompose_compatible(other, |part| match part {
                part if is_combining_mark(part) => {}
                part if part.is_alphanumeric() => letters.extend(part.to_lowercase()),
                _ => letters.push(' '),
            }),
        }
    }
    letters
}

fn words(letters: &[char]) -> Vec<&[char]> {
    letters.split(|letter| *letter == ' ').filter(|word| !word.is_empty()).collect()
}

fn features(words: &[&[char]], mut add: impl FnMut(u16)) {
    for at in 0..words.len() {
        let mut hash = Hash::new(b'w');
        for word in words.iter().skip(at).take(WORDS) {
            word.iter().for_each(|letter| hash.add_encoded(*letter));
            hash.add(b' ');
            add(hash.bucket());
        }
    }
    for word in words {
        let framed = word.len() + 2;
        for begin in 0..(framed + 1).saturating_sub(LETTERS) {
            let mut hash = Hash::new(b'l');
            for at in begin..begin + LETTERS {
                hash.add_wide(match at {
                    0 => '<',
                    _ => word.get(at - 1).copied().unwrap_or('>'),
                });
            }
            add(hash.bucket());
        }
    }
}

/// FNV-1a, 32 bits.
#[derive(Clone, Copy)]
struct Hash(u32);

impl Hash {
    const PRIME: u32 = 0x0100_0193;

    fn new(kind: u8) -> Self {
        let mut hash = Self(0x811c_9dc5);
        hash.add(kind);
        hash
    }

    fn add(&mut self, byte: u8) {
        self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(Self::PRIME);
    }

    /// Adds the bytes of a character as UTF-8.
    fn add_encoded(&mut self, letter: char) {
        match u8::try_from(letter) {
            Ok(byte) if byte.is_ascii() => self.add(byte),
            _ => letter.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| self.add(byte)),
        }
    }

    /// Adds a character as four bytes, the lowest first.
    fn add_wide(&mut self, letter: char) {
        const FOUR: u32 = Hash::PRIME.wrapping_pow(4);
        let code = u32::from(letter);
        if code < 256 {
            // Zero bytes only multiply.
            self.0 = (self.0 ^ code).wrapping_mul(FOUR);
        } else {
            code.to_le_bytes().into_iter().for_each(|byte| self.add(byte));
        }
    }

    fn bucket(self) -> u16 {
        let folded = (self.0 >> 16) ^ (self.0 & 0xffff);
        u16::try_from(folded).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_weights_is_whole() {
        assert!(Weights::read(include_bytes!("../../data/weights.bin")).is_some());
        for damaged in [&b""[..], &[0; 12], &[0; 12 + WEIGHTS - 1]] {
            assert!(Weights::read(damaged).is_none());
        }
    }

    #[test]
    fn spelling_does_not_change_features() {
        for (one, other) in [("Canción  DON'T", "cancion dont"), ("¿qué?", "que"), ("a\u{301}b", "ab")] {
            assert_eq!(describe(one).0, describe(other).0, "{one}");
        }
    }
}
