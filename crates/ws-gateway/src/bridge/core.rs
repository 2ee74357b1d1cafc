//! The core's side of a bridge: tagged lines out, lines and a closing line in.

use bytes::BufMut as _;
use protocol::codec::{TAG_LEN, encode_tag};
use protocol::trace::Traceparent;
use tokio::io::{AsyncRead, AsyncWrite};

use super::line_splitter::LineSplitter;
use super::pipe::Pipe;
use crate::close::CloseCause;

/// The connection to the core.
#[derive(Debug)]
pub(crate) struct Core<S> {
    pub(crate) pipe: Pipe<S>,
    pub(crate) lines: LineSplitter,
    /// The connection's position in its trace; each line gets a child of it.
    trace: Traceparent,
    /// Writing failed: nothing more goes out, but what the core said last is still read.
    write_failed: bool,
    /// A line was forwarded that no core leaves unanswered.
    expects_reply: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Core<S> {
    /// Begins with `header`, which leaves together with the first line if there is one by then.
    pub(crate) fn new(socket: S, header: &[u8], trace: Traceparent) -> Self {
        let mut pipe = Pipe::new(socket);
        pipe.out.extend_from_slice(header);
        Self { pipe, lines: LineSplitter::default(), trace, write_failed: false, expects_reply: false }
    }

    /// Appends `text` as one tagged line.
    pub(crate) fn forward(&mut self, text: &str) {
        // A blank line is ignored (SPEC §1): silence after it says nothing of the core, and must not eject it.
        self.expects_reply = self.expects_reply || !text.trim().is_empty();
        let out = &mut self.pipe.out;
        out.reserve(TAG_LEN + text.len() + 1);
        out.put_slice(&encode_tag(self.trace.child()));
        out.put_slice(text.as_bytes());
        out.put_u8(b'\n');
    }

    /// Whether the core owes an answer, or has given it.
    pub(crate) fn expects_reply(&self) -> bool {
        self.expects_reply
    }

    /// Whether the core takes no more lines.
    pub(crate) fn has_write_failed(&self) -> bool {
        self.write_failed
    }

    /// Writing failed; its reason, if it gave one, is still to be read.
    pub(crate) fn set_write_failed(&mut self) {
        self.pipe.out.clear();
        self.write_failed = true;
    }

    /// Why the connection ends, now that the core's side has ended.
    pub(crate) fn close_cause(&self) -> CloseCause {
        self.lines.closing_reason().map_or(CloseCause::CoreLost, CloseCause::Known)
    }
}
