//! Partial answers: the text delivered of each, independent of connections.

use protocol::{MessageId, UserText};

/// Bound on tracked answers. A session streams one, and a killed server leaves one behind;
/// beyond the bound the oldest is dropped.
const MAX_ANSWERS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Answers(Vec<Answer>);

#[derive(Debug)]
struct Answer {
    id: MessageId,
    /// Text delivered to the caller.
    text: UserText,
    /// Length of `text` in Unicode scalar values.
    chars: usize,
    /// Characters that this connection has sent, as the server counts.
    confirmed: usize,
    /// The end was delivered; frames that a resend still causes on this connection are ignored.
    delivered: bool,
}

/// Outcome of applying a delta.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DeltaOutcome {
    /// All of it was delivered before.
    Duplicate,
    /// This text is new.
    Appended { offset: usize, text: UserText },
    /// The server generates another answer; this is its text so far.
    Replaced(UserText),
    /// Text before the delta is missing.
    Gap,
}

impl Answers {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_in_progress(&self, id: &MessageId) -> bool {
        self.0.iter().any(|answer| answer.id == *id && !answer.delivered)
    }

    /// True while this connection streams an answer.
    pub(super) fn any_started(&self) -> bool {
        self.0.iter().any(|answer| !answer.delivered && 0 < answer.confirmed)
    }

    /// Applies the delta of `id` at `offset` (Unicode scalar values).
    pub(super) fn apply_delta(&mut self, id: &MessageId, offset: usize, piece: UserText) -> DeltaOutcome {
        match self.entry(id) {
            answer if answer.delivered => DeltaOutcome::Duplicate,
            answer => answer.append(offset, piece),
        }
    }

    /// Applies the complete text of an answer and stops tracking it.
    pub(super) fn complete(&mut self, id: &MessageId, text: UserText) -> DeltaOutcome {
        let mut answer = self.remove(id).unwrap_or_else(|| Answer::new(id.clone()));
        answer.confirmed = 0;
        match answer.append(0, text) {
            DeltaOutcome::Duplicate => answer.truncate_to_confirmed(),
            outcome => outcome,
        }
    }

    /// Ends the answer, whose length is `chars` characters.
    pub(super) fn end(&mut self, id: &MessageId, chars: usize) -> DeltaOutcome {
        let Some(at) = self.0.iter().position(|answer| answer.id == *id) else {
            return if chars == 0 { DeltaOutcome::Duplicate } else { DeltaOutcome::Gap };
        };
        if self.0[at].confirmed < chars {
            return DeltaOutcome::Gap;
        }
        self.0.swap_remove(at).truncate_to_confirmed()
    }

    /// Marks the end as delivered although a resend may repeat the answer on this connection.
    pub(super) fn mark_delivered(&mut self, id: &MessageId) {
        self.forget(id);
        self.entry(id).delivered = true;
    }

    /// True if the end was delivered. Holds until the connection ends: the server may send the answer
    /// more than twice, where two cores answered the message.
    pub(super) fn is_delivered(&self, id: &MessageId) -> bool {
        self.0.iter().any(|answer| answer.id == *id && answer.delivered)
    }

    /// Delivers the answer once more.
    pub(super) fn redeliver(&mut self, id: &MessageId) {
        self.0.retain(|answer| answer.id != *id || !answer.delivered);
    }

    pub(super) fn forget(&mut self, id: &MessageId) {
        self.0.retain(|answer| answer.id != *id);
    }

    /// Expects the answer from its start on this connection.
    pub(super) fn restart(&mut self, id: &MessageId) {
        self.0.iter_mut().filter(|answer| answer.id == *id).for_each(|answer| answer.confirmed = 0);
    }

    /// Resets per-connection state: the next connection sends each answer from its start.
    pub(super) fn on_disconnect(&mut self) {
        self.0.retain(|answer| !answer.delivered);
        self.0.iter_mut().for_each(|answer| answer.confirmed = 0);
    }

    fn remove(&mut self, id: &MessageId) -> Option<Answer> {
        let at = self.0.iter().position(|answer| answer.id == *id)?;
        Some(self.0.swap_remove(at))
    }

    fn entry(&mut self, id: &MessageId) -> &mut Answer {
        let at = self.0.iter().position(|answer| answer.id == *id).unwrap_or_else(|| {
            if MAX_ANSWERS <= self.0.len() {
                // Delivered answers go first: they only suppress duplicates, partial ones hold text.
                self.0.remove(self.0.iter().position(|answer| answer.delivered).unwrap_or(0));
            }
            self.0.push(Answer::new(id.clone()));
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

impl Answer {
    fn new(id: MessageId) -> Self {
        Self { id, text: UserText::default(), chars: 0, confirmed: 0, delivered: false }
    }

    fn append(&mut self, offset: usize, piece: UserText) -> DeltaOutcome {
        let length = piece.chars();
        // Gaps are measured per connection: text of an earlier one does not fill them.
        if self.confirmed < offset {
            return DeltaOutcome::Gap;
        }
        self.confirmed = self.confirmed.max(offset + length);
        if offset == self.chars {
            self.text.push(&piece);
            self.chars += length;
            return if length == 0 { DeltaOutcome::Duplicate } else { DeltaOutcome::Appended { offset, text: piece } };
        }
        self.overlap(offset, &piece)
    }

    /// Merges a delta that overlaps the delivered text.
    fn overlap(&mut self, offset: usize, piece: &UserText) -> DeltaOutcome {
        let delivered = self.text.expose();
        let (before, rest) = delivered.split_at(byte_of(delivered, offset));
        if rest.starts_with(piece.expose()) {
            return DeltaOutcome::Duplicate;
        }
        if let Some(more) = piece.expose().strip_prefix(rest) {
            let (offset, text) = (self.chars, UserText::new(more));
            self.text.push(&text);
            self.chars += text.chars();
            return DeltaOutcome::Appended { offset, text };
        }
        self.text = UserText::new([before, piece.expose()].concat());
        self.chars = self.text.chars();
        self.confirmed = self.chars;
        DeltaOutcome::Replaced(self.text.clone())
    }

    /// Truncates to the text this connection has sent: after a crash the server may generate an
    /// answer that is a prefix of the lost one.
    fn truncate_to_confirmed(&self) -> DeltaOutcome {
        if self.confirmed < self.chars {
            DeltaOutcome::Replaced(self.text.first_chars(self.confirmed))
        } else {
            DeltaOutcome::Duplicate
        }
    }
}

/// Byte offset of character `index`.
fn byte_of(text: &str, index: usize) -> usize {
    text.char_indices().nth(index).map_or(text.len(), |(byte, _)| byte)
}
