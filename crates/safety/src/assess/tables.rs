//! Compiled data: made by `build.rs`, read by the engine. Shared by both.

use serde::{Deserialize, Serialize};

/// Number of a class, phrase or literal word.
pub(crate) type Symbol = u16;

/// Every table of the engine.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tables {
    pub lexicon: Lexicon,
    pub automata: Automata,
    pub rules: Vec<Rule>,
    pub idioms: Vec<Idiom>,
    pub frames: Vec<Frame>,
    pub atoms: Vec<String>,
    /// Atoms that the model drops only where it is very sure, as bits.
    pub plain: u64,
    /// Atoms that the model never drops, as bits.
    pub kept: u64,
    pub rows: Vec<Row>,
}

/// Words and their symbols.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Lexicon {
    /// Sets of symbols; set 0 is empty.
    pub sets: Lists<Symbol>,
    /// Words to sets.
    pub exact: Index,
    /// Words to be read as several.
    pub several: Index,
    pub expansions: Vec<Vec<u32>>,
    /// Sounds of words to sets.
    pub sounds: Index,
    /// Beginnings of sounds to sets.
    pub prefixes: Index,
    pub shortest_prefix: u8,
    pub longest_prefix: u8,
    /// Beginnings of the words of `exact`, and of the sounds of `sounds`.
    pub exact_beginnings: Bits,
    pub sound_beginnings: Bits,
    /// Hashes of words with a letter left out to `misspelt`, sorted: see `without_letters`.
    pub deletions: Vec<(u64, u16)>,
    /// Start of the hashes with each value of their highest bits, and the end of all.
    pub deletion_buckets: Vec<u32>,
    /// Bloom filter of the hashes of `deletions`: most words have none.
    pub deletion_bits: Bits,
    /// Words towards which a typo is forgiven, and their sets.
    pub misspelt: Vec<(String, u32)>,
    /// Those of `misspelt` that may be the core of a text without spaces, by their length.
    pub maskable: Vec<Vec<u16>>,
    /// Symbols of the sets, as bits; all bits of those that may begin a filler.
    pub masks: Vec<u128>,
    /// Set of numbers.
    pub number_set: u32,
    /// Sets of words that may be the core of a text without spaces.
    pub strong: Vec<bool>,
    /// Characters that look like Latin letters, sorted.
    pub confusables: Vec<(char, String)>,
}

/// Lists one behind the other: they lie closer together than lists of their own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Lists<T> {
    /// End of each list.
    pub ends: Vec<u32>,
    pub entries: Vec<T>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { ends: Vec::new(), entries: Vec::new() }
    }
}

/// Hash table with open addressing, from hashes of words to numbers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Index {
    /// A power of two of slots; the hash 0 marks a free one.
    pub slots: Vec<(u64, u32)>,
}

/// Hash of a word that is read letter by letter (FNV-1a with a final mix).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hasher(u64);

impl Default for Hasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher {
    #[must_use]
    pub(crate) fn with(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// Returns the hash of the letters so far; never zero.
    pub(crate) fn value(self) -> u64 {
        (self.0 ^ (self.0 >> 32)) | 1 << 63
    }
}

pub(crate) fn hash(word: &[u8]) -> u64 {
    word.iter().fold(Hasher::default(), |hasher, byte| hasher.with(*byte)).value()
}

/// Bloom filter of hashes, one bit each: it has false positives and no false negatives.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Bits {
    /// A power of two of words.
    pub words: Vec<u64>,
}

impl Bits {
    /// Returns the word that holds the bit of `hash`, and the bit.
    pub(crate) fn place(&self, hash: u64) -> (usize, u64) {
        let word = usize::try_from(hash >> 6).unwrap_or(0) & self.words.len().wrapping_sub(1);
        (word, 1 << (hash & 63))
    }
}

/// Highest bits of a hash of `without_letters` that give its bucket.
pub(crate) const BUCKET_BITS: u32 = 16;

/// Calls `each` with the hashes of `word` without each of its letters, and of the whole, until it gives an answer. Letters
/// are digits of a number, so that one can be left out without reading the others again.
pub(crate) fn without_letters<T>(word: &[u8], mut each: impl FnMut(u64) -> Option<T>) -> Option<T> {
    const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
    let digit = |byte: &u8| u64::from(*byte) + 1;
    let mixed = |number: u64| {
        let number = (number ^ (number >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        number ^ (number >> 29)
    };
    let place = |(sum, power): (u64, u64), byte: &u8| {
        (sum.wrapping_add(digit(byte).wrapping_mul(power)), power.wrapping_mul(BASE))
    };
    // Letters before the one left out, and those behind it, a place lower.
    let (mut behind, _) = word.iter().skip(1).fold((0_u64, 1_u64), place);
    let mut before = (0_u64, 1_u64);
    for (at, byte) in word.iter().enumerate() {
        if let Some(found) = each(mixed(before.0.wrapping_add(behind))) {
            return Some(found);
        }
        behind = behind.wrapping_sub(word.get(at + 1).map_or(0, digit).wrapping_mul(before.1));
        before = place(before, byte);
    }
    each(mixed(before.0))
}

/// Position automata of all patterns.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Automata {
    pub states: Vec<State>,
    /// Followers of all states; each state has a range.
    pub follow: Vec<Follower>,
    /// States with many followers, and symbols of words, to the first such follower.
    pub many: Pairs,
    /// Items that end in states; the first list is empty.
    pub accepts: Vec<Vec<Accept>>,
    /// First states by symbol.
    pub starts: Lists<Start>,
    /// Symbol skipped wherever it stands ("la verdad"), by language.
    pub fillers: Vec<Symbol>,
    /// Symbols at which the person turns to themselves, by language.
    pub turns: Vec<Symbol>,
    /// Symbols behind and before which a clause begins and ends ("pero"), by language.
    pub joins: Vec<Symbol>,
}

/// States with more followers of words than these are looked up in `Automata::many`.
pub(crate) const FEW: u16 = 6;

/// Hash table with open addressing, from states and symbols to places.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pairs {
    /// A power of two of slots; those of the key 0 are free.
    pub slots: Vec<(u32, u32)>,
}

impl Pairs {
    /// Returns the key of a state and a symbol, if there is one: it is never 0.
    pub(crate) fn key(state: u32, symbol: Symbol) -> Option<u32> {
        const SYMBOL_BITS: u32 = 14;
        let fits = state < (1 << (u32::BITS - SYMBOL_BITS)) - 1 && u32::from(symbol) < 1 << SYMBOL_BITS;
        fits.then(|| (state + 1) << SYMBOL_BITS | u32::from(symbol))
    }

    /// Returns the slot at which the search for `key` begins.
    pub(crate) fn first(&self, key: u32) -> usize {
        let hash = u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(hash).unwrap_or(0) & self.slots.len().wrapping_sub(1)
    }
}

/// A place in patterns.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// Look-ahead: bits of `ahead` of the tokens that may follow. The state is dead before any other token.
    pub next: u128,
    /// The first of its followers: those that read a word's symbol, sorted by it, then those that read any token or the
    /// end of a clause, then those that read a phrase, sorted by its symbol.
    pub follow: u32,
    pub words: u16,
    pub others: u16,
    pub phrases: u16,
    /// Phrases that may follow, as bits.
    pub phrase_bits: u16,
    /// List of the items that end here, 0 for none.
    pub accept: u16,
    /// It reads any token of the clause.
    pub is_gap: bool,
    /// Some follower is the end of a clause.
    pub awaits_end: bool,
}

/// The end of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Accept {
    pub item: Item,
    /// Anchor at the pattern's end.
    pub at_end: Anchor,
}

/// A place that may come behind another, and how it reads a token.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Follower {
    pub state: u32,
    pub symbol: Symbol,
    pub test: Test,
}

/// A place with which a pattern begins.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Start {
    /// `next` of the state.
    pub next: u128,
    pub state: u32,
    pub at_start: Anchor,
}

/// Look-ahead bits of a token, in `State::next` and `Lexicon::masks`, besides those of its symbols, see `bit`.
pub(crate) mod ahead {
    use super::Symbol;

    /// Bit of a symbol: the five lowest mean something else.
    pub(crate) fn bit(symbol: Symbol) -> u128 {
        1 << (5 + symbol % 123)
    }

    /// No token has it: the state ends something.
    pub(crate) const ENDS: u128 = 1 << 1;
    /// The token may be skipped.
    pub(crate) const FILLS: u128 = 1 << 2;
    /// The token may be skipped together with the next one, if that has `SECOND`.
    pub(crate) const OPENS: u128 = 1 << 3;
    /// The token may be the second of two that are skipped.
    pub(crate) const SECOND: u128 = 1 << 4;
}

/// Bit of a phrase in `State::phrase_bits`.
pub(crate) fn phrase_bit(symbol: Symbol) -> u16 {
    1 << (symbol % 16)
}

/// Anchor of a pattern.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Anchor {
    #[default]
    Nowhere,
    Clause,
    Message,
}

/// Test of a state on a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Test {
    /// The token has the symbol.
    #[default]
    Has,
    /// It has not.
    Not,
    /// A phrase with the symbol ends here.
    Phrase,
    /// Any token of the clause.
    Any,
    /// Any token of the sentence.
    Anything,
    /// No token: the clause ends here.
    End,
}

/// The meaning of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Item {
    Phrase(Symbol),
    Rule(u16),
    Idiom(u16),
    Frame(u16),
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub id: String,
    pub language: u8,
    pub atom: u8,
    /// Bits of `Kind`.
    pub kinds: u16,
    pub other: bool,
    /// Speaks of the past: frames of the past take it for over.
    pub past: bool,
    /// C-SSRS item, 0 for none.
    pub cssrs: u8,
    /// Narrow: the model never drops its findings.
    pub sure: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Idiom {
    pub id: String,
    /// Namespace: it changes rules of this one alone, `common` (0) those of all.
    pub language: u8,
    /// Bits of atoms that it does not mute.
    pub spares: u64,
    /// Narrow: the model raises no message that is such an idiom for the most part.
    pub sure: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Frame {
    pub id: String,
    /// Namespace, as that of an idiom.
    pub language: u8,
    pub effect: Effect,
    pub scope: Scope,
    pub spares: u64,
}

/// Effect of a frame on the matches in its scope, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effect {
    Drop,
    Other,
    Deny,
    Past,
    Joke,
    Earnest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    Span,
    /// As `Span`, where no comma stands inside the match.
    Tight,
    After,
    Before,
    Sentence,
    Message,
    Quote,
}

/// A row of the decision table; atoms as bits.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Row {
    pub all: u64,
    pub any: u64,
    pub none: u64,
    pub level: u8,
    pub cssrs: u8,
}
