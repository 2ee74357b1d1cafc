//! Idioms mute matches, frames change them: what is left are the findings.

use super::matcher::Match;
use super::normalise::{Boundary, Token};
use super::tables::{Effect, Frame, Idiom, Item, Scope, Tables};

/// A rule's match, as its surroundings let it stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finding {
    pub rule: usize,
    pub begin: usize,
    pub end: usize,
    pub effect: Option<Effect>,
}

/// Longest match, in tokens: starts of matches are kept as bits of a word.
const LONGEST_MATCH: usize = 64;

/// Reads `matches` in their scopes.
pub(crate) fn findings(tables: &Tables, tokens: &[Token], matches: &[Match]) -> Vec<Finding> {
    let rules = longest_rules(matches);
    if rules.is_empty() {
        return rules;
    }
    let idioms = idioms(tables, matches);
    let frames = Frames::of(tables, tokens, matches);
    rules
        .into_iter()
        .filter(|finding| !is_idiom(tables, &idioms, finding))
        .map(|finding| Finding { effect: frames.effect(tables, &finding), ..finding })
        .filter(|finding| finding.effect != Some(Effect::Drop))
        .collect()
}

/// Keeps the longest of a rule's overlapping matches, in the order of the text.
fn longest_rules(matches: &[Match]) -> Vec<Finding> {
    let mut found: Vec<Finding> = matches
        .iter()
        .filter_map(|found| match found.item {
            Item::Rule(rule) => {
                Some(Finding { rule: usize::from(rule), begin: found.begin, end: found.end, effect: None })
            }
            _ => None,
        })
        .collect();
    found.sort_by_key(|finding| (finding.rule, finding.begin, usize::MAX - finding.end));
    found.dedup_by(|later, kept| {
        let same = later.rule == kept.rule && later.begin < kept.end;
        if same {
            kept.end = kept.end.max(later.end);
        }
        same
    });
    found.sort_by_key(|finding| (finding.begin, finding.end));
    found
}

/// An idiom's match.
struct Muted<'a> {
    idiom: &'a Idiom,
    begin: usize,
    end: usize,
}

/// Lists the idioms found, in the order of the text.
fn idioms<'a>(tables: &'a Tables, matches: &[Match]) -> Vec<Muted<'a>> {
    let mut idioms: Vec<Muted<'a>> = matches
        .iter()
        .filter_map(|found| match found.item {
            Item::Idiom(idiom) => {
                let idiom = tables.idioms.get(usize::from(idiom))?;
                Some(Muted { idiom, begin: found.begin, end: found.end })
            }
            _ => None,
        })
        .collect();
    idioms.sort_by_key(|muted| muted.begin);
    idioms
}

/// An idiom mutes a match whose end it covers (`quiero morirme` in "quiero morirme de risa"), or most of it; one that
/// goes on beyond the idiom stands.
fn is_idiom(tables: &Tables, idioms: &[Muted<'_>], finding: &Finding) -> bool {
    let Some(rule) = tables.rules.get(finding.rule) else { return false };
    let atom = 1_u64 << rule.atom;
    let nearest = idioms.partition_point(|muted| muted.begin + LONGEST_MATCH < finding.begin);
    let near = idioms.iter().skip(nearest).take_while(|muted| muted.begin < finding.end);
    near.filter(|muted| muted.idiom.spares & atom == 0 && speaks(muted.idiom.language, rule.language)).any(|muted| {
        let shared = muted.end.min(finding.end).saturating_sub(muted.begin.max(finding.begin));
        let covers_end = shared > 0 && muted.end >= finding.end;
        covers_end || shared * 2 > finding.end - finding.begin
    })
}

/// Tells whether an idiom or a frame of namespace `one` concerns rules of namespace `other`.
fn speaks(one: u8, other: u8) -> bool {
    one == other || one == 0
}

/// A frame's number and the tokens that it governs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Governed {
    frame: u16,
    begin: usize,
    end: usize,
}

/// The frames of a text.
struct Frames {
    /// By frame, in the order of the text; none lies within another of the same frame.
    governed: Vec<Vec<Governed>>,
    /// Some frame undoes jokes.
    earnest: bool,
}

impl Frames {
    fn of(tables: &Tables, tokens: &[Token], matches: &[Match]) -> Self {
        let mut found: Vec<Match> =
            matches.iter().filter(|found| matches!(found.item, Item::Frame(_))).copied().collect();
        found.sort_by_key(|found| (found.begin, found.end));
        found.dedup();
        let sentences = if found.is_empty() { Sentences::default() } else { Sentences::of(tokens, matches) };
        let governs = |found: &Match| {
            let Item::Frame(frame) = found.item else { return None };
            let (begin, end) = sentences.governed(tables.frames.get(usize::from(frame))?.scope, found)?;
            Some(Governed { frame, begin, end })
        };
        let mut governed: Vec<Governed> = found.iter().filter_map(governs).collect();
        governed.sort_by_key(|one| (one.frame, one.begin, usize::MAX - one.end));
        governed.dedup_by(|later, kept| later.frame == kept.frame && later.end <= kept.end);
        let governed: Vec<Vec<Governed>> =
            governed.chunk_by(|one, other| one.frame == other.frame).map(<[Governed]>::to_vec).collect();
        let is_earnest = |frame: &Frame| frame.effect == Effect::Earnest;
        let earnest = governed.iter().any(|of_frame| frame(tables, of_frame).is_some_and(is_earnest));
        Self { governed, earnest }
    }

    fn effect(&self, tables: &Tables, finding: &Finding) -> Option<Effect> {
        let rule = tables.rules.get(finding.rule)?;
        let atom = 1_u64 << rule.atom;
        self.governed
            .iter()
            .filter_map(|of_frame| Some((frame(tables, of_frame)?, of_frame)))
            .filter(|(frame, _)| rule.past || frame.effect != Effect::Past)
            .filter(|(frame, _)| frame.spares & atom == 0 && speaks(frame.language, rule.language))
            .filter(|(frame, _)| frame.effect != Effect::Earnest && !(self.earnest && frame.effect == Effect::Joke))
            .filter(|(frame, of_frame)| is_governed(frame.scope, of_frame, finding))
            .map(|(frame, _)| frame.effect)
            .min()
    }
}

fn frame<'a>(tables: &'a Tables, of_frame: &[Governed]) -> Option<&'a Frame> {
    of_frame.first().and_then(|one| tables.frames.get(usize::from(one.frame)))
}

/// Tells whether one of a frame's ranges governs `finding`. Their begins and ends both rise.
fn is_governed(scope: Scope, of_frame: &[Governed], finding: &Finding) -> bool {
    if scope == Scope::Span {
        let at = of_frame.partition_point(|one| one.end <= finding.begin);
        return of_frame.get(at).is_some_and(|one| one.begin < finding.end);
    }
    let behind = of_frame.partition_point(|one| one.begin <= finding.begin);
    behind.checked_sub(1).and_then(|at| of_frame.get(at)).is_some_and(|one| finding.end <= one.end)
}

/// Sentences, quotations and turns of a text.
#[derive(Debug, Default)]
struct Sentences {
    /// First tokens, and the text's length.
    begins: Vec<usize>,
    /// Quoted tokens.
    quoted: Vec<usize>,
    /// Where the person comes to speak of themselves, sorted. The "I" of a quotation is somebody else.
    turns: Vec<usize>,
    length: usize,
}

impl Sentences {
    fn of(tokens: &[Token], matches: &[Match]) -> Self {
        let places = |holds: fn(&Token) -> bool| -> Vec<usize> {
            tokens.iter().enumerate().filter(|(_, token)| holds(token)).map(|(at, _)| at).collect()
        };
        let turns = matches.iter().filter(|found| matches!(found.item, Item::Phrase(_))).map(|found| found.begin);
        let mut turns: Vec<usize> =
            turns.filter(|begin| tokens.get(*begin).is_some_and(|token| !token.quoted)).collect();
        turns.sort_unstable();
        Self {
            begins: places(|token| token.boundary == Boundary::Hard),
            quoted: places(|token| token.quoted),
            turns,
            length: tokens.len(),
        }
    }

    /// Returns the tokens that a frame found at `found` governs.
    fn governed(&self, scope: Scope, found: &Match) -> Option<(usize, usize)> {
        Some(match scope {
            Scope::Span => (found.begin, found.end),
            Scope::Message => (0, self.length),
            Scope::After => (found.begin, self.turn_after(found.end)),
            Scope::Before => (self.begin(found.begin), found.end),
            Scope::Sentence => (self.begin(found.begin), self.turn_after(found.end)),
            Scope::Quote => return self.quote(found),
        })
    }

    fn begin(&self, from: usize) -> usize {
        let behind = self.begins.partition_point(|begin| *begin <= from);
        behind.checked_sub(1).and_then(|at| self.begins.get(at)).copied().unwrap_or(0)
    }

    fn end(&self, from: usize) -> usize {
        first_from(&self.begins, from).unwrap_or(self.length)
    }

    /// Returns the end of the sentence, or the place where the person comes to speak of themselves.
    fn turn_after(&self, from: usize) -> usize {
        let end = self.end(from);
        first_from(&self.turns, from).filter(|turn| *turn < end).unwrap_or(end)
    }

    /// Returns the quotation in this sentence or the next.
    fn quote(&self, found: &Match) -> Option<(usize, usize)> {
        let begin = self.begin(found.begin);
        let end = self.end(self.end(found.end) + 1);
        let first = first_from(&self.quoted, begin).filter(|first| *first < end)?;
        let behind = self.quoted.partition_point(|quoted| *quoted < end);
        let last = self.quoted.get(behind.checked_sub(1)?)?;
        Some((first, last + 1))
    }
}

/// Returns the first of sorted `places` that is not before `from`.
fn first_from(places: &[usize], from: usize) -> Option<usize> {
    places.get(places.partition_point(|place| *place < from)).copied()
}
