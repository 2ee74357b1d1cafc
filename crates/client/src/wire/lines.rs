//! Newline-delimited frames over a byte stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use protocol::limits::MAX_SERVER_LINE_BYTES;
use protocol::{ClientFrame, Inbound, LineCodec, UserText};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::WireError;

/// Size of a read.
const READ_BYTES: usize = 4_096;
/// Threshold of the write buffer: no frame is added at or above it.
const WRITE_BYTES: usize = 16_384;

/// Line framing over `S`. Buffers at most one server line and one client frame beyond
/// [`WRITE_BYTES`]; then the socket is not read, and frames stay in the caller's queue.
#[derive(Debug)]
pub(crate) struct Lines<S> {
    stream: S,
    codec: LineCodec,
    received: BytesMut,
    sending: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lines<S> {
    pub(crate) fn new(stream: S) -> Self {
        let codec = LineCodec::new(MAX_SERVER_LINE_BYTES);
        Self { stream, codec, received: BytesMut::new(), sending: BytesMut::new() }
    }

    pub(crate) fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Result<UserText, WireError>> {
        loop {
            match self.codec.next_line(&mut self.received) {
                Some(Inbound::Line { text, .. }) => return Poll::Ready(Ok(text)),
                Some(Inbound::Rejected { .. }) => {
                    return Poll::Ready(Err(WireError::Lost("the server sent an invalid line".to_owned())));
                }
                None => {}
            }
            self.received.reserve(READ_BYTES);
            let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.received);
            // An idle connection must not hold a buffer.
            if read.is_pending() && self.received.is_empty() {
                self.received = BytesMut::new();
            }
            if ready!(read)? == 0 {
                return Poll::Ready(Err(WireError::Eof));
            }
        }
    }

    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        next: &mut dyn FnMut() -> Option<ClientFrame>,
    ) -> Poll<Result<(), WireError>> {
        loop {
            while self.sending.len() < WRITE_BYTES {
                let Some(frame) = next() else { break };
                frame.encode_line(&mut self.sending);
            }
            if self.sending.is_empty() {
                self.sending = BytesMut::new();
                // TLS buffers until flushed.
                return Pin::new(&mut self.stream).poll_flush(cx).map_err(Into::into);
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.sending))?;
            if written == 0 {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
            }
            self.sending.advance(written);
        }
    }
}
