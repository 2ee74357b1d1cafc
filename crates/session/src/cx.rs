//! Context of one input.

use std::time::Instant;

use protocol::Timestamp;

use crate::effect::Effect;
use crate::input::Now;

/// Time of an input, and its effects so far.
pub(crate) struct Cx<'a> {
    now: Now,
    out: &'a mut Vec<Effect>,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(now: Now, out: &'a mut Vec<Effect>) -> Self {
        Self { now, out }
    }

    pub(crate) fn now(&self) -> Instant {
        self.now.instant
    }

    pub(crate) fn wall(&self) -> Timestamp {
        self.now.wall
    }

    pub(crate) fn start(&mut self, effect: Effect) {
        self.out.push(effect);
    }
}
