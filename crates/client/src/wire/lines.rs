//! Lines over a byte stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use protocol::limits::MAX_SERVER_LINE_BYTES;
use protocol::{ClientFrame, Inbound, LineCodec, UserText};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::WireError;

/// How much is read at once.
const READ_BYTES: usize = 4_096;
/// Frames are put into the write buffer until it holds this much.
const WRITE_BYTES: usize = 16_384;

/// Lines over `S`. Buffers at most one line of the server and one frame more than
/// [`WRITE_BYTES`] of the client; beyond that the socket is not read, and frames stay where
/// they are.
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
                    return Poll::Ready(Err(WireError::Lost("the server sent a line that is none".to_owned())));
                }
                None => {}
            }
            self.received.reserve(READ_BYTES);
            let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.received);
            if read.is_pending() && self.received.is_empty() {
                self.received = BytesMut::new();
            }
            if ready!(read)? == 0 {
                return Poll::Ready(Err(WireError::End));
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
                // TLS holds back what is not flushed.
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
