//! Compiled data: made by `build.rs`, read by the engine. Shared by both.

use serde::{Deserialize, Serialize};

/// Number of a class, phrase or literal word.
pub(crate) type Symbol = u16;

/// Every table of the engine.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tables {
    pub lexicon: Lexicon,
    pub automata: Automata,
    pub items: Vec<Item>,
    pub rules: Vec<Rule>,
    pub idioms: Vec<Idiom>,
    pub frames: Vec<Frame>,
    pub atoms: Vec<String>,
    pub rows: Vec<Row>,
}

/// Words and their symbols.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Lexicon {
    /// Sets of symbols; set 0 is empty.
    pub sets: Vec<Vec<Symbol>>,
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
    /// Words with a letter left out to `misspelt`.
    pub deletions: Vec<(u64, u16)>,
    /// Hashes of `deletions` modulo its number of bits: most words are in none.
    pub deletion_bits: Vec<u64>,
    /// Words towards which a typo is forgiven, and their sets.
    pub misspelt: Vec<(String, u32)>,
    /// Symbols of the sets, as bits; all bits of those that may begin a filler.
    pub masks: Vec<u128>,
    /// Set of numbers.
    pub number_set: u32,
    /// Sets of words that may be the core of a text without spaces.
    pub strong: Vec<bool>,
    /// Characters that look like Latin letters, sorted.
    pub confusables: Vec<(char, String)>,
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

/// Position automata of all patterns.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Automata {
    pub states: Vec<State>,
    /// Followers of all states; each state has a range.
    pub follow: Vec<Follower>,
    /// First states by symbol.
    pub starts: Vec<Vec<Start>>,
    /// Symbol skipped wherever it stands ("la verdad"), by language.
    pub fillers: Vec<Symbol>,
    /// Symbols at which the person comes to speak of themselves, by language.
    pub turns: Vec<Symbol>,
    /// Symbols behind and before which a clause begins and ends ("pero"), by language.
    pub joins: Vec<Symbol>,
}

/// A place in a pattern.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// What the next token may be, as bits of `ahead`: where it is none of it, the state leads nowhere.
    pub next: u128,
    pub follow: u32,
    pub followers: u16,
    /// Item that ends here, plus one.
    pub accept: u16,
    /// Phrases that may follow, as bits of their symbols modulo 32.
    pub phrases: u32,
    /// It reads any token of the clause.
    pub is_gap: bool,
    /// Some follower is the end of a clause.
    pub awaits_end: bool,
    /// Where the pattern may end.
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

/// Bits of what a token may be, in `State::next` and `Lexicon::masks`, besides those of its symbols, which the build
/// gives.
pub(crate) mod ahead {
    /// No token has it: the state ends something.
    pub(crate) const ENDS: u128 = 1 << 1;
    /// The token may be skipped.
    pub(crate) const FILLS: u128 = 1 << 2;
    /// The token may be skipped with what follows it,
    pub(crate) const OPENS: u128 = 1 << 3;
    /// if that is of this kind.
    pub(crate) const SECOND: u128 = 1 << 4;
}

/// Bit of a phrase in `State::phrases`.
pub(crate) fn phrase_bit(symbol: Symbol) -> u32 {
    1 << (symbol % 32)
}

/// What a pattern is bound to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Anchor {
    #[default]
    Nowhere,
    Clause,
    Message,
}

/// How a state reads a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Idiom {
    pub id: String,
    /// Namespace: it changes rules of this one alone, `common` (0) those of all.
    pub language: u8,
    /// Bits of atoms that it does not mute.
    pub spares: u64,
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

/// What a frame makes of the matches in its scope, the strongest first.
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
