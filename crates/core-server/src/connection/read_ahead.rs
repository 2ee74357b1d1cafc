//! Queue of client input that was read ahead.
//!
//! Lines are read, and messages assessed, while an earlier line is still being handled; then they are handled in order.
//! Without I/O.

use std::collections::VecDeque;

use protocol::client_frame::Rejection;
use protocol::trace::Traceparent;
use protocol::{ClientFrame, ErrorCode, MessageId, UserText};

/// Maximum number of queued lines. Beyond it reads pause, and TCP flow control slows the client.
const MAX_LINES: usize = 16;
/// Bytes at which reads pause; the last line may exceed it.
const MAX_BYTES: usize = 64 * 1_024;
/// Approximate overhead of a line besides its text, in bytes.
const LINE_BYTES: usize = 64;

/// FIFO queue without memory while it is empty.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    waiting: VecDeque<Input>,
    bytes: usize,
}

/// One input of the client.
#[derive(Debug)]
pub(super) enum Input {
    Line(Line),
    /// Too long, or not UTF-8.
    Rejected(ErrorCode),
    /// End of the stream.
    End,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) text: UserText,
    pub(super) trace: Traceparent,
    /// Message id in the plain face, assigned on arrival: assessment and submission share it.
    pub(super) id: Option<MessageId>,
    /// Parsed frame, if the connection was framed on arrival.
    pub(super) frame: Option<Box<Result<ClientFrame, Rejection>>>,
}

impl Input {
    fn bytes(&self) -> usize {
        match self {
            Self::Line(line) => LINE_BYTES + line.text.len_bytes(),
            Self::Rejected(_) | Self::End => LINE_BYTES,
        }
    }
}

impl ReadAhead {
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < MAX_LINES && self.bytes < MAX_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, input: Input) {
        self.bytes += input.bytes();
        self.waiting.push_back(input);
    }

    /// Returns an input to the front of the queue.
    pub(super) fn put_back(&mut self, input: Input) {
        self.bytes += input.bytes();
        self.waiting.push_front(input);
    }

    pub(super) fn pop(&mut self) -> Option<Input> {
        self.take(|_| true)
    }

    /// Removes the first input that is `wanted`.
    pub(super) fn take(&mut self, wanted: impl FnMut(&Input) -> bool) -> Option<Input> {
        let at = self.waiting.iter().position(wanted)?;
        let input = self.waiting.remove(at)?;
        self.bytes -= input.bytes();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some(input)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::trace::Traceparent;

    use super::*;

    fn line(text: &str) -> Input {
        Input::Line(Line { text: UserText::new(text), trace: Traceparent::random(), id: None, frame: None })
    }

    fn text_of(input: Option<Input>) -> Option<String> {
        match input? {
            Input::Line(line) => Some(line.text.expose().to_owned()),
            Input::Rejected(code) => Some(code.to_string()),
            Input::End => Some("end".to_owned()),
        }
    }

    #[test]
    fn bounded_by_lines_and_bytes() {
        let mut ahead = ReadAhead::default();
        for _ in 0..MAX_LINES {
            assert!(ahead.has_room());
            ahead.push(line("hola"));
        }
        assert!(!ahead.has_room());
        ahead.pop();
        assert!(ahead.has_room());
        let mut ahead = ReadAhead::default();
        ahead.push(line(&"x".repeat(MAX_BYTES)));
        assert!(!ahead.has_room());
    }

    proptest! {
        #[test]
        fn queue_matches_model_and_frees_memory(
            steps in proptest::collection::vec(proptest::option::of("[a-z]{0,9}"), 0..60)
        ) {
            let (mut ahead, mut model) = (ReadAhead::default(), VecDeque::new());
            for step in steps {
                match step {
                    Some(text) if text.is_empty() => {
                        ahead.put_back(Input::End);
                        model.push_front("end".to_owned());
                    }
                    Some(text) => {
                        ahead.push(line(&text));
                        model.push_back(text);
                    }
                    None => prop_assert_eq!(text_of(ahead.pop()), model.pop_front()),
                }
                prop_assert_eq!(ahead.is_empty(), model.is_empty());
            }
            while let Some(text) = model.pop_front() {
                prop_assert_eq!(text_of(ahead.pop()), Some(text));
            }
            prop_assert_eq!((ahead.bytes, ahead.waiting.capacity()), (0, 0));
        }
    }
}
