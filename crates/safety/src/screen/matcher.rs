//! All patterns at once, word by word.

use super::lexer::Partial;
use super::table::{BLOCKS, Block, FIRST, FOLLOW, GUARDS, Guard, LABELS, LabelSet, NEG, POSITIONS, Symbol, TAG};
use super::{Found, ScreenContext};

/// Words that are still to come where text begins to be held back: with the one that is there, the last two.
const HELD_LEFT: usize = 1;
/// More matches of one sentence change nothing: its first ones decide.
const MAX_PENDING: usize = 64;

/// A match that began and may still be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Live {
    position: u16,
    start: usize,
    /// Byte at which the held words begin; `None` while none are held.
    held: Option<usize>,
}

/// A match that counts at the end of the sentence.
#[derive(Debug, Clone, Copy)]
struct Pending {
    found: Found,
    block: usize,
}

#[derive(Debug)]
pub(super) struct Matcher {
    context: ScreenContext,
    live: Vec<Live>,
    next: Vec<Live>,
    /// Matches that count only if the sentence is no question.
    pending: Vec<Pending>,
    /// Words of the sentence so far.
    words: u32,
    /// Words of the sentence before its last comma.
    clause: u32,
    /// Number of the word that was last in each guard's class.
    guards: [Option<u32>; GUARDS.len()],
    /// The sentence began with `¿`.
    opened: bool,
    /// Within quotation marks.
    quoted: bool,
    /// Its last word is one of those that make no question ("¿sí?", "ok?").
    tag: bool,
}

/// Event of the stream.
enum Token<'a> {
    Word { labels: &'a LabelSet, start: usize },
    End,
}

impl Matcher {
    pub(super) fn new(context: ScreenContext) -> Self {
        Self {
            context,
            live: Vec::new(),
            next: Vec::new(),
            pending: Vec::new(),
            words: 0,
            clause: 0,
            guards: [None; GUARDS.len()],
            opened: false,
            quoted: false,
            tag: false,
        }
    }

    /// Takes a word, with its labels.
    pub(super) fn word(&mut self, labels: &LabelSet, start: usize) -> Option<Found> {
        let mut found = self.advance(&Token::Word { labels, start });
        for label in labels.iter().filter(|label| usize::from(*label) < LABELS) {
            for &position in FIRST[usize::from(label)] {
                if self.may_begin(position) {
                    found = self.enter(Live { position, start, held: (left(position) == 0).then_some(start) }, found);
                }
            }
        }
        self.keep_next();
        self.words += 1;
        self.tag = labels.contains(TAG);
        for (seen, class) in self.guards.iter_mut().zip(GUARDS) {
            if labels.contains(class) {
                *seen = Some(self.words);
            }
        }
        found
    }

    pub(super) fn clause(&mut self) {
        self.clause = self.words;
    }

    /// Takes a quotation mark.
    pub(super) fn quote(&mut self, char: char) {
        self.quoted = match char {
            '«' | '“' => true,
            '»' | '”' => false,
            _ => !self.quoted,
        };
    }

    /// Takes the end of a sentence; `opening`: `¿`, which begins a question.
    pub(super) fn end(&mut self, question: bool, opening: bool) -> Option<Found> {
        let asks = question && (self.opened || !self.tag);
        let completed = self.advance(&Token::End);
        self.keep_next();
        if asks {
            self.pending.clear();
        }
        let guards = self.guards;
        let stands = |pending: &Pending| {
            !BLOCKS[pending.block].unless_with.iter().any(|&guard| guards.get(guard).copied().flatten().is_some())
        };
        let pending = self.pending.drain(..).filter(stands).map(|pending| pending.found);
        let pending = pending.min();
        self.words = 0;
        self.clause = 0;
        self.guards = [None; GUARDS.len()];
        self.opened = opening;
        completed.into_iter().chain(pending).min()
    }

    /// Byte from which on text is held back for a match that may be completed, given the word being read: the last two
    /// words of a pattern. The words before them break no rule, and holding them back would delay clean text.
    pub(super) fn hold(&self, partial: Partial<'_>, start: usize) -> usize {
        let labels = match partial {
            Partial::None => None,
            Partial::Word(word) => Some(LabelSet::of_prefix(word)),
            Partial::Digits => Some(LabelSet::of_number()),
        };
        let from = |live: &Live| match (live.held, &labels) {
            (held, None) => held,
            (Some(held), Some(labels)) => may_go_on(*live, labels, usize::from(u8::MAX)).then_some(held),
            (None, Some(labels)) => may_go_on(*live, labels, HELD_LEFT).then_some(start),
        };
        let live = self.live.iter().filter_map(from);
        let begins = labels.as_ref().is_some_and(|labels| self.may_be_all(labels));
        live.chain(self.pending.iter().map(|pending| pending.found.hold))
            .chain(begins.then_some(start))
            .min()
            .unwrap_or(usize::MAX)
    }

    /// A word with these labels may be a whole match.
    fn may_be_all(&self, labels: &LabelSet) -> bool {
        let mut positions = labels.iter().flat_map(|label| FIRST[usize::from(label)]);
        positions.any(|&position| left(position) == 0 && self.may_begin(position))
    }

    /// Moves all live matches over a token.
    fn advance(&mut self, token: &Token<'_>) -> Option<Found> {
        let mut found = None;
        let live = std::mem::take(&mut self.live);
        for &Live { position, start, held } in &live {
            for &position in follow(position) {
                let symbol = &POSITIONS[usize::from(position)].symbol;
                let fits = match (symbol, token) {
                    (Symbol::In(label), Token::Word { labels, .. }) => labels.contains(*label),
                    (Symbol::NotIn(label), Token::Word { labels, .. }) => !labels.contains(*label),
                    (Symbol::Gap, Token::Word { labels, .. }) => !labels.contains(NEG),
                    (Symbol::NotIn(_) | Symbol::End, Token::End) => true,
                    (Symbol::In(_) | Symbol::Gap, Token::End) | (Symbol::End, Token::Word { .. }) => false,
                };
                if fits {
                    let begins = match token {
                        Token::Word { start, .. } => (left(position) <= HELD_LEFT).then_some(*start),
                        Token::End => None,
                    };
                    found = self.enter(Live { position, start, held: held.or(begins) }, found);
                }
            }
        }
        self.live = live;
        found
    }

    fn enter(&mut self, live: Live, found: Option<Found>) -> Option<Found> {
        let position = &POSITIONS[usize::from(live.position)];
        if !follow(live.position).is_empty() {
            self.next.push(live);
        }
        if !position.accepts {
            return found;
        }
        let block = &BLOCKS[position.block];
        let new = Found { start: live.start, hold: live.held.unwrap_or(live.start), rule: block.rule };
        if block.statement {
            if !self.opened && self.pending.len() < MAX_PENDING {
                self.pending.push(Pending { found: new, block: position.block });
            }
            return found;
        }
        found.into_iter().chain([new]).min()
    }

    /// One live match for each position: the oldest.
    fn keep_next(&mut self) {
        self.live.clear();
        std::mem::swap(&mut self.live, &mut self.next);
        self.live.sort_unstable();
        self.live.dedup_by_key(|live| live.position);
    }

    fn may_begin(&self, position: u16) -> bool {
        let position = &POSITIONS[usize::from(position)];
        let block = &BLOCKS[position.block];
        (!position.at_start || self.words == self.clause) && self.holds(block)
    }

    /// Returns `true` if the block's conditions are met.
    fn holds(&self, block: &Block) -> bool {
        let level = self.context.level;
        !(self.quoted && block.unless_quoted || self.opened && block.statement)
            && block.least <= level
            && level <= block.most
            && block.kind.is_none_or(|kind| self.context.kinds.contains(kind))
            && block.only_after.iter().all(|guard| self.guards_now(guard))
            && !block.unless_after.iter().any(|guard| self.guards_now(guard))
    }

    fn guards_now(&self, guard: &Guard) -> bool {
        let Some(seen) = self.guards.get(guard.class).copied().flatten() else { return false };
        self.words - seen < u32::from(guard.distance) && !(guard.clause && seen <= self.clause)
    }
}

/// A word with these labels may be the next of a match, with no more than `most` words to complete it.
fn may_go_on(live: Live, labels: &LabelSet, most: usize) -> bool {
    follow(live.position).iter().any(|&next| match POSITIONS[usize::from(next)].symbol {
        Symbol::In(label) => left(next) <= most && labels.contains(label),
        Symbol::NotIn(_) | Symbol::Gap => left(next) <= most,
        Symbol::End => false,
    })
}

/// Least number of words that complete a match behind this one.
fn left(position: u16) -> usize {
    usize::from(POSITIONS[usize::from(position)].left)
}

fn follow(position: u16) -> &'static [u16] {
    FOLLOW.get(POSITIONS[usize::from(position)].follow.clone()).unwrap_or_default()
}
