//! Looks words up: as written, by sound, by beginning, with one typo, and without spaces.

use super::sound::sound;
use super::tables::{Hasher, Index, Lexicon, Symbol, hash};

/// Longest word that is looked at closely.
const LONGEST_WORD: usize = 32;
/// Longest piece of a text without spaces.
const LONGEST_PIECE: usize = 16;
/// Longest text without spaces that is taken apart.
const LONGEST_RUN: usize = 256;
/// Longest such text whose pieces are also looked up by sound.
const LONGEST_BY_SOUND: usize = 64;

/// Number of the empty set of symbols.
pub(crate) const NO_SYMBOLS: u32 = 0;

impl Index {
    fn get(&self, hash: u64) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = usize::try_from(hash).unwrap_or(0) & mask;
        loop {
            match self.slots.get(at)? {
                (0, _) => return None,
                (found, value) if *found == hash => return Some(*value),
                _ => at = (at + 1) & mask,
            }
        }
    }
}

impl Lexicon {
    pub(crate) fn symbols(&self, set: u32) -> &[Symbol] {
        usize::try_from(set).ok().and_then(|set| self.sets.get(set)).map_or(&[], Vec::as_slice)
    }

    /// Returns the symbols of `set` as bits, see `State::next`.
    pub(crate) fn mask(&self, set: u32) -> u128 {
        usize::try_from(set).ok().and_then(|set| self.masks.get(set)).copied().unwrap_or(0)
    }

    pub(crate) fn is_strong(&self, set: u32) -> bool {
        usize::try_from(set).ok().and_then(|set| self.strong.get(set)).copied().unwrap_or(false)
    }

    /// Returns the set of a word as written.
    pub(crate) fn exact(&self, word: &[u8]) -> Option<u32> {
        self.exact.get(hash(word))
    }

    /// Returns the sets of the words that `word` abbreviates (`xq`).
    pub(crate) fn expansion(&self, word: &[u8]) -> Option<&[u32]> {
        let number = self.several.get(hash(word))?;
        usize::try_from(number).ok().and_then(|number| self.expansions.get(number)).map(Vec::as_slice)
    }

    /// Returns the set of a word, however it is spelt.
    pub(crate) fn look_up(&self, word: &[u8]) -> Option<u32> {
        self.exact(word).or_else(|| self.respelt(word))
    }

    /// Returns the set of a word that is not written as in the data.
    fn respelt(&self, word: &[u8]) -> Option<u32> {
        if word.len() < 3 || word.len() > LONGEST_WORD {
            return None;
        }
        let mut key = Vec::with_capacity(LONGEST_WORD);
        sound(word, &mut key);
        self.sounds.get(hash(&key)).or_else(|| self.by_beginning(&key)).or_else(|| self.misspelt(word))
    }

    fn by_beginning(&self, key: &[u8]) -> Option<u32> {
        let shortest = usize::from(self.shortest_prefix);
        let mut hasher = Hasher::default();
        let mut found = None;
        for (at, sound) in key.iter().take(usize::from(self.longest_prefix)).enumerate() {
            hasher = hasher.with(*sound);
            if at + 1 >= shortest {
                found = self.prefixes.get(hasher.value()).or(found);
            }
        }
        found
    }

    /// Returns the set of the word from which `word` differs by one typo, rather of a risk word.
    fn misspelt(&self, word: &[u8]) -> Option<u32> {
        if word.len() < 4 || word.len() > 20 {
            return None;
        }
        let near = |key: u64| {
            let begin = if !self.may_be_misspelt(key) {
                self.deletions.len()
            } else {
                self.deletions.partition_point(|(hash, _)| *hash < key)
            };
            let found =
                self.deletions.get(begin..).unwrap_or_default().iter().take_while(move |(hash, _)| *hash == key);
            found.filter_map(|(_, number)| self.misspelt.get(usize::from(*number)))
        };
        let mut best = None;
        let mut before = Hasher::default();
        for left_out in 0..=word.len() {
            let rest = word.get(left_out + 1..).unwrap_or_default();
            let hash = rest.iter().fold(before, |hasher, byte| hasher.with(*byte)).value();
            before = word.get(left_out).map_or(before, |byte| before.with(*byte));
            for (form, set) in near(hash) {
                if !is_one_typo(word, form.as_bytes()) {
                    continue;
                }
                if self.is_strong(*set) {
                    return Some(*set);
                }
                best = best.or(Some(*set));
            }
        }
        best
    }

    fn may_be_misspelt(&self, key: u64) -> bool {
        let bits = self.deletion_bits.len() * 64;
        let bit = usize::try_from(key).unwrap_or(0).checked_rem(bits).unwrap_or(0);
        self.deletion_bits.get(bit / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0)
    }

    /// Returns the set of the word that `word` is, where `*` stands for a hidden letter.
    pub(crate) fn masked(&self, word: &[u8]) -> Option<u32> {
        let fits = |form: &str| {
            form.len() == word.len() && form.bytes().zip(word).all(|(byte, shown)| *shown == b'*' || *shown == byte)
        };
        self.misspelt.iter().find(|(form, set)| fits(form) && self.is_strong(*set)).map(|(_, set)| *set)
    }

    /// Takes a text without spaces apart: ends and sets of the fewest known words that make it up, of a
    /// very long text those of its beginning. One of them must be of a risk class.
    pub(crate) fn segments(&self, text: &[u8]) -> Option<Vec<(usize, u32)>> {
        let text = text.get(..LONGEST_RUN).unwrap_or(text);
        let mut best = vec![Step::default(); text.len() + 1];
        self.segments_of(text, &mut best, |begin, step| self.pieces(text, begin, step)).or_else(|| {
            if text.len() > LONGEST_BY_SOUND {
                return None;
            }
            best.fill(Step::default());
            let mut key = Vec::with_capacity(LONGEST_PIECE);
            self.segments_of(text, &mut best, |begin, step| self.pieces_by_sound(text, begin, &mut key, step))
        })
    }

    /// Finds the best way to each place of `text`; `pieces` calls back with length and set of each word at a place.
    fn segments_of(
        &self,
        text: &[u8],
        best: &mut [Step],
        mut pieces: impl FnMut(usize, &mut dyn FnMut(usize, u32)),
    ) -> Option<Vec<(usize, u32)>> {
        for begin in 0..text.len() {
            let so_far = best.get(begin).map_or(0, |step| step.cost);
            if begin > 0 && so_far == 0 {
                continue;
            }
            pieces(begin, &mut |length, set| {
                let cost = so_far + cost(length);
                if let Some(slot) = best.get_mut(begin + length)
                    && (slot.cost == 0 || cost < slot.cost)
                {
                    *slot = Step { cost, begin, set };
                }
            });
        }
        let end = if text.len() < LONGEST_RUN { text.len() } else { best.iter().rposition(|step| step.cost > 0)? };
        self.trace_back(best, end)
    }

    fn pieces(&self, text: &[u8], begin: usize, step: &mut dyn FnMut(usize, u32)) {
        let mut hasher = Hasher::default();
        for (at, byte) in text.iter().skip(begin).take(LONGEST_PIECE).enumerate() {
            hasher = hasher.with(*byte);
            if may_be_piece(at + 1, *byte)
                && let Some(set) = self.exact.get(hasher.value())
            {
                step(at + 1, set);
            }
        }
    }

    fn pieces_by_sound(&self, text: &[u8], begin: usize, key: &mut Vec<u8>, step: &mut dyn FnMut(usize, u32)) {
        let mut hasher = Hasher::default();
        let piece = text.get(begin..).unwrap_or_default();
        for (at, byte) in piece.iter().take(LONGEST_PIECE).enumerate() {
            hasher = hasher.with(*byte);
            if !may_be_piece(at + 1, *byte) {
                continue;
            }
            let by_sound = || {
                key.clear();
                sound(piece.get(..=at)?, key);
                self.sounds.get(hash(key))
            };
            if let Some(set) = self.exact.get(hasher.value()).or_else(|| (at >= 3).then(by_sound).flatten()) {
                step(at + 1, set);
            }
        }
    }

    fn trace_back(&self, best: &[Step], mut end: usize) -> Option<Vec<(usize, u32)>> {
        let is_strong = |step: &Step| self.is_strong(step.set);
        let way = |end: usize| best.get(end).filter(|step| step.cost > 0);
        let (mut place, mut strong) = (end, false);
        while place > 0 {
            let step = way(place)?;
            strong |= is_strong(step);
            place = step.begin;
        }
        if !strong {
            return None;
        }
        let mut pieces = Vec::new();
        while end > 0 {
            let step = way(end)?;
            pieces.push((end, step.set));
            end = step.begin;
        }
        pieces.reverse();
        Some(pieces)
    }
}

/// Tells whether a word of so many letters that ends with `last` may be a piece: of one letter, few are.
fn may_be_piece(length: usize, last: u8) -> bool {
    length > 1 || matches!(last, b'y' | b'a' | b'o' | b'i')
}

/// The best way to a place of a text without spaces.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    /// Zero for no way.
    cost: u32,
    begin: usize,
    set: u32,
}

/// Short pieces cost more: a text of them is likely to be another word.
fn cost(length: usize) -> u32 {
    match length {
        0 | 1 => 4,
        2 => 4,
        3 => 3,
        _ => 2,
    }
}

/// Tells whether one letter more, less, changed or swapped with the next makes `a` of `b`.
fn is_one_typo(a: &[u8], b: &[u8]) -> bool {
    let ahead = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (a.get(ahead..).unwrap_or_default(), b.get(ahead..).unwrap_or_default());
    match (a, b) {
        ([], []) => true,
        ([_, rest @ ..], other) if rest == other => true,
        (other, [_, rest @ ..]) if rest == other => true,
        ([_, a @ ..], [_, b @ ..]) if a == b => true,
        ([a0, a1, a @ ..], [b0, b1, b @ ..]) => a0 == b1 && a1 == b0 && a == b,
        _ => false,
    }
}
