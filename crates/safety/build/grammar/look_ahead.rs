//! Look-ahead of patterns, so that a match that cannot continue is dropped at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Builder;
use crate::tables::{Automata, Symbol, Test, ahead};

/// Look-ahead bit of any token.
const ANY: u128 = 1;

impl Builder {
    /// Collects the words' symbols with which a symbol begins, through phrases.
    fn first_words(&self, symbol: Symbol, test: Test, words: &mut BTreeSet<Symbol>) {
        if test == Test::Has {
            words.insert(symbol);
        }
        for opening in self.openings.get(&symbol).into_iter().flatten().filter(|_| test == Test::Phrase) {
            self.first_words(opening.first.0, opening.first.1, words);
        }
    }

    /// Adds the look-ahead bits of a filler to `bits`, for each symbol of its words.
    fn filler(&self, filler: Symbol, bits: &mut BTreeMap<Symbol, u128>) {
        let Some(openings) = self.openings.get(&filler) else {
            *bits.entry(filler).or_default() |= ahead::FILLS;
            return;
        };
        let mut mark = |(symbol, test), bit: u128| {
            let mut words = BTreeSet::new();
            self.first_words(symbol, test, &mut words);
            words.into_iter().for_each(|word| *bits.entry(word).or_default() |= bit);
        };
        for opening in openings {
            // A phrase that begins a filler may be of one word or of more.
            let (longer, phrase) = (!opening.seconds.is_empty(), opening.first.1 == Test::Phrase);
            let whole = if opening.is_whole || phrase { ahead::FILLS } else { 0 };
            mark(opening.first, whole | if longer || phrase { ahead::OPENS } else { 0 });
            opening.seconds.iter().for_each(|second| mark(*second, ahead::SECOND));
            let inner = self.openings.get(&opening.first.0).filter(|_| phrase).into_iter().flatten();
            inner.flat_map(|inner| &inner.seconds).for_each(|second| mark(*second, ahead::SECOND));
        }
    }

    pub(super) fn masks(&self, sets: &[Vec<Symbol>]) -> Vec<u128> {
        let mut fillers = BTreeMap::new();
        for symbol in &self.tables.automata.fillers {
            self.filler(*symbol, &mut fillers);
        }
        let of = |symbol: &Symbol| ahead::bit(*symbol) | fillers.get(symbol).copied().unwrap_or(0);
        sets.iter().map(|set| set.iter().fold(ANY, |mask, symbol| mask | of(symbol))).collect()
    }

    /// Computes the look-ahead of each state.
    pub(super) fn look_ahead(&mut self) {
        let mut of_phrases: HashMap<Symbol, u128> = HashMap::new();
        for symbol in self.openings.keys() {
            let mut words = BTreeSet::new();
            self.first_words(*symbol, Test::Phrase, &mut words);
            of_phrases.insert(*symbol, words.into_iter().fold(0, |mask, word| mask | ahead::bit(word)));
        }
        let Automata { states, follow, starts, .. } = &mut self.tables.automata;
        let place = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        for state in states.iter_mut() {
            let begin = place(state.follow);
            let count = usize::from(state.words) + usize::from(state.others) + usize::from(state.phrases);
            for follower in follow.get(begin..begin + count).unwrap_or_default() {
                state.next |= match follower.test {
                    Test::Has => ahead::bit(follower.symbol),
                    Test::Phrase => of_phrases.get(&follower.symbol).copied().unwrap_or(0),
                    Test::Not | Test::Any | Test::Anything => ANY,
                    Test::End => 0,
                };
            }
        }
        for start in starts.entries.iter_mut() {
            start.next = states.get(place(start.state)).map_or(0, |state| state.next);
        }
    }
}
