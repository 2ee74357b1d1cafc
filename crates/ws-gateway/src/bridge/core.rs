//! The core's side of a bridge: tagged lines out, lines and a closing line in.

use bytes::BufMut as _;
use protocol::codec::{TAG_LEN, encode_tag};
use protocol::trace::Traceparent;
use tokio::io::{AsyncRead, AsyncWrite};

use super::lines::Lines;
use super::pipe::Pipe;
use crate::close::Ending;

/// The connection to the core.
#[derive(Debug)]
pub(crate) struct Core<S> {
    pub(crate) pipe: Pipe<S>,
    pub(crate) lines: Lines,
    /// The connection's position in its trace; each line gets a child of it.
    trace: Traceparent,
    /// Writing failed: nothing more goes out, but what the core said last is still read.
    deaf: bool,
    /// A line was forwarded that no core leaves unanswered.
    asked: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Core<S> {
    /// Begins with `header`, which leaves together with the first line if there is one by then.
    pub(crate) fn new(socket: S, header: &[u8], trace: Traceparent) -> Self {
        let mut pipe = Pipe::new(socket);
        pipe.out.extend_from_slice(header);
        Self { pipe, lines: Lines::default(), trace, deaf: false, asked: false }
    }

    /// Appends `text` as one tagged line.
    pub(crate) fn forward(&mut self, text: &str) {
        // A blank line is ignored (SPEC §1): silence after it says nothing of the core, and must not eject it.
        self.asked = self.asked || !text.trim().is_empty();
        let out = &mut self.pipe.out;
        out.reserve(TAG_LEN + text.len() + 1);
        out.put_slice(&encode_tag(self.trace.child()));
        out.put_slice(text.as_bytes());
        out.put_u8(b'\n');
    }

    /// Whether the core owes an answer, or has given it.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked
    }

    /// Whether the core takes no more lines.
    pub(crate) fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Writing failed; its reason, if it gave one, is still to be read.
    pub(crate) fn set_deaf(&mut self) {
        self.pipe.out.clear();
        self.deaf = true;
    }

    /// Why the connection ends, now that the core's side has ended.
    pub(crate) fn ending(&self) -> Ending {
        self.lines.closing_reason().map_or(Ending::CoreLost, Ending::Known)
    }
}
