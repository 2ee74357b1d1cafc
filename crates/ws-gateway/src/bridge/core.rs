//! Core side of a bridge: tagged lines out, lines and a closing line in.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, BytesMut};
use protocol::codec::{TAG_LEN, encode_tag};
use protocol::trace::Traceparent;
use protocol::{Face, UserLabel};
use tokio::io::{AsyncRead, AsyncWrite};

use super::line_splitter::{LineFragment, LineSplitter};
use super::pipe::Pipe;
use crate::close::CloseCause;

/// Bytes kept for a second core: more than a `hello` and the messages of a client that resends without an answer.
const MAX_UNANSWERED_BYTES: usize = 8 * 1_024;

/// Connection to a core.
#[derive(Debug)]
pub(crate) struct Core<S> {
    pub(crate) pipe: Pipe<S>,
    lines: LineSplitter,
    face: Face,
    /// Lines of the client, tagged, until the core's first line for it; `None` after that, and if they are too long.
    /// Boxed: `None` most of the time.
    unanswered: Option<Box<BytesMut>>,
    /// The core's lines are dropped: they are a greeting.
    dropping: bool,
    /// Position in the trace; each line gets a child span id.
    trace: Traceparent,
    /// Nothing more is written, but the core's closing line is still read.
    write_failed: bool,
    /// A line was forwarded that every core answers.
    expects_reply: bool,
    /// The client's line is incomplete.
    mid_line: bool,
    /// The core has the end of the stream.
    shut: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Core<S> {
    /// Creates the connection and queues `header`, so that it leaves in one write with the first line.
    pub(crate) fn new(socket: S, header: &[u8], trace: Traceparent, face: Face) -> Self {
        let mut pipe = Pipe::new(socket);
        pipe.out.extend_from_slice(header);
        Self {
            pipe,
            lines: LineSplitter::default(),
            face,
            unanswered: Some(Box::default()),
            dropping: false,
            trace,
            write_failed: false,
            expects_reply: false,
            mid_line: false,
            shut: false,
        }
    }

    /// Queues `text` as one tagged line.
    pub(crate) fn forward(&mut self, text: &str) {
        self.forward_part(text.as_bytes(), true);
    }

    /// Queues a part of a line, its tag before its first one and LF behind its `last` one.
    pub(crate) fn forward_part(&mut self, part: &[u8], last: bool) {
        // The core ignores blank lines (SPEC §1): silence after one must not eject it.
        self.expects_reply = self.expects_reply || !str::from_utf8(part).is_ok_and(|part| part.trim().is_empty());
        let out = &mut self.pipe.out;
        let begin = out.len();
        out.reserve(TAG_LEN + part.len() + 1);
        if !self.mid_line {
            out.put_slice(&encode_tag(self.trace.child()));
        }
        out.put_slice(part);
        if last {
            out.put_u8(b'\n');
        }
        self.mid_line = !last;
        let line = &out[begin..];
        self.unanswered = self.unanswered.take().filter(|kept| kept.len() + line.len() <= MAX_UNANSWERED_BYTES);
        self.unanswered.iter_mut().for_each(|kept| kept.extend_from_slice(line));
    }

    /// Queues the lines that another core left unanswered.
    pub(crate) fn forward_again(&mut self, lines: BytesMut) {
        self.expects_reply = !lines.is_empty();
        self.pipe.out.extend_from_slice(&lines);
        self.mid_line = lines.last().is_some_and(|&byte| byte != b'\n');
        self.unanswered = Some(Box::new(lines));
    }

    /// Passes the lines in `bytes` to `sink`. On a framed connection a greeting is dropped: the core got the header
    /// late, and took its sender for a person.
    pub(crate) fn receive(&mut self, bytes: &[u8], mut sink: impl FnMut(LineFragment<'_>)) {
        let Self { lines, face, unanswered, dropping, .. } = self;
        lines.feed(bytes, |fragment| {
            if fragment.first {
                let begins = *face == Face::Frames
                    && unanswered.is_some()
                    && fragment.bytes.starts_with(UserLabel::PREFIX.as_bytes());
                *dropping = begins || (*dropping && fragment.bytes.first() != Some(&b'{'));
            }
            if !*dropping {
                *unanswered = None;
                sink(fragment);
            }
        });
    }

    /// Returns the client's lines if nothing of the core was passed to the client, and none is missing: another core
    /// may get them.
    pub(crate) fn into_unanswered(self) -> Option<BytesMut> {
        self.unanswered.map(|lines| *lines)
    }

    /// Returns true once a reply is due.
    pub(crate) fn expects_reply(&self) -> bool {
        self.expects_reply
    }

    /// Sends the end of the stream, once all lines are written.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(self.pipe.poll_shutdown(cx))?;
            self.shut = true;
        }
        Poll::Ready(Ok(()))
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
