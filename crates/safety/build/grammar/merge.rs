//! One automaton of all patterns: places that are always reached together, or lead to the same, are one state.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::pattern::{Pattern, Position};
use crate::tables::{
    Accept, Anchor, Automata, FEW, Follower, Item, Lists, Pairs, Start, State, Symbol, Test, ahead, phrase_bit,
};

/// Key of a state: places with the same test, the same beginnings of patterns and the same states before them are
/// merged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    symbol: Symbol,
    test: Test,
    at_start: Option<Anchor>,
    before: BTreeSet<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Merged {
    symbol: Symbol,
    test: Test,
    at_start: Option<Anchor>,
    accepts: Vec<Accept>,
    followers: BTreeSet<u32>,
}

/// The states so far.
#[derive(Debug, Default)]
pub(super) struct Merger {
    numbers: HashMap<Key, u32>,
    states: Vec<Merged>,
}

impl Merger {
    /// Adds a pattern, which means `item`.
    pub(super) fn add(&mut self, pattern: &Pattern, item: Item) {
        let mut numbers: Vec<u32> = Vec::new();
        // Those before a place come before it in the list.
        for Position { symbol, test, at_start, ends, before } in pattern.places() {
            let before: BTreeSet<u32> = before.into_iter().map(|at| numbers[at]).collect();
            let number = self.number(Key { symbol, test, at_start, before: before.clone() });
            for earlier in before {
                self.states[place(earlier)].followers.insert(number);
            }
            if let Some(at_end) = ends {
                let accepts = &mut self.states[place(number)].accepts;
                let accept = Accept { item, at_end };
                if !accepts.contains(&accept) {
                    accepts.push(accept);
                }
            }
            numbers.push(number);
        }
    }

    fn number(&mut self, key: Key) -> u32 {
        let Key { symbol, test, at_start, .. } = key;
        *self.numbers.entry(key).or_insert_with(|| {
            self.states.push(Merged { symbol, test, at_start, ..Merged::default() });
            u32::try_from(self.states.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// Makes one of states that read the same token and lead to the same.
    fn merge_backwards(self) -> Vec<Merged> {
        let mut representatives: HashMap<Merged, usize> = HashMap::new();
        let mut of = vec![0; self.states.len()];
        let mut kept: Vec<Merged> = Vec::new();
        // Followers have higher numbers than their states, so they have been merged already.
        for (number, mut state) in self.states.into_iter().enumerate().rev() {
            state.accepts.sort();
            state.followers = state.followers.iter().map(|next| of[place(*next)]).collect();
            of[number] = u32::try_from(*representatives.entry(state.clone()).or_insert_with(|| {
                kept.push(state);
                kept.len() - 1
            }))
            .unwrap_or(u32::MAX);
        }
        kept
    }

    /// Writes the automaton for so many symbols, without the look-ahead.
    pub(super) fn finish(self, symbols: Symbol, automata: &mut Automata) -> Result<(), String> {
        let mut starts = vec![Vec::new(); usize::from(symbols)];
        automata.accepts = vec![Vec::new()];
        let mut numbers: BTreeMap<Vec<Accept>, u16> = BTreeMap::from([(Vec::new(), 0)]);
        let states = self.merge_backwards();
        let read: Vec<(Symbol, Test)> = states.iter().map(|state| (state.symbol, state.test)).collect();
        for (number, merged) in (0_u32..).zip(states) {
            if let Some(at_start) = merged.at_start {
                starts[usize::from(merged.symbol)].push(Start { next: 0, state: number, at_start });
            }
            let accepts = merged.accepts;
            let accept = match numbers.get(&accepts) {
                Some(list) => *list,
                None => {
                    let list = u16::try_from(automata.accepts.len()).map_err(|_| "too many ways to end")?;
                    automata.accepts.push(accepts.clone());
                    *numbers.entry(accepts).or_insert(list)
                }
            };
            let follower = |state: u32| {
                let (symbol, test) = read[place(state)];
                Follower { state, symbol, test }
            };
            let state = state(merged.test, accept, merged.followers.into_iter().map(follower), &mut automata.follow)?;
            automata.states.push(state);
        }
        automata.starts = lists(starts);
        automata.many = many(&automata.states, &automata.follow)?;
        Ok(())
    }
}

/// Makes a state, and adds its followers to `follow`: those of words by their symbols, then those of any token, then
/// those of phrases by their symbols.
fn state(
    test: Test,
    accept: u16,
    followers: impl Iterator<Item = Follower>,
    follow: &mut Vec<Follower>,
) -> Result<State, String> {
    let order = |test: Test| match test {
        Test::Has => 0,
        Test::Not | Test::Any | Test::Anything | Test::End => 1,
        Test::Phrase => 2,
    };
    let mut followers: Vec<Follower> = followers.collect();
    followers.sort_by_key(|follower| (order(follower.test), follower.symbol, follower.state));
    let count = |wanted: i32| {
        let count = followers.iter().filter(|follower| order(follower.test) == wanted).count();
        u16::try_from(count).map_err(|_| "too many followers of a place".to_owned())
    };
    let awaits_end = followers.iter().any(|follower| follower.test == Test::End);
    let phrases = followers.iter().filter(|follower| follower.test == Test::Phrase);
    let state = State {
        next: if accept != 0 || awaits_end { ahead::ENDS } else { 0 },
        follow: u32::try_from(follow.len()).map_err(|_| "too many places")?,
        words: count(0)?,
        others: count(1)?,
        phrases: count(2)?,
        phrase_bits: phrases.fold(0, |bits, follower| bits | phrase_bit(follower.symbol)),
        accept,
        is_gap: test == Test::Any,
        awaits_end,
    };
    follow.extend(followers);
    Ok(state)
}

/// Lists the followers of words of states that have many, the first of each symbol.
fn many(states: &[State], follow: &[Follower]) -> Result<Pairs, String> {
    let mut found = Vec::new();
    for (state, number) in states.iter().zip(0_u32..).filter(|(state, _)| state.words > FEW) {
        let begin = place(state.follow);
        let mut last = None;
        for (follower, at) in follow[begin..begin + usize::from(state.words)].iter().zip(state.follow..) {
            if last.replace(follower.symbol) != Some(follower.symbol) {
                found.push((Pairs::key(number, follower.symbol).ok_or("too many places or words")?, at));
            }
        }
    }
    let mut pairs = Pairs { slots: vec![(0, 0); (found.len() * 4 / 3 + 1).next_power_of_two()] };
    let mask = pairs.slots.len() - 1;
    for (key, at) in found {
        let mut slot = pairs.first(key);
        while pairs.slots[slot].0 != 0 {
            slot = (slot + 1) & mask;
        }
        pairs.slots[slot] = (key, at);
    }
    Ok(pairs)
}

/// Puts lists one behind the other.
pub(super) fn lists<T>(lists: Vec<Vec<T>>) -> Lists<T> {
    let mut found = Lists::default();
    for list in lists {
        found.entries.extend(list);
        found.ends.push(u32::try_from(found.entries.len()).unwrap_or(u32::MAX));
    }
    found
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
