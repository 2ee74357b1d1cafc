//! Order of publication.

/// Highest `seq` published to the session's connections. It advances one by one: an entry that it skips would never
/// be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublishedSeq(u64);

impl PublishedSeq {
    pub(crate) fn new(seq: u64) -> Self {
        Self(seq)
    }

    pub(crate) fn seq(self) -> u64 {
        self.0
    }

    /// Advances to `seq` if it is the next one, and returns true then.
    #[must_use]
    pub(crate) fn advance(&mut self, seq: u64) -> bool {
        let is_next = seq == self.0 + 1;
        self.0 += u64::from(is_next);
        is_next
    }

    /// Skips to `seq`: the store was read up to there, or no connection is left that could miss an entry.
    pub(crate) fn skip_to(&mut self, seq: u64) {
        self.0 = self.0.max(seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advances_one_by_one_and_never_back() {
        let mut published = PublishedSeq::new(3);
        for (seq, is_next, want) in [(3, false, 3), (5, false, 3), (4, true, 4), (4, false, 4)] {
            assert_eq!((published.advance(seq), published.seq()), (is_next, want), "{seq}");
        }
        for (seq, want) in [(2, 4), (9, 9), (9, 9)] {
            published.skip_to(seq);
            assert_eq!(published.seq(), want, "{seq}");
        }
    }
}
