//! Memory of risk over a conversation.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use protocol::Timestamp;

use crate::{Assessment, Context, Level};

/// Messages that are also read as one: at most so many, within so many milliseconds.
const JOINED: usize = 4;
const JOINED_WITHIN_MS: i64 = 180_000;
/// A message that follows within so many milliseconds may show that the last one was a turn of phrase ("me muero", "de
/// risa").
const CLEARED_WITHIN_MS: i64 = 60_000;
/// A level below imminent lasts for so many turns and milliseconds, then falls by one.
const TURNS: u32 = 10;
const LASTS_MS: i64 = 24 * 3_600_000;
/// Calm turns after the safety question was answered with a no.
const CALM_TURNS: u32 = 2;

/// Levels remembered over a conversation: a pure fold over the person's messages, so that it needs no
/// storage of its own. A core that takes a session over folds the stored messages again.
#[derive(Clone, Default)]
pub struct Episode {
    remembered: Level,
    /// When the remembered level was last seen or reached.
    since: Option<Timestamp>,
    turns: u32,
    /// The risk was denied while imminent; so many calm turns have followed.
    denied: bool,
    calm: u32,
    /// Turns since suicide or self-injury was a subject, and since distress showed.
    topic: Option<u32>,
    distress: Option<u32>,
    recent: VecDeque<(Timestamp, Arc<str>)>,
    /// Level before the last message, where that one raised it below imminent.
    raised_from: Option<Level>,
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
    /// Assesses `text`, written at `at`, in the light of what came before, and remembers it.
    pub fn observe(&mut self, at: Timestamp, text: &str) -> Assessment {
        self.fall(at);
        self.recent.retain(|(written, _)| at.unix_ms() - written.unix_ms() <= JOINED_WITHIN_MS);
        let within = |turns: Option<u32>| turns.is_some_and(|turns| turns < TURNS);
        let assessment = crate::assess(
            &Context {
                recent: self.recent.iter().map(|(_, text)| &**text).collect(),
                remembered: self.remembered,
                on_topic: within(self.topic),
                distressed: within(self.distress),
            },
            text,
        );
        self.clear_last(at, text, &assessment);
        self.recent.push_back((at, text.into()));
        if self.recent.len() >= JOINED {
            self.recent.pop_front();
        }
        self.remember(at, &assessment);
        assessment
    }

    /// Returns the level in force at `now`.
    pub fn level(&self, now: Timestamp) -> Level {
        let mut then = self.clone();
        then.fall(now);
        then.remembered
    }

    /// Takes back the level of the last message, if read together with `text` it has none.
    fn clear_last(&mut self, at: Timestamp, text: &str, assessment: &Assessment) {
        let (Some(before), Some((written, last))) = (self.raised_from.take(), self.recent.back()) else { return };
        if at.unix_ms() - written.unix_ms() > CLEARED_WITHIN_MS || assessment.level > before {
            return;
        }
        let together = crate::assess(&Context::default(), &format!("{last} {text}"));
        if together.level <= before {
            self.remembered = before;
        }
    }

    fn remember(&mut self, at: Timestamp, assessment: &Assessment) {
        if assessment.level > self.remembered && assessment.level < Level::Imminent {
            self.raised_from = Some(self.remembered);
        }
        let count = |holds: bool, turns: Option<u32>| if holds { Some(0) } else { turns.map(|turns| turns + 1) };
        self.topic = count(assessment.on_topic, self.topic);
        self.distress = count(assessment.distressed, self.distress);
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
        } else if self.turns >= TURNS {
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

    /// Lets levels fall whose time is over.
    fn fall(&mut self, now: Timestamp) {
        while let Some(since) = self.since
            && matches!(self.remembered, Level::High | Level::Concern)
            && now.unix_ms() - since.unix_ms() >= LASTS_MS
        {
            self.step_down(Timestamp::from_unix_ms(since.unix_ms() + LASTS_MS));
        }
    }
}
