//! Memory of risk over a conversation: assesses each message once, and decides when help is shown.
//!
//! Without I/O and clock. The level itself is that of [`safety::episode::Episode`]: a fold over the person's
//! messages, which any core can repeat from the stored ones.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use protocol::server_frame::{Entry, Help, Level as WireLevel, Role, Subject as WireSubject};
use protocol::{MessageId, Timestamp, UserText};
use safety::companion::is_plan_step;
use safety::episode::Episode;
use safety::resources::Need;
use safety::{Kind, Kinds, Level, Subject};

use crate::help;
use crate::message::{MessageRisk, Risk};

/// Last stored entries from which the memory is restored when a session is opened, unless there was imminent risk
/// before them.
const RESTORED_WITHOUT_RISK: u64 = 40;
/// Entries restored before help for imminent risk: its message, and the context of that message.
const RESTORED_BEFORE_RISK: u64 = 20;
/// Assessments kept for messages that are resent.
const MAX_ASSESSED: usize = 64;
/// Messages of the person for which kinds and a second opinion stay in force.
const LASTS_FOR: u64 = 10;
/// Messages of the person within which help is not repeated.
const REPEAT_AFTER: u64 = 6;

/// Memory of risk of one session.
#[derive(Debug, Default)]
pub struct Watch {
    episode: Episode,
    /// Kinds and subject of the last risk found.
    kinds: Kinds,
    subject: Subject,
    /// Number of messages at that time.
    found: Option<u64>,
    /// The person has said that they are a minor.
    is_minor: bool,
    /// Messages of the person so far.
    turns: u64,
    /// Assessments of the last messages, oldest first.
    assessed: VecDeque<Assessed>,
    shown: Option<Shown>,
    /// Risk by a second opinion, and the number of messages at that time.
    raised: Option<(Risk, u64)>,
    /// Time of the last message at high risk.
    high_at: Option<Timestamp>,
    /// The last answer was a step of a safety plan.
    is_planning: bool,
    /// An answer has asked something since help was shown last: a "yes" replies to that.
    is_asked_since_help: bool,
    /// Stored messages are part of it, or there are none.
    is_restored: bool,
}

/// A message that was assessed.
#[derive(Debug)]
struct Assessed {
    id: MessageId,
    /// Hash of its text: a rejected id may be reused with another text.
    hash: u64,
    risk: MessageRisk,
    /// Need of a message that was read from the store: the core that assessed it may have died before its help was
    /// sent or stored.
    need: Option<Need>,
}

/// The last help shown.
#[derive(Debug, Clone)]
struct Shown {
    id: MessageId,
    need: Need,
    /// Number of messages at that time.
    turn: u64,
}

impl Watch {
    /// Creates the memory of a new session.
    pub fn of_new() -> Self {
        Self { is_restored: true, ..Self::default() }
    }

    /// Assesses message `id`, which arrived at `at`. Returns the need to show help for; `None` also for a message that
    /// arrived before. One that was only read from the store still brings its help, if none was shown.
    pub fn observe(&mut self, id: &MessageId, text: &UserText, at: Timestamp) -> Option<Need> {
        let hash = hash(text);
        let known = self.assessed.iter_mut().find(|known| known.hash == hash && known.id == *id);
        let need = match known {
            Some(known) => known.need.take()?,
            None => self.remember(id, hash, text, at)?,
        };
        if !self.calls_for_help_again(need) {
            return None;
        }
        self.note_shown(id, need);
        Some(need)
    }

    /// Applies a stored entry of another core.
    pub fn learn(&mut self, entry: &Entry) {
        match (entry.role, &entry.help) {
            (Role::User, _) if !self.assessed.iter().any(|known| known.id == entry.id) => {
                let need = self.remember(&entry.id, hash(&entry.text), &entry.text, entry.at);
                if let Some(known) = self.assessed.back_mut() {
                    known.need = need;
                }
            }
            (Role::Assistant, _) => self.answered(&entry.text),
            (Role::Support, Some(help)) => self.learn_shown(&entry.id, help),
            _ => {}
        }
    }

    /// Applies the risk that was in force when a message was forgotten at `at`: it holds as a second opinion does.
    pub fn learn_forgotten(&mut self, help: &Help, at: Timestamp) {
        let Need { level, kinds, subject, minor } = need_of(help, self.is_minor);
        self.raised = Some((Risk { level, kinds, subject, minor, follows_high: false }, self.turns));
        if Level::High <= level {
            self.high_at = self.high_at.max(Some(at));
        }
    }

    /// Returns the risk of message `id` alone; `None` if it was not assessed, or longer than [`MAX_ASSESSED`] ago.
    pub(crate) fn message_risk(&self, id: &MessageId, text: &UserText) -> Option<MessageRisk> {
        self.assessed(id, hash(text)).map(|known| known.risk)
    }

    fn assessed(&self, id: &MessageId, hash: u64) -> Option<&Assessed> {
        self.assessed.iter().find(|known| known.hash == hash && known.id == *id)
    }

    /// Applies an answer: a question about safety changes the meaning of a "yes".
    pub(crate) fn answered(&mut self, answer: &UserText) {
        self.episode.asked(answer.expose());
        self.is_planning = is_plan_step(answer.expose());
        self.is_asked_since_help |= answer.expose().contains('?');
    }

    /// Applies help that another core has shown for message `id`.
    pub(crate) fn learn_shown(&mut self, id: &MessageId, help: &Help) {
        self.note_shown(id, need_of(help, self.is_minor));
    }

    /// Replaces the memory by the one from stored messages; only the first call does.
    pub(crate) fn restore(&mut self, restored: Self) {
        if !self.is_restored {
            *self = restored;
        }
    }

    /// Marks it as complete, for a session that begins with these messages.
    pub(crate) fn into_restored(self) -> Self {
        Self { is_restored: true, ..self }
    }

    /// Returns true if stored messages are part of it.
    pub fn is_restored(&self) -> bool {
        self.is_restored
    }

    /// Returns the risk in force at `now`.
    pub(crate) fn risk(&self, now: Timestamp) -> Risk {
        let level = self.episode.level(now);
        let lasts = level != Level::None || self.found_lasts();
        let (kinds, subject) = if lasts { (self.kinds, self.subject) } else { (Kinds::default(), Subject::Own) };
        let risk = Risk { level, kinds, subject, minor: self.is_minor, follows_high: false };
        match self.raised {
            Some((raised, turn)) if self.turns < turn + LASTS_FOR && level < raised.level => raised,
            _ => risk,
        }
    }

    /// Returns true if the risk was high at a message of the last `window`, or a safety plan is in progress.
    pub(crate) fn follows_high(&self, window: Duration, now: Timestamp) -> bool {
        let since = |at: Timestamp| u64::try_from(now.unix_ms().saturating_sub(at.unix_ms())).unwrap_or_default();
        self.is_planning || self.high_at.is_some_and(|at| Duration::from_millis(since(at)) <= window)
    }

    /// Applies a second opinion that raises the risk of message `id`. Returns the need to show help for.
    pub(crate) fn raise(&mut self, id: &MessageId, risk: Risk) -> Option<Need> {
        self.raised = Some((risk, self.turns));
        let Risk { level, kinds, subject, minor, .. } = risk;
        let need = Need { level, kinds, subject, minor };
        let is_new = self.calls_for_help_again(need);
        if is_new {
            self.note_shown(id, need);
        }
        is_new.then_some(need)
    }

    /// Returns message and need of the last help, while it is not to be repeated.
    pub(crate) fn shown(&self) -> Option<(&MessageId, Need)> {
        let shown = self.shown.as_ref().filter(|shown| self.turns < shown.turn + REPEAT_AFTER)?;
        Some((&shown.id, shown.need))
    }

    /// Returns true if the question that came with the last help is the last question asked.
    pub(crate) fn awaits_country(&self) -> bool {
        self.shown().is_some() && !self.is_asked_since_help
    }

    /// Returns the need for help lines on request, by the risk in force.
    pub(crate) fn standing_need(&self, now: Timestamp) -> Need {
        let Risk { level, kinds, subject, minor, .. } = self.risk(now);
        Need { level: level.max(Level::Concern), kinds, subject, minor }
    }

    /// Returns true if the person has said that they are a minor.
    pub(crate) fn is_minor(&self) -> bool {
        self.is_minor
    }

    /// Number of messages that it has assessed.
    pub fn messages(&self) -> u64 {
        self.turns
    }

    /// Assesses `text` into the episode. Returns the need that it expresses.
    fn remember(&mut self, id: &MessageId, hash: u64, text: &UserText, at: Timestamp) -> Option<Need> {
        if self.assessed.len() == MAX_ASSESSED {
            self.assessed.pop_front();
        }
        let was_high = self.risk(at).is_high();
        self.turns += 1;
        let before = self.episode.level(at);
        let assessment = self.episode.observe(at, text.expose());
        if was_high || self.risk(at).is_high() {
            self.high_at = Some(at);
        }
        let risk = MessageRisk::of(&assessment, text.expose());
        self.assessed.push_back(Assessed { id: id.clone(), hash, risk, need: None });
        self.is_minor |= assessment.minor_hint;
        if assessment.level == Level::None && assessment.kinds.is_empty() {
            return None;
        }
        if !self.found_lasts() {
            self.kinds = Kinds::default();
        }
        assessment.kinds.iter().for_each(|kind| self.kinds.insert(kind));
        // Another person's risk must not hide the person's own, if that is graver.
        let is_beside = assessment.subject == Subject::Other && assessment.level < before;
        if !(is_beside && self.subject != Subject::Other) {
            self.subject = assessment.subject;
        }
        self.found = Some(self.turns);
        let (level, kinds) = (assessment.level.max(Level::Concern), assessment.kinds);
        Some(Need { level, kinds, subject: assessment.subject, minor: self.is_minor })
    }

    /// Returns true while kinds and subject stay in force, also without a level.
    fn found_lasts(&self) -> bool {
        self.found.is_some_and(|turn| self.turns < turn + LASTS_FOR)
    }

    /// Returns true if help is to be shown: again after some messages, or before that for a higher level or another need.
    fn calls_for_help_again(&self, need: Need) -> bool {
        let Some((_, shown)) = self.shown() else { return true };
        let is_about_other = |need: Need| need.subject == Subject::Other;
        shown.level < need.level
            || is_about_other(shown) != is_about_other(need)
            || (need.minor && !shown.minor)
            || need.kinds.iter().any(|kind| !shown.kinds.iter().any(|known| help_group(known) == help_group(kind)))
    }

    fn note_shown(&mut self, id: &MessageId, need: Need) {
        // Merged with recent help, so that help for one need does not reset the other's interval.
        let before = self.shown().map(|(_, shown)| shown);
        let mut need = need;
        if let Some(shown) = before.filter(|shown| shown.subject == need.subject) {
            shown.kinds.iter().for_each(|kind| need.kinds.insert(kind));
            need.level = need.level.max(shown.level);
        }
        self.shown = Some(Shown { id: id.clone(), need, turn: self.turns });
        self.is_asked_since_help = false;
    }
}

/// Kinds that share their help lines.
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

/// Returns the `seq` after which entries are restored. Imminent risk lasts until a clear denial, over any number of
/// messages, so the newest help for it is included. `last` is the session's newest `seq`.
pub fn restore_after(newest_imminent: Option<u64>, last: u64) -> u64 {
    let without_risk = last.saturating_sub(RESTORED_WITHOUT_RISK);
    newest_imminent.map_or(without_risk, |seq| without_risk.min(seq.saturating_sub(RESTORED_BEFORE_RISK)))
}

/// Returns true if `help`, of an entry or of a forgotten message, is for imminent risk.
pub fn is_imminent_help(help: Option<&Help>) -> bool {
    help.is_some_and(|help| help.level == WireLevel::Imminent)
}

/// Returns the need for which `help` was shown, as far as it is on the wire.
pub(crate) fn need_of(help: &Help, minor: bool) -> Need {
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
