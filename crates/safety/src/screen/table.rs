//! Static tables made from the data by `build/answers.rs`.

use std::ops::Range;

use crate::{Kind, Level};

include!(concat!(env!("OUT_DIR"), "/answers.rs"));

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: &'static str,
    pub(super) es: &'static str,
    pub(super) en: &'static str,
}

/// Patterns of a rule that hold under the same conditions.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) rule: usize,
    pub(super) unless_after: &'static [Guard],
    pub(super) only_after: &'static [Guard],
    /// Indices in `GUARDS` of words that take its sense away wherever they are in the sentence.
    pub(super) unless_with: &'static [usize],
    /// A question does not break the rule.
    pub(super) statement: bool,
    /// Words in quotation marks do not break the rule.
    pub(super) unless_quoted: bool,
    pub(super) least: Level,
    pub(super) most: Level,
    pub(super) kind: Option<Kind>,
}

/// Words before a match that take its sense away.
#[derive(Debug)]
pub(super) struct Guard {
    /// Index in `GUARDS`.
    pub(super) class: usize,
    /// Number of words before the match that are looked at.
    pub(super) distance: u8,
    /// A comma ends its reach.
    pub(super) clause: bool,
}

#[derive(Debug)]
pub(super) enum Symbol {
    In(u16),
    NotIn(u16),
    Gap,
    End,
}

/// A word of a pattern.
#[derive(Debug)]
pub(super) struct Position {
    pub(super) symbol: Symbol,
    /// Range of `FOLLOW`.
    pub(super) follow: Range<usize>,
    pub(super) accepts: bool,
    /// Least number of words that complete a match behind this one.
    pub(super) left: u8,
    pub(super) block: usize,
    pub(super) at_start: bool,
}

#[cfg(test)]
pub(super) struct Example {
    pub(super) rule: &'static str,
    pub(super) level: Level,
    pub(super) kind: Option<Kind>,
    pub(super) text: &'static str,
    pub(super) stops: bool,
}

/// Set of labels of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LabelSet([u64; LABELS.div_ceil(64)]);

impl Default for LabelSet {
    fn default() -> Self {
        Self([0; LABELS.div_ceil(64)])
    }
}

impl LabelSet {
    /// Labels of a whole word.
    pub(super) fn of(word: &str) -> Self {
        let mut set = Self::default();
        if let Ok(index) = WORDS.binary_search_by(|(known, _)| (*known).cmp(word)) {
            set.insert(WORDS[index].1);
        }
        set.insert_stems(word);
        set
    }

    /// Labels of all words that begin like this.
    pub(super) fn of_prefix(prefix: &str) -> Self {
        let mut set = Self::default();
        for table in [WORDS, STEMS] {
            let from = table.partition_point(|(known, _)| *known < prefix);
            for (_, labels) in table[from..].iter().take_while(|(known, _)| known.starts_with(prefix)) {
                set.insert(labels);
            }
        }
        set.insert_stems(prefix);
        set
    }

    pub(super) fn of_number() -> Self {
        let mut set = Self::default();
        set.insert(&[NUMBER]);
        set
    }

    pub(super) fn contains(&self, label: u16) -> bool {
        let label = usize::from(label);
        self.0.get(label / 64).is_some_and(|word| word & (1 << (label % 64)) != 0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().zip(0u16..).flat_map(|(&word, index)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = u16::try_from(left.trailing_zeros()).ok().filter(|_| left != 0)?;
                left &= left - 1;
                Some(index * 64 + bit)
            })
        })
    }

    fn insert_stems(&mut self, word: &str) {
        // Words are ASCII here, and none of the stems is longer.
        for end in 1..=word.len().min(MAX_STEM) {
            let stem = word.get(..end).unwrap_or_default();
            if let Ok(index) = STEMS.binary_search_by(|(known, _)| (*known).cmp(stem)) {
                self.insert(STEMS[index].1);
            }
        }
    }

    fn insert(&mut self, labels: &[u16]) {
        for &label in labels {
            if let Some(word) = self.0.get_mut(usize::from(label) / 64) {
                *word |= 1 << (label % 64);
            }
        }
    }
}

const MAX_STEM: usize = 24;
