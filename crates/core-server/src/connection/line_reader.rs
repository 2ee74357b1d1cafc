//! Lines from a socket, without a buffer while nothing comes.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use protocol::foreign::{ForeignProtocol, is_foreign};
use protocol::proxy_header::{self, ProxyHeaderParse};
use protocol::{Inbound, LineCodec};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// Room made for one read.
const READ_BYTES: usize = 4_096;

/// Reads lines. Holds memory only while part of a line is there.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    source: R,
    buffer: BytesMut,
    codec: LineCodec,
    touched: bool,
    /// A PROXY header came first.
    at_proxy_header: bool,
    /// No line has been read yet, and what comes first may be another protocol.
    opening: bool,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads `source`, of which `first` has been read already. `opening`: what comes first may be
    /// another protocol, which is an error with [`ForeignProtocol`] inside.
    pub(super) fn new(source: R, first: BytesMut, codec: LineCodec, opening: bool) -> Self {
        let touched = !first.is_empty();
        Self { source, buffer: first, codec, touched, at_proxy_header: false, opening }
    }

    /// Whether any byte has come.
    pub(super) fn has_received(&self) -> bool {
        self.touched
    }

    /// Whether a PROXY header is where the first line should be; then no line comes any more.
    pub(super) fn is_at_proxy_header(&self) -> bool {
        self.at_proxy_header
    }

    /// The next line; `None` at the end of the stream, where a cut line is dropped.
    ///
    /// # Cancel safety
    ///
    /// Safe: what has been read stays here.
    pub(super) async fn next(&mut self) -> io::Result<Option<Inbound>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Inbound>>> {
        loop {
            if self.opening && is_foreign(&self.buffer) {
                return Poll::Ready(Err(io::Error::other(ForeignProtocol)));
            }
            if let Some(inbound) = self.codec.next_line(&mut self.buffer) {
                self.opening = false;
                return Poll::Ready(Ok(Some(inbound)));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(None));
            }
            // A gateway that was so slow to introduce itself that it was taken for a person.
            if !self.touched && is_proxy_header(&self.buffer) {
                self.at_proxy_header = true;
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            self.touched = true;
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.reserve(READ_BYTES);
        let filled = poll_read_buf(Pin::new(&mut self.source), cx, &mut self.buffer);
        if filled.is_pending() && self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        filled
    }

    /// Gives the source back, and what was read and not used.
    pub(super) fn into_parts(self) -> (R, BytesMut) {
        (self.source, self.buffer)
    }
}

/// Whether this is a PROXY header, or the certain beginning of one: no line to be taken.
fn is_proxy_header(bytes: &[u8]) -> bool {
    matches!(
        proxy_header::parse(bytes),
        ProxyHeaderParse::Header { .. }
            | ProxyHeaderParse::Incomplete { unambiguous: true }
            | ProxyHeaderParse::Invalid
    )
}
