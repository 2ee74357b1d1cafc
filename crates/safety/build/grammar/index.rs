//! The words of the data, as the engine looks them up.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Builder;
use crate::sound::sound;
use crate::tables::{BUCKET_BITS, Bits, Index, Symbol, hash, without_letters};

/// Words of the Bloom filter of misspelt words: 128 KiB.
const DELETION_WORDS: usize = 16_384;
/// Words of the Bloom filter of beginnings of words: 64 KiB.
const BEGINNING_WORDS: usize = 8_192;
/// Longest piece of a text without spaces, see `lexicon`.
const MAX_PIECE_LETTERS: usize = 16;

impl Builder {
    pub(super) fn expand_prefixes(&mut self) {
        let fitting = |word: &str| -> BTreeSet<Symbol> {
            self.prefixes
                .iter()
                .filter(|(prefix, _)| word.starts_with(prefix.as_str()))
                .flat_map(|(_, set)| set.clone())
                .collect()
        };
        let more: Vec<(String, BTreeSet<Symbol>)> =
            self.words.keys().chain(self.prefixes.keys()).map(|word| (word.clone(), fitting(word))).collect();
        for (word, set) in more {
            if let Some(prefix) = self.prefixes.get_mut(&word) {
                prefix.extend(set.clone());
            }
            self.words.entry(word).or_default().extend(set);
        }
    }

    pub(super) fn read_spelling(&mut self, sets: &mut Sets) {
        let mut several = Vec::new();
        for (word, reading) in std::mem::take(&mut self.spelling) {
            let readings: Vec<BTreeSet<Symbol>> =
                reading.split_whitespace().map(|part| self.words.get(part).cloned().unwrap_or_default()).collect();
            if let [single] = readings.as_slice() {
                self.words.entry(word).or_default().extend(single.clone());
            } else {
                let number = u32::try_from(self.tables.lexicon.expansions.len()).unwrap_or(u32::MAX);
                self.tables.lexicon.expansions.push(readings.into_iter().map(|set| sets.number(set)).collect());
                several.push((hash(word.as_bytes()), number));
            }
        }
        self.tables.lexicon.several = index(&several);
    }

    pub(super) fn index_words(&mut self, sets: &mut Sets) {
        let mut exact = Vec::new();
        let mut sounds: BTreeMap<Vec<u8>, BTreeSet<Symbol>> = BTreeMap::new();
        for (word, set) in &self.words {
            exact.push((hash(word.as_bytes()), sets.number(set.clone())));
            if word.len() >= 3 && word.is_ascii() && !word.ends_with('\'') && !set.is_empty() {
                let mut key = Vec::new();
                sound(word.as_bytes(), &mut key);
                sounds.entry(key).or_default().extend(set.iter());
            }
        }
        let numbered: Vec<(u64, u32)> = sounds.iter().map(|(key, set)| (hash(key), sets.number(set.clone()))).collect();
        self.tables.lexicon.exact = index(&exact);
        self.tables.lexicon.exact_beginnings = beginnings(self.words.keys().map(String::as_bytes));
        self.tables.lexicon.sounds = index(&numbered);
        self.tables.lexicon.sound_beginnings = beginnings(sounds.keys().map(Vec::as_slice));
    }

    pub(super) fn index_prefixes(&mut self, sets: &mut Sets) {
        let mut keys: BTreeMap<Vec<u8>, BTreeSet<Symbol>> = BTreeMap::new();
        for (prefix, set) in &self.prefixes {
            let mut key = Vec::new();
            sound(prefix.as_bytes(), &mut key);
            keys.entry(key).or_default().extend(set);
        }
        let lengths = || keys.keys().filter_map(|key| u8::try_from(key.len()).ok());
        self.tables.lexicon.shortest_prefix = lengths().min().unwrap_or(1);
        self.tables.lexicon.longest_prefix = lengths().max().unwrap_or(0);
        let entries: Vec<(u64, u32)> = keys.into_iter().map(|(key, set)| (hash(&key), sets.number(set))).collect();
        self.tables.lexicon.prefixes = index(&entries);
    }

    pub(super) fn index_typos(&mut self, sets: &mut Sets) -> Result<(), String> {
        let lexicon = &mut self.tables.lexicon;
        for (word, set) in &self.words {
            let shortest = if set.iter().any(|symbol| self.fuzzy.contains(symbol)) { 3 } else { 5 };
            if set.is_empty() || word.len() < shortest || !word.is_ascii() || word.ends_with('\'') {
                continue;
            }
            let number = u16::try_from(lexicon.misspelt.len()).map_err(|_| "too many words in fuzzy classes")?;
            lexicon.misspelt.push((word.clone(), sets.number(set.clone())));
            // Short words are only read where a letter is hidden (`d*e`): one typo makes too many of them.
            if word.len() < 5 {
                continue;
            }
            without_letters(word.as_bytes(), |hash| -> Option<()> {
                lexicon.deletions.push((hash, number));
                None
            });
        }
        lexicon.deletions.sort_unstable();
        lexicon.deletions.dedup();
        lexicon.deletion_bits = bits(DELETION_WORDS, lexicon.deletions.iter().map(|(hash, _)| *hash));
        lexicon.deletion_buckets = buckets(&lexicon.deletions);
        Ok(())
    }

    /// Sorts the words whose letters may be hidden by their length.
    pub(super) fn index_masked(&mut self) {
        let lexicon = &mut self.tables.lexicon;
        for ((form, set), number) in lexicon.misspelt.iter().zip(0_u16..) {
            let is_strong = usize::try_from(*set).ok().and_then(|set| lexicon.strong.get(set)) == Some(&true);
            if is_strong {
                if lexicon.maskable.len() <= form.len() {
                    lexicon.maskable.resize(form.len() + 1, Vec::new());
                }
                lexicon.maskable[form.len()].push(number);
            }
        }
    }
}

/// Returns where the bucket of each value of the highest bits begins, and the end of the last.
fn buckets(deletions: &[(u64, u16)]) -> Vec<u32> {
    let place = |bucket: u64| deletions.partition_point(|(hash, _)| hash >> (u64::BITS - BUCKET_BITS) < bucket);
    (0..=1 << BUCKET_BITS).map(|bucket| u32::try_from(place(bucket)).unwrap_or(u32::MAX)).collect()
}

/// Returns the set of `hashes` in so many words.
fn bits(words: usize, hashes: impl Iterator<Item = u64>) -> Bits {
    let mut bits = Bits { words: vec![0; words] };
    for hash in hashes {
        let (word, bit) = bits.place(hash);
        bits.words[word] |= bit;
    }
    bits
}

/// Returns the set of the hashes of every beginning of `words`.
fn beginnings<'a>(words: impl Iterator<Item = &'a [u8]>) -> Bits {
    let hashes = words.flat_map(|word| (1..=word.len().min(MAX_PIECE_LETTERS)).map(|length| hash(&word[..length])));
    bits(BEGINNING_WORDS, hashes)
}

/// Sets of symbols, each once.
#[derive(Default)]
pub(super) struct Sets {
    pub sets: Vec<Vec<Symbol>>,
    numbers: HashMap<Vec<Symbol>, u32>,
}

impl Sets {
    pub(super) fn number(&mut self, set: BTreeSet<Symbol>) -> u32 {
        let set: Vec<Symbol> = set.into_iter().collect();
        *self.numbers.entry(set.clone()).or_insert_with(|| {
            self.sets.push(set);
            u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

/// Hash table with open addressing, at most half full.
fn index(entries: &[(u64, u32)]) -> Index {
    let mut slots = vec![(0, 0); (entries.len() * 2 + 1).next_power_of_two()];
    let mask = slots.len() - 1;
    for &(hash, value) in entries {
        let mut at = usize::try_from(hash).unwrap_or(0) & mask;
        while slots[at].0 != 0 && slots[at].0 != hash {
            at = (at + 1) & mask;
        }
        slots[at] = (hash, value);
    }
    Index { slots }
}
