//! Numbers of a sentence, and whether they count ordinary things.

use super::table::{DIGIT, LabelSet, OR, UNIT};

/// Numbers of a sentence so far. Those of a list ("twenty, thirty or forty words") count the noun behind the last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Numbers whose noun has not come yet.
    pending: bool,
    /// Some count minutes, words or the like.
    ordinary: bool,
    /// Some count something else, or nothing.
    other: bool,
}

impl Counts {
    pub(super) fn number(&mut self) {
        self.pending = true;
    }

    /// Takes a word that is not written in digits.
    pub(super) fn word(&mut self, labels: &LabelSet) {
        if labels.contains(DIGIT) {
            self.pending = true;
        } else if self.pending && !labels.contains(OR) {
            self.pending = false;
            if labels.contains(UNIT) {
                self.ordinary = true;
            } else {
                self.other = true;
            }
        }
    }

    /// Returns `true` if the sentence has numbers, and all of them count ordinary things.
    pub(super) fn are_ordinary(self) -> bool {
        self.ordinary && !self.other && !self.pending
    }
}
