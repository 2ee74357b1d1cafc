//! Assessment of a person's messages.

mod decide;
mod lexicon;
mod matcher;
mod normalise;
pub(crate) mod questions;
mod scope;
mod score;
mod sound;
mod tables;

use std::ops::Range;
use std::sync::LazyLock;

use decide::Atoms;
use normalise::{Reading, Token};
use scope::Finding;
use score::{Found, Judgement};
use tables::Tables;

use crate::{Cssrs, Kind, Kinds, Level, Subject};

/// State of the conversation before the message.
#[derive(Debug, Clone, Default)]
pub struct Context<'a> {
    /// The person's last messages of the last three minutes, oldest first, at most four: also read as one.
    pub recent: Vec<&'a str>,
    /// Level that the episode remembers.
    pub remembered: Level,
    /// Suicide or self-injury was a subject within the last ten messages of the person.
    pub on_topic: bool,
    /// The person showed distress (a sad clause at least) within the last ten messages.
    pub distressed: bool,
    /// The person could not go on ("no puedo más") within the last ten messages.
    pub despairing: bool,
}

/// A rule that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Atom of the decision table, such as `intent`.
    pub code: &'static str,
    /// The rule's id in the data, such as `es.want_to_die`.
    pub rule: &'static str,
    /// Range of the match, in bytes of the original text.
    pub span: Range<usize>,
}

/// Result of an assessment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assessment {
    /// The person at risk.
    pub subject: Subject,
    /// Kinds of risk, also without a level.
    pub kinds: Kinds,
    /// Level of this message alone, in its context.
    pub level: Level,
    /// C-SSRS item of the gravest rule.
    pub cssrs: Option<Cssrs>,
    /// Matched rules, in the order of the text.
    pub reasons: Vec<Reason>,
    /// The person says that they are a minor.
    pub minor_hint: bool,
    /// Suicide or self-injury is a subject, whatever the level.
    pub on_topic: bool,
    /// The person shows distress.
    pub distressed: bool,
    /// The person cannot go on ("no puedo más").
    pub despairing: bool,
    /// The safety question is denied ("no, no voy a hacer nada").
    pub denied: bool,
    /// The person says good-bye for now ("chau", "me voy a dormir").
    pub goodbye: bool,
}

/// Compiled data, read once.
static TABLES: LazyLock<Tables> = LazyLock::new(|| unpack(include_bytes!(concat!(env!("OUT_DIR"), "/tables.deflate"))));

/// Reads tables that `build.rs` packed.
fn unpack(packed: &[u8]) -> Tables {
    postcard::from_bytes(&crate::inflate(packed)).expect("the build wrote these tables")
}

/// Bytes of the messages before, and of the message, that are read as one: a sentence sent in parts is short.
const MAX_JOINED_BYTES: usize = 1_000;

/// Assesses `text` in its `context`. Takes time linear in the length of `text`.
///
/// ```
/// use safety::{Context, Kind, Level, Subject, assess};
///
/// let assessment = assess(&Context::default(), "mi hermana dice que se quiere matar");
/// assert_eq!(assessment.subject, Subject::Other);
/// assert!(assessment.kinds.contains(Kind::Suicide));
///
/// // Read together with the message before.
/// let context = Context { recent: vec!["me quiero"], ..Context::default() };
/// assert!(Level::High <= assess(&context, "morir").level);
/// ```
pub fn assess(context: &Context<'_>, text: &str) -> Assessment {
    let mut alone = read(context, text, 0);
    if let Some(judgement) = score::judge(text, &alone.reading, alone.found, false) {
        apply_judgement(context, &mut alone, judgement, text.len());
    }
    // A narrow idiom is a message of its own, and no part of one: means handed over ("le di las pastillas a mi mamá").
    if context.recent.is_empty() || alone.is_idiom {
        return alone.assessment;
    }
    let recent = context.recent.join(" ");
    let mut joined = String::with_capacity(2 * MAX_JOINED_BYTES + 1);
    joined.push_str(
        recent.get(recent.ceil_char_boundary(recent.len().saturating_sub(MAX_JOINED_BYTES))..).unwrap_or_default(),
    );
    joined.push(' ');
    let begin = joined.len();
    joined.push_str(text.get(..text.floor_char_boundary(MAX_JOINED_BYTES)).unwrap_or_default());
    let mut together = read(context, &joined, begin);
    // The model has learned single sentences only. Joined messages are none, so the rules have to find something in
    // them first.
    let is_found = together.found.atoms.own | together.found.atoms.other != 0;
    if let Some(judgement) = is_found.then(|| score::judge(&joined, &together.reading, together.found, true)).flatten()
    {
        let before = joined.get(..begin).unwrap_or_default();
        let judgement = limit_to_last(context, judgement, alone.assessment.level, before);
        apply_judgement(context, &mut together, judgement, text.len());
    }
    // The person's own remembered level must not hide the risk of somebody else.
    let concerns_other = alone.assessment.subject == Subject::Other && alone.assessment.level > Level::None;
    let needed = if concerns_other { context.remembered } else { alone.assessment.level };
    let is_more = together.assessment.level > alone.assessment.level.max(needed);
    if is_more { together.assessment } else { alone.assessment }
}

/// Drops the level of a judgement on joined messages unless the last of them contributes to it.
fn limit_to_last(context: &Context<'_>, judgement: Judgement, alone: Level, before: &str) -> Judgement {
    if judgement.level <= alone {
        return judgement;
    }
    let earlier = read(context, before, 0);
    let known =
        score::judge(before, &earlier.reading, earlier.found, true).map_or(Level::None, |earlier| earlier.level);
    if judgement.level > known { judgement } else { Judgement { level: Level::None, harmless: false, ..judgement } }
}

/// Returns `true` if the model may drop the findings of the rules. Plain words are dropped only where it is very sure, as
/// a clause of their own only where it is surest, and never in a short message of the person; harm done to a person,
/// emergencies and findings of narrow rules never are.
fn may_drop(read: &Read, judgement: Judgement) -> bool {
    let Atoms { own, other } = read.found.atoms;
    let counts_as_clause = read.has_plain_clause && !judgement.plainly_harmless;
    let is_plain = own & TABLES.plain != 0 && (judgement.short || counts_as_clause);
    if (own | other) & TABLES.kept != 0 || is_plain || read.sure.is_some() {
        false
    } else if (own | other) & TABLES.plain != 0 {
        judgement.surely_harmless
    } else {
        judgement.harmless
    }
}

/// Applies the model's judgement: it may raise the level of the rules, and drop findings that nothing in the
/// conversation supports.
fn apply_judgement(context: &Context<'_>, read: &mut Read, judgement: Judgement, length: usize) {
    let may_drop = may_drop(read, judgement);
    let assessment = &mut read.assessment;
    let is_found = assessment.level > Level::None || !assessment.kinds.is_empty();
    let has_weight = context.remembered > Level::None || context.on_topic || context.despairing;
    let is_over = read.found.level <= Level::Concern && decide::is_over(read.found.atoms);
    let is_surely_other = read.sure == Some(Subject::Other) && assessment.subject == Subject::Other;
    let concerns_other = judgement.other || is_surely_other;
    let level = match judgement.level {
        // Most good-byes are for now, and the model knows few of those.
        _ if !has_weight && read.is_leave_taking => Level::None,
        _ if context.remembered < Level::High && read.is_idiom => Level::None,
        level if read.is_idiom => level.min(Level::High),
        // A plain denial or a plain past caps the level at concern.
        Level::High | Level::Imminent if is_over => Level::Concern,
        // The words of violence and of suicide are the same ("me mata"): the model confuses the two.
        Level::High | Level::Imminent if is_of_violence(assessment.kinds, judgement.kinds) => Level::Concern,
        // A helper gets the same help at every level below imminent.
        Level::High if concerns_other => Level::Concern,
        level => level,
    };
    let rule = if level > assessment.level {
        if assessment.level == Level::None || !concerns_other {
            assessment.subject = if concerns_other { Subject::Other } else { Subject::Own };
        }
        if assessment.kinds.is_empty() {
            assessment.kinds = judgement.kinds;
        }
        assessment.on_topic = assessment.kinds.has_self_directed();
        (assessment.level, assessment.distressed) = (level, true);
        match level {
            Level::Imminent => "score.imminent",
            Level::High => "score.high",
            Level::Concern | Level::None => "score.concern",
        }
    } else if may_drop && is_found && !has_weight {
        (assessment.level, assessment.kinds, assessment.cssrs) = (Level::None, Kinds::default(), None);
        assessment.subject = Subject::Own;
        "score.harmless"
    } else {
        return;
    };
    assessment.reasons.push(Reason { code: "score", rule, span: 0..length });
}

/// Returns `true` if the rules found violence against the person alone, and the model no suicide beside it.
fn is_of_violence(found: Kinds, judged: Kinds) -> bool {
    let is_violence = found.contains(Kind::Abuse) || found.contains(Kind::SexualViolence);
    is_violence && !found.has_self_directed() && !judged.has_self_directed()
}

/// First words of a message that continues the phrase of the one before ("me muero", "de risa").
const CONTINUATIONS: [&str; 3] = ["de", "del", "of"];

/// Returns `true` if `text` completes an idiom that `last` begins, so that together they are no sign of risk.
pub(crate) fn completes_idiom(last: &str, text: &str) -> bool {
    let mut words = text.split_whitespace();
    let continues = words.next().is_some_and(|word| CONTINUATIONS.contains(&word.to_lowercase().as_str()));
    if !continues || words.next().is_none() {
        return false;
    }
    let tables = &*TABLES;
    let joined = format!("{last} {text}");
    let reading = normalise::reading(&tables.lexicon, &joined);
    let matches = matcher::matches(tables, &reading.tokens);
    scope::is_covered_across(tables, &reading.tokens, &matches, last.len())
        && assess(&Context::default(), &joined).level == Level::None
}

/// Result of the rules on a message.
struct Read {
    reading: Reading,
    found: Found,
    assessment: Assessment,
    /// Plain words of risk are a clause of their own. False of joined messages, as the next.
    has_plain_clause: bool,
    /// The rules find no more than a good-bye, and it is nearly the whole message.
    is_leave_taking: bool,
    /// The rules find nothing, and most of the message is a narrow idiom.
    is_idiom: bool,
    /// Subject of the findings of narrow rules, the person's own first.
    sure: Option<Subject>,
}

/// Applies the rules to `text`, and assesses its part from byte `begin` on, with the part before as context.
fn read(context: &Context<'_>, text: &str, begin: usize) -> Read {
    let tables = &*TABLES;
    let reading = normalise::reading(&tables.lexicon, text);
    let tokens = &reading.tokens;
    let matches = matcher::matches(tables, tokens);
    let findings = scope::findings(tables, tokens, &matches);
    let atoms = decide::atoms(tables, &findings);
    let mut assessment = decide::decide(tables, context, atoms, &findings);
    let found = Found { atoms, level: assessment.level };
    let reach = |finding: &Finding| finding.end.checked_sub(1).and_then(|last| tokens.get(last)).map_or(0, token_end);
    if begin > 0 && !findings.iter().any(|finding| reach(finding) > begin) {
        assessment = Assessment::default();
    } else {
        assessment.reasons = findings
            .iter()
            .filter(|finding| reach(finding) > begin)
            .filter_map(|finding| reason(tables, tokens, finding, begin))
            .collect();
    }
    let is_alone = begin == 0;
    let has_plain_clause = is_alone && decide::has_plain_clause(tables, tokens, &findings);
    let is_leave_taking = is_alone && found.level == Level::None && decide::is_leave_taking(tables, tokens, &findings);
    let is_idiom = is_alone && findings.is_empty() && 2 * scope::idiom_tokens(tables, &matches) >= tokens.len().max(1);
    let sure = decide::sure_subject(tables, &findings);
    Read { reading, found, assessment, has_plain_clause, is_leave_taking, is_idiom, sure }
}

/// Writes the model's features of `text`, for training: see `examples/features`.
#[doc(hidden)]
pub fn describe(text: &str, out: &mut Vec<u8>) {
    let Read { reading, found, assessment, .. } = read(&Context::default(), text, 0);
    out.extend(found.atoms.own.to_le_bytes());
    out.extend(found.atoms.other.to_le_bytes());
    out.push(found.level as u8);
    out.push(assessment.subject as u8);
    out.push(u8::from(score::manner::is_general(text, &reading)));
    out.extend(assessment.kinds.bits().to_le_bytes());
    let words = score::words::words(&reading);
    out.extend(u16::try_from(words.len()).unwrap_or(u16::MAX).to_le_bytes());
    for (at, word) in words.iter().enumerate().take(usize::from(u16::MAX)) {
        out.extend(word.key.to_le_bytes());
        out.push(word.mark);
        out.push(u8::try_from(word.parts().len()).unwrap_or(0));
        out.extend(word.parts().iter().flat_map(|part| part.to_le_bytes()));
        let mut rows = Vec::new();
        score::words::sequences(&words, at, |row| rows.push(row));
        out.push(u8::try_from(rows.len()).unwrap_or(0));
        out.extend(rows.iter().flat_map(|row| row.to_le_bytes()));
    }
}

/// Names of the atoms, in the order of the bits that `describe` writes.
#[doc(hidden)]
pub fn atoms() -> &'static [String] {
    &TABLES.atoms
}

fn token_end(token: &Token) -> usize {
    usize::try_from(token.end).unwrap_or(usize::MAX)
}

fn reason(tables: &'static Tables, tokens: &[Token], finding: &Finding, begin: usize) -> Option<Reason> {
    let rule = tables.rules.get(finding.rule)?;
    let first = tokens.get(finding.begin)?;
    let last = tokens.get(finding.end.checked_sub(1)?)?;
    let start = usize::try_from(first.begin).ok()?.max(begin) - begin;
    Some(Reason { code: decide::code(tables, finding)?, rule: &rule.id, span: start..token_end(last) - begin })
}

#[cfg(test)]
mod tests;
