//! Line reader without a buffer for idle sockets.

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

/// Buffer space reserved for one read.
const READ_BYTES: usize = 4_096;

/// Reads lines. Allocates only while part of a line is buffered: most connections are idle most of the time.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    source: R,
    buffer: BytesMut,
    codec: LineCodec,
    touched: bool,
    at_proxy_header: bool,
    /// No line was read yet, and the client may speak another protocol.
    opening: bool,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads `source`, of which `first` was read already. `opening`: the client may speak another protocol, which is an
    /// error with [`ForeignProtocol`] inside.
    pub(super) fn new(source: R, first: BytesMut, codec: LineCodec, opening: bool) -> Self {
        let touched = !first.is_empty();
        Self { source, buffer: first, codec, touched, at_proxy_header: false, opening }
    }

    pub(super) fn has_received(&self) -> bool {
        self.touched
    }

    /// Returns true if the stream begins with a PROXY header in place of the first line; no line follows then.
    pub(super) fn is_at_proxy_header(&self) -> bool {
        self.at_proxy_header
    }

    /// Reads the next line; `None` at the end of the stream, where a cut line is dropped.
    ///
    /// # Cancel safety
    ///
    /// Safe: bytes read stay in the buffer.
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
            // A trusted proxy whose header arrived after the preamble timeout.
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

    /// Returns the source and the unconsumed bytes.
    pub(super) fn into_parts(self) -> (R, BytesMut) {
        (self.source, self.buffer)
    }
}

/// Returns true for a PROXY header or an unambiguous beginning of one, which must not be read as a line.
fn is_proxy_header(bytes: &[u8]) -> bool {
    matches!(
        proxy_header::parse(bytes),
        ProxyHeaderParse::Header { .. }
            | ProxyHeaderParse::Incomplete { unambiguous: true }
            | ProxyHeaderParse::Invalid
    )
}
