//! The decision table: from atoms to a level.

use std::sync::LazyLock;

use super::normalise::{Boundary, Token};
use super::scope::Finding;
use super::tables::{Effect, Row, Rule, Tables};
use super::{Assessment, Context, TABLES};
use crate::{Cssrs, Kind, Kinds, Level, Subject};

/// Atoms that the engine itself knows by name, as bits.
struct Known {
    past: u64,
    denial: u64,
    joke: u64,
    minor: u64,
    goodbye: u64,
    protective: u64,
    distress: u64,
    distress_deep: u64,
    topic: u64,
    context_topic: u64,
    context_distress: u64,
    context_despair: u64,
    context_levels: [u64; 4],
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let bit = |name: &str| TABLES.atoms.iter().position(|atom| atom == name).map_or(0, |at| 1 << at);
    Known {
        past: bit("past"),
        denial: bit("denial"),
        joke: bit("joke"),
        minor: bit("minor"),
        goodbye: bit("goodbye"),
        protective: bit("protective"),
        distress: bit("distress"),
        distress_deep: bit("distress_deep"),
        topic: bit("topic"),
        context_topic: bit("context_topic"),
        context_distress: bit("context_distress"),
        context_despair: bit("context_despair"),
        context_levels: [0, bit("context_concern"), bit("context_high"), bit("context_imminent")],
    }
});

/// Returns the atom of a finding, as a bit.
fn atom(tables: &Tables, finding: &Finding) -> u64 {
    match finding.effect {
        Some(Effect::Past) => KNOWN.past,
        Some(Effect::Deny) => KNOWN.denial,
        Some(Effect::Joke) => KNOWN.joke,
        _ => tables.rules.get(finding.rule).map_or(0, |rule| 1 << rule.atom),
    }
}

/// Returns the name of the atom that a finding stands for.
pub(crate) fn code<'a>(tables: &'a Tables, finding: &Finding) -> Option<&'a str> {
    let at = usize::try_from(atom(tables, finding).trailing_zeros()).ok()?;
    tables.atoms.get(at).map(String::as_str)
}

/// Atoms found, as bits: of the person, and of others.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Atoms {
    pub own: u64,
    pub other: u64,
}

pub(crate) fn atoms(tables: &Tables, findings: &[Finding]) -> Atoms {
    let mut atoms = Atoms::default();
    for finding in findings {
        let theirs = tables.rules.get(finding.rule).is_some_and(|rule| rule.other);
        let bits = if theirs || finding.effect == Some(Effect::Other) { &mut atoms.other } else { &mut atoms.own };
        *bits |= atom(tables, finding);
    }
    atoms
}

/// Returns `true` if the person says that the risk is past, or denies it.
pub(crate) fn is_over(atoms: Atoms) -> bool {
    atoms.own & (KNOWN.past | KNOWN.denial) != 0
}

/// Returns `true` if plain words of risk are a clause of their own ("me quiero matar, perdí el trabajo").
pub(crate) fn has_plain_clause(tables: &Tables, tokens: &[Token], findings: &[Finding]) -> bool {
    let begins_clause = |at: usize| at == 0 || tokens.get(at).is_none_or(|token| token.boundary != Boundary::None);
    let is_plain = |finding: &&Finding| tables.plain & atom(tables, finding) != 0;
    findings.iter().filter(is_plain).any(|finding| begins_clause(finding.begin) && begins_clause(finding.end))
}

/// Most words beside a good-bye that leave it one for now ("bueno, chau, gracias por hoy").
const MAX_WORDS_BESIDE_GOODBYE: usize = 3;

/// Returns `true` if `findings`, sorted by their begins, are no more than a good-bye, and nearly the whole message.
pub(crate) fn is_leave_taking(tables: &Tables, tokens: &[Token], findings: &[Finding]) -> bool {
    let atoms = findings.iter().fold(0, |atoms, finding| atoms | atom(tables, finding));
    let mut covered = 0;
    let mut end = 0;
    for finding in findings {
        covered += finding.end.saturating_sub(finding.begin.max(end));
        end = end.max(finding.end);
    }
    atoms & KNOWN.goodbye != 0
        && atoms & !(KNOWN.goodbye | KNOWN.protective) == 0
        && tokens.len() <= covered + MAX_WORDS_BESIDE_GOODBYE
}

/// Returns the subject of the findings of narrow rules, the person's own first.
pub(crate) fn sure_subject(tables: &Tables, findings: &[Finding]) -> Option<Subject> {
    let stands = |finding: &&Finding| matches!(finding.effect, None | Some(Effect::Other));
    let rules = findings.iter().filter(stands).filter_map(|finding| Some((finding, tables.rules.get(finding.rule)?)));
    let is_other = |(finding, rule): (&Finding, &Rule)| rule.other || finding.effect == Some(Effect::Other);
    let is_other_only = rules.filter(|(_, rule)| rule.sure).map(is_other).min()?;
    Some(if is_other_only { Subject::Other } else { Subject::Own })
}

/// Decides the assessment of `findings` in `context`.
pub(crate) fn decide(tables: &Tables, context: &Context<'_>, atoms: Atoms, findings: &[Finding]) -> Assessment {
    let Atoms { own, other } = atoms;
    let own_row = row(tables, own | conversation(context));
    let other_row = row(tables, other);
    let own_level = own_row.map_or(Level::None, |row| level(row.level));
    let other_level = match other_row.map_or(Level::None, |row| level(row.level)) {
        // A helper gets the same help at every level below imminent.
        Level::High => Level::Concern,
        level => level,
    };
    let level = own_level.max(other_level);
    let kinds = kinds(tables, findings);
    let gravest = if own_level >= other_level { own_row } else { other_row };
    Assessment {
        subject: if own_level == Level::None && other != 0 { Subject::Other } else { Subject::Own },
        kinds,
        level,
        cssrs: gravest.and_then(|row| cssrs(row.cssrs)).or_else(|| gravest_item(tables, findings)),
        reasons: Vec::new(),
        minor_hint: own & KNOWN.minor != 0,
        // Violence against a person is another subject: what they will do "today" is to leave, or to report it.
        on_topic: kinds.has_self_directed() || own & KNOWN.topic != 0 || level > Level::None && kinds.is_empty(),
        distressed: level > Level::None || own & KNOWN.distress != 0,
        despairing: own & KNOWN.distress_deep != 0,
        denied: own & KNOWN.denial != 0,
        goodbye: own & KNOWN.goodbye != 0,
    }
}

fn kinds(tables: &Tables, findings: &[Finding]) -> Kinds {
    let real = findings.iter().filter(|finding| !matches!(finding.effect, Some(Effect::Deny | Effect::Joke)));
    let bits = real.filter_map(|finding| tables.rules.get(finding.rule)).fold(0, |bits, rule| bits | rule.kinds);
    Kind::ALL.into_iter().filter(|kind| bits & (1 << *kind as u16) != 0).collect()
}

/// Returns the first row of the table that holds.
fn row(tables: &Tables, atoms: u64) -> Option<&Row> {
    tables
        .rows
        .iter()
        .find(|row| row.all & !atoms == 0 && (row.any == 0 || row.any & atoms != 0) && row.none & atoms == 0)
}

/// Returns the atoms of the conversation's state.
fn conversation(context: &Context<'_>) -> u64 {
    let when = |holds: bool, bit: u64| if holds { bit } else { 0 };
    when(context.on_topic, KNOWN.context_topic)
        | when(context.distressed, KNOWN.context_distress)
        | when(context.despairing, KNOWN.context_despair)
        | KNOWN.context_levels.get(context.remembered as usize).copied().unwrap_or(0)
}

fn gravest_item(tables: &Tables, findings: &[Finding]) -> Option<Cssrs> {
    let plain = findings.iter().filter(|finding| finding.effect.is_none());
    plain.filter_map(|finding| tables.rules.get(finding.rule)).map(|rule| rule.cssrs).max().and_then(cssrs)
}

fn level(number: u8) -> Level {
    match number {
        0 => Level::None,
        1 => Level::Concern,
        2 => Level::High,
        _ => Level::Imminent,
    }
}

fn cssrs(item: u8) -> Option<Cssrs> {
    Some(match item {
        1 => Cssrs::WishToBeDead,
        2 => Cssrs::ActiveThoughts,
        3 => Cssrs::Method,
        4 => Cssrs::Intent,
        5 => Cssrs::Plan,
        6 => Cssrs::Behaviour,
        _ => return None,
    })
}
