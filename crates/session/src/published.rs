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
