//! Assessment of what a person writes.

mod decide;
mod lexicon;
mod matcher;
mod normalise;
mod scope;
pub mod score;
mod sound;
mod tables;

use std::ops::Range;
use std::sync::LazyLock;

use normalise::Token;
use scope::Finding;
use score::Sound;
use tables::Tables;

use crate::{Cssrs, Kinds, Level, Subject};

/// What is known of the conversation when a message is assessed.
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
}

/// A rule that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Atom of the decision table, such as `intent`.
    pub code: &'static str,
    /// The rule's id in the data, such as `es.want_to_die`.
    pub rule: &'static str,
    /// Where it matched: bytes of the text as given.
    pub span: Range<usize>,
}

/// What a message says about risk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assessment {
    /// Who is at risk.
    pub subject: Subject,
    /// Kinds of risk, also without a level.
    pub kinds: Kinds,
    /// Level of this message alone, read in its context.
    pub level: Level,
    /// C-SSRS item of the gravest rule.
    pub cssrs: Option<Cssrs>,
    /// Rules that matched, in the order of the text.
    pub reasons: Vec<Reason>,
    /// The person says that they are a minor.
    pub minor_hint: bool,
    /// Suicide or self-injury is a subject, whatever the level.
    pub on_topic: bool,
    /// The person shows distress.
    pub distressed: bool,
    /// The safety question is denied ("no, no voy a hacer nada").
    pub denied: bool,
    /// The person says good-bye for now ("chau", "me voy a dormir").
    pub goodbye: bool,
}

/// Compiled data, read once.
static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    // Must not fall back to empty tables: they would find no risk, without an error.
    postcard::from_bytes(include_bytes!(concat!(env!("OUT_DIR"), "/tables.bin"))).expect("the build wrote these tables")
});

/// Bytes of the messages before, and of the message, that are read as one: a sentence sent in parts is short.
const JOINED: usize = 1_000;

/// Assesses `text` in its `context`. Takes time linear in the length of `text`.
pub fn assess(context: &Context<'_>, text: &str) -> Assessment {
    let mut alone = read(context, text, 0);
    sort(context, &mut alone, text);
    if context.recent.is_empty() {
        return alone;
    }
    let recent = context.recent.join(" ");
    let mut joined = String::with_capacity(2 * JOINED + 1);
    joined.push_str(recent.get(recent.ceil_char_boundary(recent.len().saturating_sub(JOINED))..).unwrap_or_default());
    joined.push(' ');
    let begin = joined.len();
    joined.push_str(text.get(..text.floor_char_boundary(JOINED)).unwrap_or_default());
    let together = read(context, &joined, begin);
    if together.level > alone.level { together } else { alone }
}

/// Atoms that are never dropped: wishes, intents and acts in plain words.
const PLAIN: [&str; 8] =
    ["wish_dead", "ideation", "intent", "conditional", "voices", "overdose", "self_injury_sure", "means_now"];

/// Lets the linear score raise a message without a finding, and drop findings that are circumstances only where
/// nothing in the conversation gives them weight.
fn sort(context: &Context<'_>, assessment: &mut Assessment, text: &str) {
    let is_found = assessment.level > Level::None || !assessment.kinds.is_empty();
    let is_plain = assessment.reasons.iter().any(|reason| PLAIN.contains(&reason.code));
    let has_weight = context.remembered > Level::None || context.on_topic;
    let may_be_dropped = is_found && !is_plain && !has_weight;
    if (is_found && !may_be_dropped) || (!is_found && !assessment.reasons.is_empty()) {
        return;
    }
    let reason = Reason { code: "score", rule: "score", span: 0..text.len() };
    match score::sound(text) {
        Sound::Suspicious if !is_found => {
            (assessment.level, assessment.distressed) = (Level::Concern, true);
            assessment.reasons.push(reason);
        }
        Sound::Harmless if may_be_dropped => {
            (assessment.level, assessment.kinds, assessment.cssrs) = (Level::None, Kinds::default(), None);
            assessment.reasons.push(reason);
        }
        Sound::Suspicious | Sound::Unclear | Sound::Harmless => {}
    }
}

/// Assesses the part of `text` from byte `begin` on, in the light of what stands before it.
fn read(context: &Context<'_>, text: &str, begin: usize) -> Assessment {
    let tables = &*TABLES;
    let tokens = normalise::tokens(&tables.lexicon, text);
    let matches = matcher::matches(tables, &tokens);
    let findings = scope::findings(tables, &tokens, &matches);
    let reach = |finding: &Finding| finding.end.checked_sub(1).and_then(|last| tokens.get(last)).map_or(0, token_end);
    if begin > 0 && !findings.iter().any(|finding| reach(finding) > begin) {
        return Assessment::default();
    }
    let mut assessment = decide::decide(tables, context, &findings);
    assessment.reasons = findings
        .iter()
        .filter(|finding| reach(finding) > begin)
        .filter_map(|finding| reason(tables, &tokens, finding, begin))
        .collect();
    assessment
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
