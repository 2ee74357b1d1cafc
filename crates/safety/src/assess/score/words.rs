//! Words as the model reads them: the same for training and for running.

use crate::assess::normalise::{Boundary, Reading, Token};

/// Rows for parts of words.
pub(crate) const PARTS: usize = 1 << 14;
/// Bits of the number of a row for sequences of letters and words.
pub(crate) const SEQUENCE_BITS: u32 = 18;
/// Most parts of a word that are read.
const MAX_PARTS: usize = 12;
/// Letters of a part.
const PART: usize = 3;
/// Letters of a sequence, besides those of a part.
const LONG_PART: usize = 4;
/// Longest word that is read.
const MAX_LETTERS: usize = 24;
/// Words of fewer letters are keyed by their spelling, others by their letters in any order: most misspellings swap or
/// repeat letters.
const SHORT: usize = 5;
/// Key of every number.
const NUMBER: u32 = 1 << 31;

/// A word of a message.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Word {
    /// Key of its row.
    pub key: u32,
    /// Rows of its parts; the first `parts` are used.
    rows: [u16; MAX_PARTS],
    parts: u8,
    /// Rows of its sequences of letters; the first `sequences` are used.
    long_rows: [u32; 2 * MAX_PARTS],
    sequences: u8,
    /// Boundary before it: 0 none, 1 of a clause, 2 of a sentence; 3 within a quotation.
    pub mark: u8,
    /// A sentence begins with it.
    pub begins: bool,
}

impl Word {
    /// Returns the rows of its parts.
    pub(crate) fn parts(&self) -> &[u16] {
        self.rows.get(..usize::from(self.parts)).unwrap_or_default()
    }
}

impl Word {
    /// Returns the rows of its sequences of letters.
    pub(crate) fn sequences(&self) -> &[u32] {
        self.long_rows.get(..usize::from(self.sequences)).unwrap_or_default()
    }
}

/// Calls `add` with the rows of word `at` and of the sequences of words that end with it.
pub(crate) fn sequences(words: &[Word], at: usize, mut add: impl FnMut(u32)) {
    let Some(word) = words.get(at) else { return };
    word.sequences().iter().for_each(|row| add(*row));
    let mut hash = 0_u64;
    for back in 0..3 {
        let Some(word) = at.checked_sub(back).and_then(|at| words.get(at)) else { return };
        hash = (hash.rotate_left(25) ^ u64::from(word.key)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        add(sequence_row(hash));
    }
}

fn sequence_row(hash: u64) -> u32 {
    u32::try_from(hash >> (64 - SEQUENCE_BITS)).unwrap_or(0)
}

/// Returns the words of a text.
pub(crate) fn words(reading: &Reading) -> Vec<Word> {
    let mut found = Vec::with_capacity(reading.tokens.len());
    let mut last: &[u8] = &[];
    let mut end = u32::MAX;
    let mut at = 0;
    while let Some(token) = reading.tokens.get(at) {
        let folded = reading.word(token);
        at += 1;
        // An abbreviation is several tokens of the same letters.
        if token.end == end && folded == last {
            continue;
        }
        (last, end) = (folded, token.end);
        let mut made = word(folded);
        let behind = reading.tokens.get(at..).unwrap_or_default();
        if let Some(digit) = behind.first()
            && digit.begin == end
            && is_digits(reading.word(digit)) != is_digits(folded)
            && let Some((letters, taken)) = disguised(reading, token, behind)
        {
            made = word(&letters);
            at += taken;
            end = reading.tokens.get(at - 1).map_or(end, |token| token.end);
        }
        made.mark = match token.boundary {
            _ if token.quoted => 3,
            Boundary::None => 0,
            Boundary::Soft => 1,
            Boundary::Hard => 2,
        };
        made.begins = token.boundary == Boundary::Hard;
        found.push(made);
    }
    found
}

fn is_digits(folded: &[u8]) -> bool {
    folded.iter().all(u8::is_ascii_digit)
}

/// Returns the word that `first` and the tokens that touch it make where digits stand for letters (`m4t4r`), and the
/// number of those tokens. Digits before letters alone are an hour or an age (`3am`).
fn disguised(reading: &Reading, first: &Token, behind: &[Token]) -> Option<(Vec<u8>, usize)> {
    let mut letters = reading.word(first).to_vec();
    let mut end = first.end;
    let mut digits_behind = false;
    let mut seen_letters = !is_digits(&letters);
    let mut taken = 0;
    for token in behind.iter().take_while(|token| token.boundary == Boundary::None) {
        let folded = reading.word(token);
        if token.begin != end || letters.len() + folded.len() > MAX_LETTERS {
            break;
        }
        let digits = is_digits(folded);
        digits_behind |= digits && seen_letters;
        seen_letters |= !digits;
        letters.extend_from_slice(folded);
        end = token.end;
        taken += 1;
    }
    let count = letters.iter().filter(|letter| !letter.is_ascii_digit()).count();
    for letter in &mut letters {
        *letter = match *letter {
            b'0' => b'o',
            b'1' => b'i',
            b'3' => b'e',
            b'4' => b'a',
            b'5' => b's',
            b'7' => b't',
            other => other,
        };
    }
    let is_word = digits_behind && count > 0 && !letters.iter().any(u8::is_ascii_digit);
    is_word.then_some((letters, taken))
}

fn word(folded: &[u8]) -> Word {
    if is_digits(folded) {
        return Word { key: NUMBER | number(folded), ..Word::default() };
    }
    let mut letters = [b' '; MAX_LETTERS + 2];
    let length = sound(folded, &mut letters);
    let sounds = letters.get(1..=length).unwrap_or_default();
    let mut word = Word { key: key(sounds), ..Word::default() };
    if length >= SHORT - 1 {
        let framed = letters.get(..length + 2).unwrap_or_default();
        for (row, part) in word.rows.iter_mut().zip(framed.windows(PART)) {
            *row = row_of(part);
            word.parts += 1;
        }
        let long = framed.windows(LONG_PART).take(MAX_PARTS);
        for (row, part) in word.long_rows.iter_mut().zip(framed.windows(PART).take(MAX_PARTS).chain(long)) {
            *row = sequence_row((u64::from(packed(part)) << 8 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            word.sequences += 1;
        }
    }
    word
}

/// Returns the key of a number by its length: hours, ages and doses have one or two digits, years four.
fn number(digits: &[u8]) -> u32 {
    u32::try_from(digits.len().min(5)).unwrap_or(0)
}

/// Writes the sounds of a word from `out[1]` on and returns their number: letters that chats interchange are one,
/// repeated ones are squeezed.
fn sound(folded: &[u8], out: &mut [u8; MAX_LETTERS + 2]) -> usize {
    let mut length = 0;
    let mut last = 0;
    let mut at = 0;
    while let Some(&letter) = folded.get(at) {
        let next = folded.get(at + 1).copied().unwrap_or(0);
        let soft = matches!(next, b'e' | b'i');
        let mut taken = 1;
        let sound = match letter {
            b'c' if next == b'h' => b'c',
            b'c' | b'z' if letter == b'z' || soft => b's',
            b'q' if next == b'u' => {
                taken = 2;
                b'k'
            }
            b'c' | b'q' => b'k',
            b'v' => b'b',
            b'y' => b'i',
            // Silent where a Spanish word begins with it; short English words differ by nothing else.
            b'h' if at == 0 && folded.len() >= SHORT => 0,
            other => other,
        };
        at += taken;
        if sound == 0 || sound == last {
            continue;
        }
        last = sound;
        length += 1;
        if let Some(place) = out.get_mut(length) {
            *place = sound;
        }
        if length == MAX_LETTERS {
            break;
        }
    }
    length
}

fn key(sounds: &[u8]) -> u32 {
    let is_plain = sounds.iter().all(u8::is_ascii_lowercase);
    if sounds.len() < SHORT || !is_plain {
        return sounds.iter().fold(0x811c_9dc5, |hash, byte| add(hash, *byte)) | NUMBER | 1 << 30;
    }
    let letters = sounds.iter().fold(0, |letters, letter| letters | 1 << (letter - b'a'));
    let first = sounds.first().map_or(0, |first| u32::from(first - b'a'));
    letters | first << 26
}

/// FNV-1a, 32 bits.
fn add(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
}

fn row_of(part: &[u8]) -> u16 {
    u16::try_from(packed(part).wrapping_mul(0x9e37_79b1) >> (32 - PARTS.trailing_zeros())).unwrap_or(0)
}

fn packed(part: &[u8]) -> u32 {
    part.iter().fold(0, |packed, byte| packed << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assess::{TABLES, normalise};

    fn keys(text: &str) -> Vec<u32> {
        words(&normalise::reading(&TABLES.lexicon, text)).iter().map(|word| word.key).collect()
    }

    #[test]
    fn misspellings_share_a_key() {
        for (one, other) in [
            ("quise pintoresco", "kise pintorezco"),
            ("CANCIÓN ¿qué?", "cancion que"),
            ("pintoresca", "pintroesca"),
            ("pintoresca", "pinttoresca"),
            ("pintoresca", "p1nt0r3sc4"),
            ("pintoresca", "рintоrеsса"),
        ] {
            assert_eq!(keys(one), keys(other), "{one} {other}");
        }
    }

    #[test]
    fn different_words_have_different_keys() {
        for (one, other) in [("amor", "mora"), ("si", "is"), ("22", "2026"), ("who", "how")] {
            assert_ne!(keys(one), keys(other), "{one} {other}");
        }
    }
}
