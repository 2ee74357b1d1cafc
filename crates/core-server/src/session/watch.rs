//! Memory of risk over a conversation: assesses each message once, and decides when help is shown.
//!
//! Without I/O and clock. The risk itself is the [`safety::episode::Episode`]'s: a fold over the person's
//! messages, which any core can make again from the stored ones.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use protocol::server_frame::{Entry, Help, Level as WireLevel, Role, Subject as WireSubject};
use protocol::{MessageId, Timestamp, UserText};
use safety::episode::Episode;
use safety::resources::Need;
use safety::{Kind, Kinds, Level, Subject};

use super::help;
use crate::turn::{MessageRisk, Risk};

/// Last stored entries from which the memory is folded when a session is opened, unless imminent risk was seen before.
const RESTORED_WITHOUT_RISK: u64 = 40;
/// Entries before the help for a message in imminent risk: the message itself, and those that give it its context.
const RESTORED_BEFORE_RISK: u64 = 20;
/// Assessed messages that are known again by their id.
const MAX_ASSESSED: usize = 64;
/// Messages of the person for which kinds last, and what a second opinion found.
const LASTS_FOR: u64 = 10;
/// Messages of the person within which help is not repeated.
const REPEAT_AFTER: u64 = 6;

/// What a session remembers of risk.
#[derive(Debug, Default)]
pub struct Watch {
    episode: Episode,
    /// Kinds of risk that were found last, and whose it was.
    kinds: Kinds,
    subject: Subject,
    /// How many messages there had been then.
    found: Option<u64>,
    /// The person has said that they are a minor.
    is_minor: bool,
    /// Messages of the person so far.
    turns: u64,
    /// The last messages.
    assessed: VecDeque<Assessed>,
    shown: Option<Shown>,
    /// What a second opinion has found, and after how many messages.
    raised: Option<(Risk, u64)>,
    /// Stored messages are part of it, or there were none.
    is_restored: bool,
}

/// A message that was assessed.
#[derive(Debug)]
struct Assessed {
    id: MessageId,
    /// Of its text: a refused id may come again with another one.
    hash: u64,
    risk: MessageRisk,
}

/// Help that was shown last.
#[derive(Debug, Clone)]
struct Shown {
    id: MessageId,
    need: Need,
    /// How many messages there had been.
    turn: u64,
}

impl Watch {
    /// Of a session that begins.
    pub(super) fn of_new() -> Self {
        Self { is_restored: true, ..Self::default() }
    }

    /// Assesses the message `id`, which arrived at `at`. Returns what help is to be shown for it; `None` for
    /// none, and for a message that was assessed before.
    pub fn observe(&mut self, id: &MessageId, text: &UserText, at: Timestamp) -> Option<Need> {
        let hash = hash(text);
        if self.assessed(id, hash).is_some() {
            return None;
        }
        let need = self.remember(id, hash, text, at)?;
        if !self.calls_for_help_again(need) {
            return None;
        }
        self.note_shown(id, need);
        Some(need)
    }

    /// Takes a stored entry in that was not assessed here: another core has done so.
    pub(super) fn learn(&mut self, entry: &Entry) {
        match (entry.role, &entry.help) {
            (Role::User, _) if !self.assessed.iter().any(|known| known.id == entry.id) => {
                self.remember(&entry.id, hash(&entry.text), &entry.text, entry.at);
            }
            (Role::Assistant, _) => self.answered(&entry.text),
            (Role::Support, Some(help)) => self.learn_shown(&entry.id, help),
            _ => {}
        }
    }

    /// Returns what message `id` says of risk, as it was assessed; `None` where it was not, or too long ago.
    pub(super) fn message_risk(&self, id: &MessageId, text: &UserText) -> Option<MessageRisk> {
        self.assessed(id, hash(text)).map(|known| known.risk)
    }

    fn assessed(&self, id: &MessageId, hash: u64) -> Option<&Assessed> {
        self.assessed.iter().find(|known| known.hash == hash && known.id == *id)
    }

    /// Takes in an answer: it may ask about safety.
    pub(super) fn answered(&mut self, answer: &UserText) {
        self.episode.asked(answer.expose());
    }

    /// Notes that another core has shown `help` for message `id`.
    pub(super) fn learn_shown(&mut self, id: &MessageId, help: &Help) {
        self.note_shown(id, need_of(help, self.is_minor));
    }

    /// Takes over what was folded from stored messages; once.
    pub(super) fn restore(&mut self, restored: Self) {
        if !self.is_restored {
            *self = restored;
        }
    }

    /// The same for a session that begins with these messages.
    pub(super) fn into_restored(self) -> Self {
        Self { is_restored: true, ..self }
    }

    /// Tells whether stored messages are part of it.
    pub(super) fn is_restored(&self) -> bool {
        self.is_restored
    }

    /// Returns the risk in force at `now`.
    pub(super) fn risk(&self, now: Timestamp) -> Risk {
        let level = self.episode.level(now);
        let lasts = level != Level::None || self.found_lasts();
        let (kinds, subject) = if lasts { (self.kinds, self.subject) } else { (Kinds::default(), Subject::Own) };
        let risk = Risk { level, kinds, subject, minor: self.is_minor };
        match self.raised {
            Some((raised, turn)) if self.turns < turn + LASTS_FOR && level < raised.level => raised,
            _ => risk,
        }
    }

    /// Takes in that a second opinion finds message `id` graver. Returns what help is to be shown for it.
    pub(super) fn raise(&mut self, id: &MessageId, risk: Risk) -> Option<Need> {
        self.raised = Some((risk, self.turns));
        let Risk { level, kinds, subject, minor } = risk;
        let need = Need { level, kinds, subject, minor };
        let is_new = self.calls_for_help_again(need);
        if is_new {
            self.note_shown(id, need);
        }
        is_new.then_some(need)
    }

    /// Returns the message and the need that help was last shown for, while it is not to be repeated.
    pub(super) fn shown(&self) -> Option<(&MessageId, Need)> {
        let shown = self.shown.as_ref().filter(|shown| self.turns < shown.turn + REPEAT_AFTER)?;
        Some((&shown.id, shown.need))
    }

    /// Returns what lines are asked for at any time: by what is remembered.
    pub(super) fn standing_need(&self, now: Timestamp) -> Need {
        let Risk { level, kinds, subject, minor } = self.risk(now);
        Need { level: level.max(Level::Concern), kinds, subject, minor }
    }

    /// Tells whether the person has said that they are a minor.
    pub(super) fn is_minor(&self) -> bool {
        self.is_minor
    }

    /// Messages of the person so far.
    #[cfg(test)]
    pub(super) fn messages(&self) -> u64 {
        self.turns
    }

    /// Assesses `text` into the episode. Returns what it calls for.
    fn remember(&mut self, id: &MessageId, hash: u64, text: &UserText, at: Timestamp) -> Option<Need> {
        if self.assessed.len() == MAX_ASSESSED {
            self.assessed.pop_front();
        }
        self.turns += 1;
        let before = self.episode.level(at);
        let assessment = self.episode.observe(at, text.expose());
        let risk = MessageRisk::of(&assessment, text.expose());
        self.assessed.push_back(Assessed { id: id.clone(), hash, risk });
        self.is_minor |= assessment.minor_hint;
        if assessment.level == Level::None && assessment.kinds.is_empty() {
            return None;
        }
        if !self.found_lasts() {
            self.kinds = Kinds::default();
        }
        assessment.kinds.iter().for_each(|kind| self.kinds.insert(kind));
        // Somebody else's risk does not hide the person's own, where that is graver.
        let is_beside = assessment.subject == Subject::Other && assessment.level < before;
        if !(is_beside && self.subject != Subject::Other) {
            self.subject = assessment.subject;
        }
        self.found = Some(self.turns);
        let (level, kinds) = (assessment.level.max(Level::Concern), assessment.kinds);
        Some(Need { level, kinds, subject: assessment.subject, minor: self.is_minor })
    }

    /// What was found counts for some messages, also without a level.
    fn found_lasts(&self) -> bool {
        self.found.is_some_and(|turn| self.turns < turn + LASTS_FOR)
    }

    /// Help is repeated after some messages; before that if the level rises, or other help is asked for.
    fn calls_for_help_again(&self, need: Need) -> bool {
        let Some((_, shown)) = self.shown() else { return true };
        let is_about_other = |need: Need| need.subject == Subject::Other;
        shown.level < need.level
            || is_about_other(shown) != is_about_other(need)
            || (need.minor && !shown.minor)
            || need.kinds.iter().any(|kind| !shown.kinds.iter().any(|known| help_group(known) == help_group(kind)))
    }

    fn note_shown(&mut self, id: &MessageId, need: Need) {
        // Within its time help for one thing is not forgotten over help for another.
        let before = self.shown().map(|(_, shown)| shown);
        let mut need = need;
        if let Some(shown) = before.filter(|shown| shown.subject == need.subject) {
            shown.kinds.iter().for_each(|kind| need.kinds.insert(kind));
            need.level = need.level.max(shown.level);
        }
        self.shown = Some(Shown { id: id.clone(), need, turn: self.turns });
    }
}

/// Kinds that the same lines are for.
#[derive(Debug, PartialEq, Eq)]
enum HelpGroup {
    Suicide,
    Violence,
    Eating,
    Emergency,
}

fn help_group(kind: Kind) -> HelpGroup {
    match kind {
        Kind::Suicide | Kind::SelfHarm | Kind::HarmToOthers | Kind::Psychosis => HelpGroup::Suicide,
        Kind::Abuse | Kind::SexualViolence => HelpGroup::Violence,
        Kind::Eating => HelpGroup::Eating,
        Kind::Medical | Kind::Substance => HelpGroup::Emergency,
    }
}

/// Returns the `seq` after which the memory is folded, by the newest help for imminent risk: it lasts until a clear no,
/// however much is written meanwhile. `last` is the session's newest `seq`.
pub(super) fn restore_after(newest_imminent: Option<u64>, last: u64) -> u64 {
    let without_risk = last.saturating_sub(RESTORED_WITHOUT_RISK);
    newest_imminent.map_or(without_risk, |seq| without_risk.min(seq.saturating_sub(RESTORED_BEFORE_RISK)))
}

/// Tells whether `entry` is help that was shown for imminent risk.
pub(super) fn is_imminent_help(entry: &Entry) -> bool {
    entry.help.as_ref().is_some_and(|help| help.level == WireLevel::Imminent)
}

/// What `help` was shown for, as far as it says.
pub(super) fn need_of(help: &Help, minor: bool) -> Need {
    let level = match help.level {
        WireLevel::Concern => Level::Concern,
        WireLevel::High => Level::High,
        WireLevel::Imminent => Level::Imminent,
    };
    let subject = match help.subject {
        WireSubject::Own => Subject::Own,
        WireSubject::Other => Subject::Other,
    };
    Need { level, kinds: help.kind.map(help::kind_of).into_iter().collect(), subject, minor }
}

fn hash(text: &UserText) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.expose().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
