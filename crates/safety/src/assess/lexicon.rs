//! Looks words up: as written, by sound, by beginning, with one typo, and without spaces.

use super::matcher::steps;
use super::sound::{letter_sound, sound};
use super::tables::{BUCKET_BITS, Bits, Hasher, Index, Lexicon, Lists, Symbol, hash, without_letters};

/// Longest word that is looked up by sound or with a typo, in letters.
const MAX_WORD_LETTERS: usize = 32;
/// Longest piece of a text without spaces.
const MAX_PIECE_LETTERS: usize = 16;
/// Longest text without spaces that is taken apart.
const MAX_RUN_LETTERS: usize = 256;
/// Longest such text whose pieces are also looked up by sound.
const MAX_RUN_BY_SOUND: usize = 64;

/// Number of the empty set of symbols.
pub(crate) const NO_SYMBOLS: u32 = 0;

impl<T> Lists<T> {
    pub(crate) fn list(&self, number: usize) -> &[T] {
        let end = |number: usize| self.ends.get(number).and_then(|end| usize::try_from(*end).ok()).unwrap_or(0);
        self.entries.get(number.checked_sub(1).map_or(0, end)..end(number)).unwrap_or_default()
    }
}

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

impl Bits {
    fn may_have(&self, hash: u64) -> bool {
        let (word, bit) = self.place(hash);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }
}

impl Lexicon {
    pub(crate) fn symbols(&self, set: u32) -> &[Symbol] {
        usize::try_from(set).map_or(&[], |set| self.sets.list(set))
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

    /// Returns the set of a word as written with an accent on its last letter.
    pub(crate) fn accented(&self, word: &[u8]) -> Option<u32> {
        let hasher = word.iter().fold(Hasher::default(), |hasher, byte| hasher.with(*byte));
        self.exact.get(hasher.with(b'\'').value())
    }

    /// Returns the set of a word, however it is spelt.
    pub(crate) fn look_up(&self, word: &[u8]) -> Option<u32> {
        self.exact(word).or_else(|| self.respelt(word))
    }

    /// Returns the set of a word that is not written as in the data.
    pub(crate) fn respelt(&self, word: &[u8]) -> Option<u32> {
        if word.len() < 3 || word.len() > MAX_WORD_LETTERS {
            return None;
        }
        let mut key = Vec::with_capacity(MAX_WORD_LETTERS);
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
        let mut best = None;
        let found = without_letters(word, |hash| {
            steps::step();
            for (_, number) in self.deletions_of(hash) {
                let Some((form, set)) = self.misspelt.get(usize::from(*number)) else { continue };
                if !is_one_typo(word, form.as_bytes()) {
                    continue;
                }
                if self.is_strong(*set) {
                    return Some(*set);
                }
                best = best.or(Some(*set));
            }
            None
        });
        found.or(best)
    }

    /// Returns the entries of `deletions` with this hash.
    fn deletions_of(&self, hash: u64) -> impl Iterator<Item = &(u64, u16)> {
        let place = |bucket: usize| {
            self.deletion_buckets.get(bucket).and_then(|place| usize::try_from(*place).ok()).unwrap_or(0)
        };
        let range = if self.deletion_bits.may_have(hash) {
            let bucket = usize::try_from(hash >> (u64::BITS - BUCKET_BITS)).unwrap_or(0);
            place(bucket)..place(bucket + 1)
        } else {
            0..0
        };
        self.deletions.get(range).unwrap_or_default().iter().filter(move |(found, _)| *found == hash)
    }

    /// Returns the set of the word that `word` is, where `*` stands for a hidden letter.
    pub(crate) fn masked(&self, word: &[u8]) -> Option<u32> {
        let fits = |form: &str| form.bytes().zip(word).all(|(byte, shown)| *shown == b'*' || *shown == byte);
        let of_length = self.maskable.get(word.len())?.iter();
        let mut forms = of_length.filter_map(|number| self.misspelt.get(usize::from(*number)));
        forms.find(|(form, _)| fits(form)).map(|(_, set)| *set)
    }

    /// Takes a text without spaces apart: ends and sets of the fewest known words that make it up, of a
    /// very long text those of its beginning. One of them must be of a risk class.
    pub(crate) fn segments(&self, text: &[u8]) -> Option<Vec<(usize, u32)>> {
        let text = text.get(..MAX_RUN_LETTERS).unwrap_or(text);
        // Of its length: most texts are one word, and an array of the greatest length is zeroed for each.
        let mut best = vec![Step::default(); text.len() + 1];
        self.segments_of(text, &mut best, |begin, step| self.pieces(text, begin, step)).or_else(|| {
            if text.len() > MAX_RUN_BY_SOUND {
                return None;
            }
            best.fill(Step::default());
            self.segments_of(text, &mut best, |begin, step| self.pieces_by_sound(text, begin, step))
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
                    *slot = Step { cost, begin: u16::try_from(begin).unwrap_or(0), set };
                }
            });
        }
        let end =
            if text.len() < MAX_RUN_LETTERS { text.len() } else { best.iter().rposition(|step| step.cost > 0)? };
        self.trace_back(best, end)
    }

    fn pieces(&self, text: &[u8], begin: usize, step: &mut dyn FnMut(usize, u32)) {
        let mut hasher = Hasher::default();
        for (at, byte) in text.iter().skip(begin).take(MAX_PIECE_LETTERS).enumerate() {
            steps::step();
            hasher = hasher.with(*byte);
            let hash = hasher.value();
            if !self.exact_beginnings.may_have(hash) {
                return;
            }
            if may_be_piece(at + 1, *byte)
                && let Some(set) = self.exact.get(hash)
            {
                step(at + 1, set);
            }
        }
    }

    fn pieces_by_sound(&self, text: &[u8], begin: usize, step: &mut dyn FnMut(usize, u32)) {
        let mut hasher = Hasher::default();
        let mut sounds = Sounds::default();
        let piece = text.get(begin..).unwrap_or_default();
        let (mut is_written, mut is_sounded) = (true, true);
        for (at, byte) in piece.iter().take(MAX_PIECE_LETTERS).enumerate() {
            steps::step();
            let read = piece.get(..=at).unwrap_or_default();
            hasher = hasher.with(*byte);
            is_written &= self.exact_beginnings.may_have(hasher.value());
            sounds.read(read);
            is_sounded &= sounds.is_empty() || self.sound_beginnings.may_have(sounds.hasher.value());
            if !is_written && !is_sounded {
                return;
            }
            if !may_be_piece(at + 1, *byte) {
                continue;
            }
            let as_written = is_written.then(|| self.exact.get(hasher.value())).flatten();
            let by_sound = || (at >= 3 && is_sounded).then(|| self.sounds.get(sounds.whole(read))).flatten();
            if let Some(set) = as_written.or_else(by_sound) {
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
            place = usize::from(step.begin);
        }
        if !strong {
            return None;
        }
        let mut pieces = Vec::new();
        while end > 0 {
            let step = way(end)?;
            pieces.push((end, step.set));
            end = usize::from(step.begin);
        }
        pieces.reverse();
        Some(pieces)
    }
}

/// Returns `true` if a word of so many letters that ends with `last` may be a piece; few words of one letter may.
fn may_be_piece(length: usize, last: u8) -> bool {
    length > 1 || matches!(last, b'y' | b'a' | b'o' | b'i')
}

/// The best way to a place of a text without spaces.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    /// Zero if no segmentation reaches the place.
    cost: u16,
    begin: u16,
    set: u32,
}

/// The sounds of a word that is read letter by letter, as far as no later letter changes them.
#[derive(Debug, Clone, Copy, Default)]
struct Sounds {
    hasher: Hasher,
    last: u8,
    /// Letters read.
    read: usize,
}

impl Sounds {
    fn is_empty(&self) -> bool {
        self.last == 0
    }

    /// Reads the letters of `word` behind those read, except the last two, whose sound depends on the letters behind
    /// them.
    fn read(&mut self, word: &[u8]) {
        while self.read + 2 < word.len() {
            self.letter(word);
        }
    }

    /// Returns the hash of the sounds of `word`, of which letters have been read.
    fn whole(mut self, word: &[u8]) -> u64 {
        while self.read < word.len() {
            self.letter(word);
        }
        self.hasher.value()
    }

    fn letter(&mut self, word: &[u8]) {
        let letter = |at: usize| word.get(at).copied().unwrap_or(0);
        let (sounds, taken) = letter_sound(letter(self.read), letter(self.read + 1), letter(self.read + 2));
        for sound in sounds {
            if sound != 0 && sound != self.last {
                self.hasher = self.hasher.with(sound);
                self.last = sound;
            }
        }
        self.read += taken;
    }
}

/// Short pieces cost more: a text of them is likely to be another word.
fn cost(length: usize) -> u16 {
    match length {
        0 | 1 => 4,
        2 => 4,
        3 => 3,
        _ => 2,
    }
}

/// Returns `true` if inserting, deleting or changing one letter, or swapping two neighbours, turns `b` into `a`.
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
