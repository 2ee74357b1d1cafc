//! Findings: matches that idioms do not mute, as changed by frames.

use super::matcher::{Match, steps};
use super::normalise::{Boundary, Token};
use super::tables::{Effect, Frame, Idiom, Item, Scope, Tables};

/// A rule's match after idioms and frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finding {
    pub rule: usize,
    pub begin: usize,
    pub end: usize,
    pub effect: Option<Effect>,
}

/// Longest match, in tokens: starts of matches are kept as bits of a word.
const MAX_MATCH_TOKENS: usize = 64;

/// Reads `matches` in their scopes.
pub(crate) fn findings(tables: &Tables, tokens: &[Token], matches: &[Match]) -> Vec<Finding> {
    let rules = longest_rules(matches);
    if rules.is_empty() {
        return rules;
    }
    let idioms = idioms(tables, matches);
    let mut findings: Vec<Finding> = rules.into_iter().filter(|finding| !is_idiom(tables, &idioms, finding)).collect();
    if !findings.is_empty() {
        Frames::of(tables, tokens, matches).change(tables, &mut findings);
        findings.retain(|finding| finding.effect != Some(Effect::Drop));
    }
    findings
}

/// Returns `true` if an idiom that spans byte `begin` covers a finding before it.
pub(crate) fn is_covered_across(tables: &Tables, tokens: &[Token], matches: &[Match], begin: usize) -> bool {
    let is_before =
        |at: usize| tokens.get(at).is_some_and(|token| usize::try_from(token.end).is_ok_and(|end| end <= begin));
    let mut spanning = idioms(tables, matches);
    spanning.retain(|muted| is_before(muted.begin) && !is_before(muted.end.saturating_sub(1)));
    let rules = longest_rules(matches);
    let mut before = rules.iter().filter(|finding| is_before(finding.begin)).peekable();
    before.peek().is_some() && before.all(|finding| is_idiom(tables, &spanning, finding))
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
    found.sort_unstable_by_key(|finding| (finding.rule, finding.begin, usize::MAX - finding.end));
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

/// Returns the number of tokens that narrow idioms span.
pub(crate) fn idiom_tokens(tables: &Tables, matches: &[Match]) -> usize {
    let mut reached = 0;
    let spans = idioms(tables, matches).into_iter().filter(|muted| muted.idiom.sure).map(|muted| {
        let tokens = muted.end.saturating_sub(muted.begin.max(reached));
        reached = reached.max(muted.end);
        tokens
    });
    spans.sum()
}

/// An idiom mutes a match whose end it covers (`quiero morirme` in "quiero morirme de risa"), or most of it; one that
/// goes on beyond the idiom stands.
fn is_idiom(tables: &Tables, idioms: &[Muted<'_>], finding: &Finding) -> bool {
    let Some(rule) = tables.rules.get(finding.rule) else { return false };
    let atom = 1_u64 << rule.atom;
    let nearest = idioms.partition_point(|muted| muted.begin + MAX_MATCH_TOKENS < finding.begin);
    let near = idioms.iter().skip(nearest).take_while(|muted| muted.begin < finding.end);
    near.inspect(|_| steps::step())
        .filter(|muted| muted.idiom.spares & atom == 0 && concerns(muted.idiom.language, rule.language))
        .any(|muted| {
            let shared = muted.end.min(finding.end).saturating_sub(muted.begin.max(finding.begin));
            let covers_end = shared > 0 && muted.end >= finding.end;
            covers_end || shared * 2 > finding.end - finding.begin
        })
}

/// Returns `true` if an idiom or a frame of namespace `one` applies to rules of namespace `other`.
fn concerns(one: u8, other: u8) -> bool {
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
    /// Sorted by frame and place; none lies within another of the same frame.
    governed: Vec<Governed>,
    /// Some frame undoes jokes.
    earnest: bool,
}

impl Frames {
    fn of(tables: &Tables, tokens: &[Token], matches: &[Match]) -> Self {
        let mut found: Vec<(u16, &Match)> = matches
            .iter()
            .filter_map(|found| if let Item::Frame(frame) = found.item { Some((frame, found)) } else { None })
            .collect();
        found.sort_unstable_by_key(|(frame, found)| (*frame, found.begin, found.end));
        found.dedup();
        let sentences = if found.is_empty() { Sentences::default() } else { Sentences::of(tokens, matches) };
        let governs = |(frame, found): &(u16, &Match)| {
            let of_frame = tables.frames.get(usize::from(*frame))?;
            // The "no" of "no, me voy a matar" answers a question: it denies nothing of what follows.
            if of_frame.effect == Effect::Deny && sentences.is_apart(found.begin) {
                return None;
            }
            let (begin, end) = sentences.governed(of_frame.scope, found)?;
            Some(Governed { frame: *frame, begin, end })
        };
        let mut governed: Vec<Governed> = found.iter().filter_map(governs).collect();
        governed.sort_unstable_by_key(|one| (one.frame, one.begin, usize::MAX - one.end));
        governed.dedup_by(|later, kept| later.frame == kept.frame && later.end <= kept.end);
        let is_earnest = |one: &Governed| {
            tables.frames.get(usize::from(one.frame)).is_some_and(|frame| frame.effect == Effect::Earnest)
        };
        let earnest = governed.iter().any(is_earnest);
        Self { governed, earnest }
    }

    /// Gives each of `findings`, sorted by their begins, the strongest effect of the frames that govern it.
    fn change(&self, tables: &Tables, findings: &mut [Finding]) {
        for of_frame in self.governed.chunk_by(|one, other| one.frame == other.frame) {
            let frame = of_frame.first().and_then(|one| tables.frames.get(usize::from(one.frame)));
            let is_idle =
                |frame: &&Frame| frame.effect == Effect::Earnest || (self.earnest && frame.effect == Effect::Joke);
            let Some(frame) = frame.filter(|frame| !is_idle(frame)) else { continue };
            if matches!(frame.scope, Scope::Span | Scope::Tight) {
                for finding in findings.iter_mut().filter(|finding| touches(of_frame, finding)) {
                    weaken(tables, frame, finding);
                }
                continue;
            }
            for one in of_frame {
                let first = findings.partition_point(|finding| finding.begin < one.begin);
                let behind = findings.get_mut(first..).unwrap_or_default().iter_mut();
                for finding in behind.take_while(|finding| finding.begin < one.end) {
                    if finding.end <= one.end {
                        weaken(tables, frame, finding);
                    }
                }
            }
        }
    }
}

/// Applies the effect of a frame to a finding, if it applies to its rule and is stronger than the present one.
fn weaken(tables: &Tables, frame: &Frame, finding: &mut Finding) {
    steps::step();
    let Some(rule) = tables.rules.get(finding.rule) else { return };
    let concerns = (rule.past || frame.effect != Effect::Past)
        && frame.spares & (1_u64 << rule.atom) == 0
        && concerns(frame.language, rule.language);
    if concerns && finding.effect.is_none_or(|effect| frame.effect < effect) {
        finding.effect = Some(frame.effect);
    }
}

/// Returns `true` if one of a frame's ranges shares a token with `finding`. Their begins and ends both rise.
fn touches(of_frame: &[Governed], finding: &Finding) -> bool {
    let at = of_frame.partition_point(|one| one.end <= finding.begin);
    of_frame.get(at).is_some_and(|one| one.begin < finding.end)
}

/// Sentences, quotations and turns of a text.
#[derive(Debug, Default)]
struct Sentences {
    /// First tokens, and the text's length.
    begins: Vec<usize>,
    /// First tokens behind a comma or the end of a sentence.
    parts: Vec<usize>,
    /// Quoted tokens.
    quoted: Vec<usize>,
    /// Tokens at which the person turns to themselves, sorted. The "I" of a quotation is somebody else.
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
            parts: places(|token| token.boundary != Boundary::None),
            quoted: places(|token| token.quoted),
            turns,
            length: tokens.len(),
        }
    }

    /// Returns `true` if a comma or the end of a sentence follows the token at `at`.
    fn is_apart(&self, at: usize) -> bool {
        self.parts.binary_search(&(at + 1)).is_ok()
    }

    /// Returns the tokens that a frame found at `found` governs.
    fn governed(&self, scope: Scope, found: &Match) -> Option<(usize, usize)> {
        Some(match scope {
            Scope::Span => (found.begin, found.end),
            Scope::Tight if first_from(&self.parts, found.begin + 1).is_some_and(|part| part < found.end) => {
                return None;
            }
            Scope::Tight => (found.begin, found.end),
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

    /// Returns the end of the sentence, or the first token from `from` on at which the person turns to themselves.
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
