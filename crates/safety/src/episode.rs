//! Memory of risk over a conversation.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use protocol::Timestamp;

use crate::companion::asked::{self, Asked, Meaning, Question};
use crate::{Assessment, Context, Cssrs, Kind, Level, Reason, Subject};

/// Most messages that are also read as one, and the time in milliseconds within which they were sent.
const MAX_JOINED: usize = 4;
const JOIN_WINDOW_MS: i64 = 180_000;
/// Time in milliseconds within which a message may show that the last one was an idiom ("me muero", "de risa").
const IDIOM_WINDOW_MS: i64 = 60_000;
/// Turns and milliseconds for which a level below imminent lasts before it falls by one.
const LEVEL_TURNS: u32 = 10;
const LEVEL_TTL_MS: i64 = 24 * 3_600_000;
/// Messages sent in a row that may answer a question about safety.
const MAX_ANSWERS: u32 = 3;
/// Calm turns after the safety question was answered with a no.
const CALM_TURNS: u32 = 2;

/// Levels remembered over a conversation: a pure fold over the person's messages, so that it needs no
/// storage of its own. A core that takes a session over folds the stored messages again.
///
/// ```
/// use protocol::Timestamp;
/// use safety::Level;
/// use safety::episode::Episode;
///
/// let minute = |minute: i64| Timestamp::from_unix_ms(minute * 60_000);
/// let mut episode = Episode::default();
/// episode.observe(minute(0), "me quiero morir");
/// // The next message is calm, and the level lasts.
/// assert_eq!(episode.observe(minute(1), "gracias por responder").level, Level::None);
/// assert_eq!(episode.level(minute(1)), Level::High);
/// ```
#[derive(Clone, Default)]
pub struct Episode {
    remembered: Level,
    /// Time at which the remembered level was last seen or reached.
    since: Option<Timestamp>,
    turns: u32,
    /// The risk was denied while imminent; so many calm turns have followed.
    denied: bool,
    calm: u32,
    /// Turns since suicide or self-injury was a subject, and since distress showed.
    topic: Option<u32>,
    distress: Option<u32>,
    /// Turns since the person could not go on.
    despair: Option<u32>,
    recent: VecDeque<(Timestamp, Arc<str>)>,
    /// Level before the last message, where that one alone raised it below imminent.
    raised_from: Option<Level>,
    /// The question about safety that waits for its answer, and the messages since.
    pending: Option<(Asked, u32)>,
}

impl fmt::Debug for Episode {
    /// Leaves the person's words out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Episode")
            .field("remembered", &self.remembered)
            .field("turns", &self.turns)
            .finish_non_exhaustive()
    }
}

impl Episode {
    /// Assesses `text`, written at `at`, in the context of the conversation, and remembers it.
    pub fn observe(&mut self, at: Timestamp, text: &str) -> Assessment {
        self.fall(at);
        self.recent.retain(|(written, _)| at.unix_ms() - written.unix_ms() <= JOIN_WINDOW_MS);
        let within = |turns: Option<u32>| turns.is_some_and(|turns| turns < LEVEL_TURNS);
        let mut assessment = crate::assess(
            &Context {
                recent: self.recent.iter().map(|(_, text)| &**text).collect(),
                remembered: self.remembered,
                on_topic: within(self.topic),
                distressed: within(self.distress),
                despairing: within(self.despair),
            },
            text,
        );
        // Before `clear_last`: an answer may raise this message's level, and a raised one clears nothing.
        self.read_answer(text, &mut assessment);
        self.clear_last(at, text, &assessment);
        // After `clear_last`, for which the last of `recent` is the message before.
        self.recent.push_back((at, text.into()));
        if self.recent.len() >= MAX_JOINED {
            self.recent.pop_front();
        }
        self.remember(at, text, &assessment);
        assessment
    }

    /// Reads an answer of the companion or of a model: the person's next messages may answer its question about safety.
    pub fn asked(&mut self, answer: &str) {
        self.pending = asked::question(answer, self.remembered > Level::None).map(|asked| (asked, 0));
    }

    /// Returns the level in force at `now`.
    pub fn level(&self, now: Timestamp) -> Level {
        let mut then = self.clone();
        then.fall(now);
        then.remembered
    }

    /// Reads `text` as the answer to the question that waits for one.
    fn read_answer(&mut self, text: &str, assessment: &mut Assessment) {
        let Some((asked, messages)) = self.pending.take() else { return };
        if messages + 1 < MAX_ANSWERS {
            self.pending = Some((asked, messages + 1));
        }
        let level = match asked::meaning(asked, text) {
            None => return,
            Some(Meaning::Denied) => {
                assessment.denied |= assessment.level == Level::None;
                return;
            }
            Some(Meaning::Risk(level)) => level,
        };
        let asks_for_safety = matches!(asked.question, Question::Safe | Question::StaySafe);
        // Without a word of suicide before, the danger may come from others.
        let level = if asks_for_safety && self.topic.is_none() { level.min(Level::Concern) } else { level };
        if !asks_for_safety || self.topic.is_some() {
            assessment.kinds.insert(Kind::Suicide);
        }
        if level <= assessment.level {
            return;
        }
        assessment.cssrs = Some(match (asked.question, level) {
            (Question::Past | Question::Done, _) => Cssrs::Behaviour,
            (_, Level::Imminent) => Cssrs::Plan,
            (_, Level::High) => Cssrs::ActiveThoughts,
            (_, Level::Concern | Level::None) => Cssrs::WishToBeDead,
        });
        (assessment.level, assessment.subject) = (level, Subject::Own);
        (assessment.on_topic, assessment.distressed, assessment.denied) = (true, true, false);
        assessment.reasons.push(Reason { code: "answer", rule: "companion.asked", span: 0..text.len() });
    }

    /// Clears the level of the last message, if `text` completes an idiom that covers the findings in it. An ordinary
    /// message clears nothing.
    fn clear_last(&mut self, at: Timestamp, text: &str, assessment: &Assessment) {
        let (Some(before), Some((written, last))) = (self.raised_from.take(), self.recent.back()) else { return };
        if at.unix_ms() - written.unix_ms() > IDIOM_WINDOW_MS || assessment.level > before {
            return;
        }
        if crate::assess::completes_idiom(last, text) {
            self.remembered = before;
        }
    }

    fn remember(&mut self, at: Timestamp, text: &str, assessment: &Assessment) {
        // A level from joined messages, or from an answer, cannot be the idiom of one message.
        let is_raised = assessment.level > self.remembered && assessment.level < Level::Imminent;
        let is_alone = || crate::assess(&Context::default(), text).level >= assessment.level;
        if is_raised && assessment.reasons.iter().all(|reason| reason.code != "answer") && is_alone() {
            self.raised_from = Some(self.remembered);
        }
        let count = |holds: bool, turns: Option<u32>| if holds { Some(0) } else { turns.map(|turns| turns + 1) };
        self.topic = count(assessment.on_topic, self.topic);
        self.distress = count(assessment.distressed, self.distress);
        self.despair = count(assessment.despairing, self.despair);
        if assessment.level >= self.remembered {
            if assessment.level > Level::None {
                (self.since, self.turns) = (Some(at), 0);
            }
            self.remembered = assessment.level;
            (self.denied, self.calm) = (false, 0);
            return;
        }
        self.turns += 1;
        if self.remembered == Level::Imminent {
            self.calm_down(at, assessment);
        } else if self.turns >= LEVEL_TURNS {
            self.step_down(at);
        }
    }

    /// Imminent risk ends with a clear no and calm turns behind it, not with time.
    fn calm_down(&mut self, at: Timestamp, assessment: &Assessment) {
        if assessment.level > Level::None {
            (self.denied, self.calm) = (false, 0);
        } else if self.denied {
            self.calm += 1;
        } else if assessment.denied {
            (self.denied, self.calm) = (true, 0);
        }
        if self.denied && self.calm >= CALM_TURNS {
            self.step_down(at);
        }
    }

    fn step_down(&mut self, at: Timestamp) {
        self.remembered = match self.remembered {
            Level::Imminent => Level::High,
            Level::High => Level::Concern,
            Level::Concern | Level::None => Level::None,
        };
        (self.since, self.turns, self.denied, self.calm) = (Some(at), 0, false, 0);
    }

    /// Lowers levels whose time is over.
    fn fall(&mut self, now: Timestamp) {
        while let Some(since) = self.since
            && matches!(self.remembered, Level::High | Level::Concern)
            && now.unix_ms() - since.unix_ms() >= LEVEL_TTL_MS
        {
            // From the end of the level before, not from `now`: two days of silence lower two levels.
            self.step_down(Timestamp::from_unix_ms(since.unix_ms() + LEVEL_TTL_MS));
        }
    }
}

#[cfg(test)]
mod tests;
