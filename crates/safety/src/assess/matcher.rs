//! Runs the patterns over the tokens: a sparse position automaton whose phrases are edges of a lattice.

pub(crate) mod steps;

use std::cell::Cell;

use super::normalise::{Boundary, Token};
use super::tables::{Anchor, Automata, FEW, Follower, Item, Pairs, State, Symbol, Tables, Test, ahead, phrase_bit};

/// Longest match that fillers stretch, in tokens: texts of fillers alone would keep every state alive.
const MAX_MATCH_WITH_FILLERS: usize = 16;
/// Longest filler, in tokens.
const MAX_FILLER_TOKENS: usize = 4;

/// An item's pattern over a range of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    pub item: Item,
    pub begin: usize,
    pub end: usize,
}

/// Finds all items in `tokens`.
pub(crate) fn matches(tables: &Tables, tokens: &[Token]) -> Vec<Match> {
    let mut memory = MEMORY.take();
    memory.prepare(tables, tokens);
    let mut matcher = Matcher { tables, automata: &tables.automata, tokens, memory, found: Vec::new() };
    matcher.run();
    let Matcher { memory, found, .. } = matcher;
    MEMORY.set(memory);
    found
}

/// Buffers that are reused between calls: clearing them costs more than assessing a usual message.
#[derive(Debug)]
struct Memory {
    /// Symbols of the token at hand, as bits.
    has: Vec<u64>,
    /// Look-ahead of each place, as bits.
    ahead: Vec<u128>,
    /// Live states of the last places, and where those of each place begin and end.
    live: Vec<Live>,
    ranges: [(usize, usize); PLACES],
    /// Tokens that stand before or behind a clause as a comma does, and those that may be skipped.
    joins: Vec<bool>,
    fillers: Vec<bool>,
    /// Phrases that end at the place at hand, and where they began.
    phrases: Vec<(Symbol, usize)>,
    /// Number of place 0 in `seen`: notes of earlier calls have smaller ones.
    first_place: u32,
    /// Number of the place behind the last.
    next_place: u32,
    seen: Vec<Seen>,
}

/// Places whose live states are kept: a match is no longer than the bits of `Seen::starts`.
const PLACES: usize = 64;
/// Live states from which on those of places long past are dropped.
const MANY_LIVE: usize = 4_096;

impl Default for Memory {
    fn default() -> Self {
        Self {
            has: Vec::new(),
            ahead: Vec::new(),
            live: Vec::new(),
            ranges: [(0, 0); PLACES],
            joins: Vec::new(),
            fillers: Vec::new(),
            phrases: Vec::new(),
            first_place: 0,
            next_place: 0,
            seen: Vec::new(),
        }
    }
}

impl Memory {
    fn prepare(&mut self, tables: &Tables, tokens: &[Token]) {
        self.has.resize(tables.automata.starts.ends.len().div_ceil(64), 0);
        self.seen.resize(tables.automata.states.len(), Seen::default());
        let places = u32::try_from(tokens.len()).unwrap_or(u32::MAX).saturating_add(1);
        // The number 0 marks no place.
        self.first_place = self.next_place.max(1);
        if self.first_place.checked_add(places).is_none() {
            self.seen.fill(Seen::default());
            self.first_place = 1;
        }
        self.next_place = self.first_place.saturating_add(places);
        self.live.clear();
        self.ranges = [(0, 0); PLACES];
        look_ahead(tables, tokens, &mut self.ahead);
        let any = |symbols: &[Symbol], wanted: &[Symbol]| symbols.iter().any(|symbol| wanted.contains(symbol));
        self.joins.clear();
        self.fillers.clear();
        for token in tokens {
            let symbols = tables.lexicon.symbols(token.set);
            self.joins.push(any(symbols, &tables.automata.joins));
            self.fillers.push(any(symbols, &tables.automata.fillers));
        }
    }

    /// Returns where the live states at `place`, one of the last, begin and end.
    fn range(&self, place: usize) -> (usize, usize) {
        self.ranges.get(place % PLACES).copied().unwrap_or_default()
    }

    /// Notes that the live states at `place` begin at `first`, and drops those of places long past.
    fn close(&mut self, place: usize, first: usize) {
        if let Some(range) = self.ranges.get_mut(place % PLACES) {
            *range = (first, self.live.len());
        }
        let oldest = self.range(place + 1).0;
        if self.live.len() > MANY_LIVE && oldest > self.live.len() / 2 {
            self.live.drain(..oldest);
            for (from, to) in &mut self.ranges {
                (*from, *to) = (from.saturating_sub(oldest), to.saturating_sub(oldest));
            }
        }
    }
}

thread_local! {
    static MEMORY: Cell<Memory> = Cell::new(Memory::default());
}

/// A state that holds behind a token, and the token where its match began.
#[derive(Debug, Clone, Copy)]
struct Live {
    state: u32,
    begin: u32,
    /// `phrase_bits` of the state.
    phrase_bits: u16,
    /// Carried over a filler: it ends nothing again.
    carried: bool,
}

/// Starts with which a state was added at a place, as bits relative to the place.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    place: u32,
    starts: u64,
}

struct Matcher<'a> {
    tables: &'a Tables,
    automata: &'a Automata,
    tokens: &'a [Token],
    memory: Memory,
    found: Vec<Match>,
}

/// Computes the look-ahead of each place, fillers skipped: a state that accepts none of it is not kept.
fn look_ahead(tables: &Tables, tokens: &[Token], places: &mut Vec<u128>) {
    places.clear();
    places.resize(tokens.len() + 1, ahead::ENDS);
    let mut next = 0;
    for (at, token) in tokens.iter().enumerate().rev() {
        let mask = tables.lexicon.mask(token.set);
        let mut bits = ahead::ENDS;
        if token.boundary != Boundary::Hard {
            bits |= mask;
            let shortest = if mask & ahead::FILLS != 0 { 1 } else { 2 };
            let longest = if mask & ahead::OPENS != 0 && next & ahead::SECOND != 0 { MAX_FILLER_TOKENS } else { 1 };
            for length in shortest..=longest {
                bits |= places.get(at + length).copied().unwrap_or(0);
            }
        }
        next = mask;
        if let Some(place) = places.get_mut(at) {
            *place = bits;
        }
    }
}

impl Matcher<'_> {
    fn run(&mut self) {
        let tables = self.tables;
        for (place, token) in self.tokens.iter().enumerate() {
            let symbols = tables.lexicon.symbols(token.set);
            let first = self.memory.live.len();
            self.memory.phrases.clear();
            for symbol in symbols {
                self.memory.set(*symbol, true);
            }
            if token.boundary != Boundary::Hard {
                self.step(place, token, symbols);
            }
            for symbol in symbols {
                self.begin(*symbol, place, place + 1);
            }
            if self.memory.fillers.get(place) == Some(&true) {
                self.skip_filler(place, place + 1);
            }
            self.accept(first, place + 1);
            for symbol in symbols {
                self.memory.set(*symbol, false);
            }
            self.memory.close(place + 1, first);
        }
    }

    /// Moves the live states before token `place` over it.
    fn step(&mut self, place: usize, token: &Token, symbols: &[Symbol]) {
        let automata = self.automata;
        let mask = self.tables.lexicon.mask(token.set);
        let (from, to) = self.memory.range(place);
        for at in from..to {
            let Some(live) = self.memory.live.get(at).copied() else { return };
            let Some(state) = automata.state(live.state) else { continue };
            steps::step();
            // A gap ends with the clause.
            if state.next & mask == 0 || (token.boundary == Boundary::Soft && state.is_gap) {
                continue;
            }
            self.read_word(state, live, place + 1, symbols);
            for follower in automata.others(state) {
                let fits = match follower.test {
                    Test::Not => token.boundary == Boundary::None && !self.memory.has(follower.symbol),
                    Test::Any => token.boundary == Boundary::None,
                    Test::Anything => true,
                    Test::Has | Test::Phrase | Test::End => false,
                };
                if fits {
                    self.add(follower.state, live.begin, place + 1);
                }
            }
        }
    }

    /// Adds the followers of the state of `live` that read one of a token's symbols.
    fn read_word(&mut self, state: &State, live: Live, place: usize, symbols: &[Symbol]) {
        let automata = self.automata;
        if state.words <= FEW {
            for follower in automata.words(state) {
                if self.memory.has(follower.symbol) {
                    self.add(follower.state, live.begin, place);
                }
            }
            return;
        }
        for symbol in symbols {
            if state.next & ahead::bit(*symbol) == 0 {
                continue;
            }
            let Some(first) = Pairs::key(live.state, *symbol).and_then(|key| automata.many.get(key)) else { continue };
            let behind = usize::try_from(first).ok().and_then(|first| automata.follow.get(first..)).unwrap_or_default();
            let fits = |follower: &&Follower| follower.symbol == *symbol && follower.test == Test::Has;
            for follower in behind.iter().take_while(fits) {
                self.add(follower.state, live.begin, place);
            }
        }
    }

    /// Starts the patterns that begin with `symbol` at token `begin`, which it reads up to `end`.
    fn begin(&mut self, symbol: Symbol, begin: usize, end: usize) {
        let automata = self.automata;
        let narrow = u32::try_from(begin).unwrap_or(u32::MAX);
        let next = self.ahead_of(end);
        for start in automata.starts.list(usize::from(symbol)) {
            steps::step();
            if start.next & next != 0
                && self.may_start(start.at_start, begin)
                && self.insert_if_new(start.state, narrow, end)
            {
                let phrase_bits = automata.state(start.state).map_or(0, |state| state.phrase_bits);
                self.memory.live.push(Live { state: start.state, begin: narrow, phrase_bits, carried: false });
            }
        }
    }

    /// Ends matches and phrases in the live states at `place`; phrases add states, which are read in turn.
    fn accept(&mut self, first: usize, place: usize) {
        let mut at = first;
        let automata = self.automata;
        while let Some(live) = self.memory.live.get(at).copied() {
            at += 1;
            let Some(state) = automata.state(live.state) else { continue };
            if state.awaits_end && self.may_end(Anchor::Clause, place) {
                for follower in automata.others(state).iter().filter(|follower| follower.test == Test::End) {
                    self.add(follower.state, live.begin, place);
                }
            }
            if state.accept == 0 || live.carried {
                continue;
            }
            let begin = usize::try_from(live.begin).unwrap_or(0);
            for accept in automata.accepts.get(usize::from(state.accept)).into_iter().flatten() {
                if !self.may_end(accept.at_end, place) {
                    continue;
                }
                match accept.item {
                    Item::Phrase(symbol) => self.phrase(symbol, begin, place),
                    item => self.found.push(Match { item, begin, end: place }),
                }
            }
        }
    }

    /// Moves the live states before `begin` over the phrase that ends at `end`.
    fn phrase(&mut self, symbol: Symbol, begin: usize, end: usize) {
        // A duplicate adds nothing.
        if self.memory.phrases.contains(&(symbol, begin)) {
            return;
        }
        self.memory.phrases.push((symbol, begin));
        let automata = self.automata;
        if automata.turns.contains(&symbol) {
            self.found.push(Match { item: Item::Phrase(symbol), begin, end });
        }
        let boundary = self.tokens.get(begin).map_or(Boundary::Hard, |token| token.boundary);
        let (from, to) = self.memory.range(begin);
        let bit = phrase_bit(symbol);
        if boundary != Boundary::Hard {
            for at in from..to {
                let Some(live) = self.memory.live.get(at).copied() else { break };
                steps::step();
                if live.phrase_bits & bit == 0 {
                    continue;
                }
                let Some(state) = automata.state(live.state) else { continue };
                if boundary == Boundary::Soft && state.is_gap {
                    continue;
                }
                for follower in of_symbol(automata.phrases(state), symbol) {
                    self.add(follower.state, live.begin, end);
                }
            }
        }
        self.begin(symbol, begin, end);
        if automata.fillers.contains(&symbol) {
            self.skip_filler(begin, end);
        }
    }

    /// Carries the live states before a filler over it.
    fn skip_filler(&mut self, begin: usize, end: usize) {
        if self.tokens.get(begin).is_none_or(|token| token.boundary == Boundary::Hard) {
            return;
        }
        let (from, to) = self.memory.range(begin);
        for at in from..to {
            let Some(live) = self.memory.live.get(at).copied() else { return };
            let length = end.saturating_sub(usize::try_from(live.begin).unwrap_or(0));
            if length <= MAX_MATCH_WITH_FILLERS
                && self.leads_on(live.state, end).is_some()
                && self.insert_if_new(live.state, live.begin, end)
            {
                self.memory.live.push(Live { carried: true, ..live });
            }
        }
    }

    fn add(&mut self, state: u32, begin: u32, place: usize) {
        steps::step();
        if let Some(phrase_bits) = self.leads_on(state, place)
            && self.insert_if_new(state, begin, place)
        {
            self.memory.live.push(Live { state, begin, phrase_bits, carried: false });
        }
    }

    /// Returns the phrases that may follow `state`, if it ends something at `place` or may go on with the token there.
    fn leads_on(&self, state: u32, place: usize) -> Option<u16> {
        let state = self.automata.state(state)?;
        (state.next & self.ahead_of(place) != 0).then_some(state.phrase_bits)
    }

    fn ahead_of(&self, place: usize) -> u128 {
        self.memory.ahead.get(place).copied().unwrap_or(0)
    }

    /// Records `state` at `place` with this start; returns `true` if it is new.
    fn insert_if_new(&mut self, state: u32, begin: u32, place: usize) -> bool {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let number = self.memory.first_place.saturating_add(place);
        let Some(seen) = usize::try_from(state).ok().and_then(|at| self.memory.seen.get_mut(at)) else {
            return false;
        };
        if seen.place != number {
            *seen = Seen { place: number, starts: 0 };
        }
        let Some(bit) = 1_u64.checked_shl(place.saturating_sub(begin)) else { return false };
        let new = seen.starts & bit == 0;
        seen.starts |= bit;
        new
    }

    fn may_start(&self, anchor: Anchor, begin: usize) -> bool {
        match anchor {
            Anchor::Nowhere => true,
            Anchor::Clause => {
                self.tokens.get(begin).is_some_and(|token| token.boundary != Boundary::None)
                    || begin.checked_sub(1).is_none_or(|before| self.is_join(before))
            }
            Anchor::Message => begin == 0,
        }
    }

    fn may_end(&self, anchor: Anchor, end: usize) -> bool {
        match anchor {
            Anchor::Nowhere => true,
            Anchor::Clause => {
                self.tokens.get(end).is_none_or(|token| token.boundary != Boundary::None) || self.is_join(end)
            }
            Anchor::Message => end == self.tokens.len(),
        }
    }

    fn is_join(&self, at: usize) -> bool {
        self.memory.joins.get(at) == Some(&true)
    }
}

impl Pairs {
    fn get(&self, key: u32) -> Option<u32> {
        let mut at = self.first(key);
        loop {
            match self.slots.get(at)? {
                (0, _) => return None,
                (found, value) if *found == key => return Some(*value),
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }
}

impl Automata {
    fn state(&self, state: u32) -> Option<&State> {
        usize::try_from(state).ok().and_then(|at| self.states.get(at))
    }

    /// Returns the followers of `state` that read a word's symbol, sorted by it.
    fn words(&self, state: &State) -> &[Follower] {
        self.followers(state, 0, state.words)
    }

    /// Returns the followers of `state` that read any token, or the end of a clause.
    fn others(&self, state: &State) -> &[Follower] {
        self.followers(state, usize::from(state.words), state.others)
    }

    /// Returns the followers of `state` that read a phrase, sorted by its symbol.
    fn phrases(&self, state: &State) -> &[Follower] {
        self.followers(state, usize::from(state.words) + usize::from(state.others), state.phrases)
    }

    fn followers(&self, state: &State, behind: usize, count: u16) -> &[Follower] {
        let begin = usize::try_from(state.follow).unwrap_or(usize::MAX).saturating_add(behind);
        self.follow.get(begin..begin.saturating_add(usize::from(count))).unwrap_or_default()
    }
}

/// Returns those of sorted `followers` that read `symbol`.
fn of_symbol(followers: &[Follower], symbol: Symbol) -> impl Iterator<Item = &Follower> {
    let first = followers.partition_point(|follower| follower.symbol < symbol);
    let behind = followers.get(first..).unwrap_or_default().iter();
    behind.take_while(move |follower| follower.symbol == symbol)
}

impl Memory {
    fn set(&mut self, symbol: Symbol, on: bool) {
        if let Some(word) = self.has.get_mut(usize::from(symbol / 64)) {
            let bit = 1 << (symbol % 64);
            if on { *word |= bit } else { *word &= !bit }
        }
    }

    fn has(&self, symbol: Symbol) -> bool {
        self.has.get(usize::from(symbol / 64)).is_some_and(|word| word & (1 << (symbol % 64)) != 0)
    }
}
