//! Core side of a bridge: tagged lines out, lines and a closing line in.

use bytes::BufMut as _;
use protocol::codec::{TAG_LEN, encode_tag};
use protocol::trace::Traceparent;
use tokio::io::{AsyncRead, AsyncWrite};

use super::line_splitter::LineSplitter;
use super::pipe::Pipe;
use crate::close::CloseCause;

/// Connection to a core.
#[derive(Debug)]
pub(crate) struct Core<S> {
    pub(crate) pipe: Pipe<S>,
    pub(crate) lines: LineSplitter,
    /// Position in the trace; each line gets a child span id.
    trace: Traceparent,
    /// Nothing more is written, but the core's closing line is still read.
    write_failed: bool,
    /// A line was forwarded that every core answers.
    expects_reply: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Core<S> {
    /// Creates the connection and queues `header`, so that it leaves in one write with the first line.
    pub(crate) fn new(socket: S, header: &[u8], trace: Traceparent) -> Self {
        let mut pipe = Pipe::new(socket);
        pipe.out.extend_from_slice(header);
        Self { pipe, lines: LineSplitter::default(), trace, write_failed: false, expects_reply: false }
    }

    /// Queues `text` as one tagged line.
    pub(crate) fn forward(&mut self, text: &str) {
        // The core ignores blank lines (SPEC §1): silence after one must not eject it.
        self.expects_reply = self.expects_reply || !text.trim().is_empty();
        let out = &mut self.pipe.out;
        out.reserve(TAG_LEN + text.len() + 1);
        out.put_slice(&encode_tag(self.trace.child()));
        out.put_slice(text.as_bytes());
        out.put_u8(b'\n');
    }

    /// Returns true once a reply is due.
    pub(crate) fn expects_reply(&self) -> bool {
        self.expects_reply
    }

    /// Returns true if writing to the core has failed.
    pub(crate) fn has_write_failed(&self) -> bool {
        self.write_failed
    }

    /// Discards unsent lines; the core's closing line may still be unread.
    pub(crate) fn set_write_failed(&mut self) {
        self.pipe.out.clear();
        self.write_failed = true;
    }

    /// Returns the cause after the core has closed its side.
    pub(crate) fn close_cause(&self) -> CloseCause {
        self.lines.closing_reason().map_or(CloseCause::CoreLost, CloseCause::Known)
    }
}
