//! Texts of answers under way: what was told of each, whatever connection it came over.

use protocol::{MessageId, UserText};

/// Most answers under way at the same time. A session has one, and leaves one behind where a
/// server dies; the oldest is forgotten.
const MAX_ANSWERS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Answers(Vec<Answer>);

#[derive(Debug)]
struct Answer {
    id: MessageId,
    /// What was told.
    text: UserText,
    /// Length of `text` in Unicode scalar values.
    chars: usize,
    /// How much of it this connection has given, as the server counts.
    confirmed: usize,
    /// Its end was told; what still comes on this connection because the message was sent again is ignored.
    settled: bool,
}

/// What a piece brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// All of it was told before.
    Nothing,
    /// This much more.
    More { offset: usize, text: UserText },
    /// The answer is another one; this is all of it so far.
    Other(UserText),
    /// Something before it is missing.
    Gap,
}

impl Answers {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_under_way(&self, id: &MessageId) -> bool {
        self.0.iter().any(|answer| answer.id == *id && !answer.settled)
    }

    /// Whether this connection has begun an answer that has not ended.
    pub(super) fn under_way(&self) -> bool {
        self.0.iter().any(|answer| !answer.settled && 0 < answer.confirmed)
    }

    /// Takes the piece of `id` that begins at `offset`.
    pub(super) fn take(&mut self, id: &MessageId, offset: usize, piece: UserText) -> Taken {
        match self.of(id) {
            answer if answer.settled => Taken::Nothing,
            answer => answer.take(offset, piece),
        }
    }

    /// Takes the whole of an answer, after which nothing more of it is expected.
    pub(super) fn complete(&mut self, id: &MessageId, text: UserText) -> Taken {
        let mut answer = self.remove(id).unwrap_or_else(|| Answer::new(id.clone()));
        answer.confirmed = 0;
        match answer.take(0, text) {
            Taken::Nothing => answer.cut_to_confirmed(),
            taken => taken,
        }
    }

    /// The answer has ended with `chars` characters.
    pub(super) fn end(&mut self, id: &MessageId, chars: usize) -> Taken {
        let Some(at) = self.0.iter().position(|answer| answer.id == *id) else {
            return if chars == 0 { Taken::Nothing } else { Taken::Gap };
        };
        if self.0[at].confirmed < chars {
            return Taken::Gap;
        }
        self.0.swap_remove(at).cut_to_confirmed()
    }

    /// Its end was told, but more of it may come on this connection.
    pub(super) fn settle(&mut self, id: &MessageId) {
        self.forget(id);
        self.of(id).settled = true;
    }

    /// Whether its end was told. Until the connection ends that stays so: it may be told more than twice,
    /// where two cores answered the message.
    pub(super) fn is_settled(&self, id: &MessageId) -> bool {
        self.0.iter().any(|answer| answer.id == *id && answer.settled)
    }

    /// What comes of it is to be told again.
    pub(super) fn unsettle(&mut self, id: &MessageId) {
        self.0.retain(|answer| answer.id != *id || !answer.settled);
    }

    pub(super) fn forget(&mut self, id: &MessageId) {
        self.0.retain(|answer| answer.id != *id);
    }

    /// The server begins the answer again on this connection.
    pub(super) fn begin_again(&mut self, id: &MessageId) {
        self.0.iter_mut().filter(|answer| answer.id == *id).for_each(|answer| answer.confirmed = 0);
    }

    /// The connection is gone; the next one gives each answer from its start.
    pub(super) fn cut(&mut self) {
        self.0.retain(|answer| !answer.settled);
        self.0.iter_mut().for_each(|answer| answer.confirmed = 0);
    }

    fn remove(&mut self, id: &MessageId) -> Option<Answer> {
        let at = self.0.iter().position(|answer| answer.id == *id)?;
        Some(self.0.swap_remove(at))
    }

    fn of(&mut self, id: &MessageId) -> &mut Answer {
        let at = self.0.iter().position(|answer| answer.id == *id).unwrap_or_else(|| {
            if MAX_ANSWERS <= self.0.len() {
                self.0.remove(self.0.iter().position(|answer| answer.settled).unwrap_or(0));
            }
            self.0.push(Answer::new(id.clone()));
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

impl Answer {
    fn new(id: MessageId) -> Self {
        Self { id, text: UserText::default(), chars: 0, confirmed: 0, settled: false }
    }

    fn take(&mut self, offset: usize, piece: UserText) -> Taken {
        let length = piece.chars();
        // Nothing was skipped on this connection, whatever an earlier one has given.
        if self.confirmed < offset {
            return Taken::Gap;
        }
        self.confirmed = self.confirmed.max(offset + length);
        if offset == self.chars {
            self.text.push(&piece);
            self.chars += length;
            return if length == 0 { Taken::Nothing } else { Taken::More { offset, text: piece } };
        }
        self.overlap(offset, &piece)
    }

    /// A piece that begins within what was told.
    fn overlap(&mut self, offset: usize, piece: &UserText) -> Taken {
        let told = self.text.expose();
        let (before, rest) = told.split_at(byte_of(told, offset));
        if rest.starts_with(piece.expose()) {
            return Taken::Nothing;
        }
        if let Some(more) = piece.expose().strip_prefix(rest) {
            let (offset, text) = (self.chars, UserText::new(more));
            self.text.push(&text);
            self.chars += text.chars();
            return Taken::More { offset, text };
        }
        self.text = UserText::new([before, piece.expose()].concat());
        self.chars = self.text.chars();
        self.confirmed = self.chars;
        Taken::Other(self.text.clone())
    }

    /// At the end: what this connection has not given is not part of the answer. That is so
    /// where a server died, began another answer, and that one is the beginning of the first.
    fn cut_to_confirmed(&self) -> Taken {
        if self.confirmed < self.chars { Taken::Other(self.text.first_chars(self.confirmed)) } else { Taken::Nothing }
    }
}

/// Where character `index` of `text` begins.
fn byte_of(text: &str, index: usize) -> usize {
    text.char_indices().nth(index).map_or(text.len(), |(byte, _)| byte)
}
