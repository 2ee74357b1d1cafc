//! Runs the patterns over the tokens: a sparse position automaton whose phrases are edges of a lattice.

use std::cell::Cell;

use super::normalise::{Boundary, Token};
use super::tables::{Anchor, Automata, Follower, Item, State, Symbol, Tables, Test, ahead, phrase_bit};

/// Longest match that fillers stretch, in tokens: texts of fillers alone would keep every state alive.
const LONGEST_WITH_FILLERS: usize = 16;
/// Longest filler, in tokens.
const LONGEST_FILLER: usize = 4;

/// An item's pattern over a range of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    pub item: Item,
    pub begin: usize,
    pub end: usize,
}

/// Finds all items in `tokens`.
pub(crate) fn matches(tables: &Tables, tokens: &[Token]) -> Vec<Match> {
    // Kept between calls: to clear it costs more than to assess a usual message.
    let mut scratch = SCRATCH.take();
    scratch.seen.resize(tables.automata.states.len(), Seen::default());
    let places = u32::try_from(tokens.len()).unwrap_or(u32::MAX).saturating_add(1);
    if scratch.next_place.checked_add(places).is_none() {
        scratch.seen.fill(Seen::default());
        scratch.next_place = 1;
    }
    let mut matcher = Matcher {
        tables,
        automata: &tables.automata,
        tokens,
        has: vec![0; tables.automata.starts.len().div_ceil(64)],
        ahead: ahead(tables, tokens),
        live: Vec::with_capacity(tokens.len() * 8),
        phrases: Vec::new(),
        ranges: Vec::with_capacity(tokens.len() + 1),
        first_place: scratch.next_place,
        seen: scratch.seen,
        found: Vec::new(),
    };
    matcher.run();
    scratch = Scratch { next_place: matcher.first_place.saturating_add(places), seen: matcher.seen };
    SCRATCH.set(scratch);
    matcher.found
}

/// Memory of the states seen, which outlives a call.
#[derive(Debug)]
struct Scratch {
    seen: Vec<Seen>,
    /// Number of the next call's first place: notes of earlier calls have smaller ones.
    next_place: u32,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { seen: Vec::new(), next_place: 1 }
    }
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::new(Scratch::default());
}

/// A state that holds behind a token, and the token where its match began.
#[derive(Debug, Clone, Copy)]
struct Live {
    state: u32,
    begin: u32,
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
    /// Symbols of the token at hand, as bits.
    has: Vec<u64>,
    /// What may come at each place, as bits.
    ahead: Vec<u128>,
    /// Live states of all places, and each place's range.
    live: Vec<Live>,
    ranges: Vec<(usize, usize)>,
    /// Number of place 0 in `seen`.
    first_place: u32,
    seen: Vec<Seen>,
    /// Phrases that end at the place at hand, and where they began.
    phrases: Vec<(Symbol, usize)>,
    found: Vec<Match>,
}

/// Returns what may come at each place, fillers skipped: a state that takes none of it need not be kept.
fn ahead(tables: &Tables, tokens: &[Token]) -> Vec<u128> {
    let mut places = vec![ahead::ENDS; tokens.len() + 1];
    let mut next = 0;
    for (at, token) in tokens.iter().enumerate().rev() {
        let mask = tables.lexicon.mask(token.set);
        let mut bits = ahead::ENDS;
        if token.boundary != Boundary::Hard {
            bits |= mask;
            let shortest = if mask & ahead::FILLS != 0 { 1 } else { 2 };
            let longest = if mask & ahead::OPENS != 0 && next & ahead::SECOND != 0 { LONGEST_FILLER } else { 1 };
            for length in shortest..=longest {
                bits |= places.get(at + length).copied().unwrap_or(0);
            }
        }
        next = mask;
        if let Some(place) = places.get_mut(at) {
            *place = bits;
        }
    }
    places
}

impl Matcher<'_> {
    fn run(&mut self) {
        self.ranges.push((0, 0));
        for place in 0..self.tokens.len() {
            let Some(token) = self.tokens.get(place) else { return };
            let symbols = self.tables.lexicon.symbols(token.set);
            let first = self.live.len();
            self.phrases.clear();
            for symbol in symbols {
                self.set(*symbol, true);
            }
            if token.boundary != Boundary::Hard {
                self.step(place, *token);
            }
            for symbol in symbols {
                self.begin(*symbol, place, place + 1);
            }
            self.skip_fillers(symbols, place, place + 1);
            self.settle(first, place + 1);
            for symbol in symbols {
                self.set(*symbol, false);
            }
            self.ranges.push((first, self.live.len()));
        }
    }

    fn set(&mut self, symbol: Symbol, on: bool) {
        if let Some(word) = self.has.get_mut(usize::from(symbol / 64)) {
            let bit = 1 << (symbol % 64);
            if on { *word |= bit } else { *word &= !bit }
        }
    }

    fn has(&self, symbol: Symbol) -> bool {
        self.has.get(usize::from(symbol / 64)).is_some_and(|word| word & (1 << (symbol % 64)) != 0)
    }

    /// Moves the live states before token `place` over it.
    fn step(&mut self, place: usize, token: Token) {
        let automata = self.automata;
        let mask = self.tables.lexicon.mask(token.set);
        let (from, to) = self.ranges.get(place).copied().unwrap_or_default();
        for at in from..to {
            let Some(live) = self.live.get(at).copied() else { return };
            let Some(state) = automata.state(live.state) else { continue };
            // A gap ends with the clause.
            if state.next & mask == 0 || (token.boundary == Boundary::Soft && state.is_gap) {
                continue;
            }
            for follower in automata.followers(state) {
                let fits = match follower.test {
                    Test::Has => self.has(follower.symbol),
                    Test::Not => token.boundary == Boundary::None && !self.has(follower.symbol),
                    Test::Any => token.boundary == Boundary::None,
                    Test::Anything => true,
                    Test::Phrase | Test::End => false,
                };
                if fits {
                    self.add(follower.state, live.begin, place + 1);
                }
            }
        }
    }

    /// Starts the patterns that begin with `symbol` at token `begin`, which it reads up to `end`.
    fn begin(&mut self, symbol: Symbol, begin: usize, end: usize) {
        let automata = self.automata;
        let Some(starts) = automata.starts.get(usize::from(symbol)) else { return };
        let narrow = u32::try_from(begin).unwrap_or(u32::MAX);
        let next = self.ahead_of(end);
        for start in starts {
            if start.next & next != 0 && self.may_start(start.at_start, begin) && self.note(start.state, narrow, end) {
                self.live.push(Live { state: start.state, begin: narrow, carried: false });
            }
        }
    }

    /// Ends matches and phrases in the live states at `place`; phrases add states, which are read in turn.
    fn settle(&mut self, first: usize, place: usize) {
        let mut at = first;
        while let Some(live) = self.live.get(at).copied() {
            at += 1;
            let Some(state) = self.automata.state(live.state) else { continue };
            if state.awaits_end && self.may_end(Anchor::Clause, place) {
                self.end(state, live.begin, place);
            }
            let Some(item) = usize::from(state.accept).checked_sub(1).filter(|_| !live.carried) else { continue };
            if !self.may_end(state.at_end, place) {
                continue;
            }
            let begin = usize::try_from(live.begin).unwrap_or(0);
            match self.tables.items.get(item) {
                Some(Item::Phrase(symbol)) => self.phrase(*symbol, begin, place),
                Some(item) => self.found.push(Match { item: *item, begin, end: place }),
                None => {}
            }
        }
    }

    /// Adds the followers of `state` that take the end of a clause, which is at `place`.
    fn end(&mut self, state: &State, begin: u32, place: usize) {
        let automata = self.automata;
        for follower in automata.followers(state).iter().filter(|follower| follower.test == Test::End) {
            self.add(follower.state, begin, place);
        }
    }

    /// Moves the live states before `begin` over the phrase that ends at `end`.
    fn phrase(&mut self, symbol: Symbol, begin: usize, end: usize) {
        // Found twice, it adds nothing.
        if self.phrases.contains(&(symbol, begin)) {
            return;
        }
        self.phrases.push((symbol, begin));
        let automata = self.automata;
        if automata.turns.contains(&symbol) {
            self.found.push(Match { item: Item::Phrase(symbol), begin, end });
        }
        let boundary = self.tokens.get(begin).map_or(Boundary::Hard, |token| token.boundary);
        let (from, to) = self.ranges.get(begin).copied().unwrap_or_default();
        if boundary != Boundary::Hard {
            for at in from..to {
                let Some(live) = self.live.get(at).copied() else { break };
                let Some(state) = automata.state(live.state) else { continue };
                if state.phrases & phrase_bit(symbol) == 0 || (boundary == Boundary::Soft && state.is_gap) {
                    continue;
                }
                let fits = |next: &&Follower| next.test == Test::Phrase && next.symbol == symbol;
                for follower in automata.followers(state).iter().filter(fits) {
                    self.add(follower.state, live.begin, end);
                }
            }
        }
        self.begin(symbol, begin, end);
        self.skip_fillers(&[symbol], begin, end);
    }

    /// Carries the live states before a filler over it.
    fn skip_fillers(&mut self, symbols: &[Symbol], begin: usize, end: usize) {
        if !symbols.iter().any(|symbol| self.automata.fillers.contains(symbol)) {
            return;
        }
        if self.tokens.get(begin).is_none_or(|token| token.boundary == Boundary::Hard) {
            return;
        }
        let (from, to) = self.ranges.get(begin).copied().unwrap_or_default();
        for at in from..to {
            let Some(live) = self.live.get(at).copied() else { return };
            let length = end.saturating_sub(usize::try_from(live.begin).unwrap_or(0));
            if length <= LONGEST_WITH_FILLERS
                && self.leads_on(live.state, end)
                && self.note(live.state, live.begin, end)
            {
                self.live.push(Live { carried: true, ..live });
            }
        }
    }

    fn add(&mut self, state: u32, begin: u32, place: usize) {
        if self.leads_on(state, place) && self.note(state, begin, place) {
            self.live.push(Live { state, begin, carried: false });
        }
    }

    /// Tells whether `state` ends something at `place`, or may go on with the token there.
    fn leads_on(&self, state: u32, place: usize) -> bool {
        self.automata.state(state).is_some_and(|state| state.next & self.ahead_of(place) != 0)
    }

    fn ahead_of(&self, place: usize) -> u128 {
        self.ahead.get(place).copied().unwrap_or(0)
    }

    /// Tells whether `state` is new at `place` with this start, and notes it.
    fn note(&mut self, state: u32, begin: u32, place: usize) -> bool {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let Some(seen) = usize::try_from(state).ok().and_then(|at| self.seen.get_mut(at)) else { return false };
        let number = self.first_place.saturating_add(place);
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
        let joins = &self.automata.joins;
        self.tokens
            .get(at)
            .is_some_and(|token| self.tables.lexicon.symbols(token.set).iter().any(|symbol| joins.contains(symbol)))
    }
}

impl Automata {
    fn state(&self, state: u32) -> Option<&State> {
        usize::try_from(state).ok().and_then(|at| self.states.get(at))
    }

    fn followers(&self, state: &State) -> &[Follower] {
        let begin = usize::try_from(state.follow).unwrap_or(usize::MAX);
        self.follow.get(begin..begin.saturating_add(usize::from(state.followers))).unwrap_or_default()
    }
}
