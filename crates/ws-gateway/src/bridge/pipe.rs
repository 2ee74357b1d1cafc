//! One socket of a bridge and what waits to be written to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A socket with its outgoing bytes. Holds no memory while nothing waits: there is no
/// read buffer, and the write buffer goes away as soon as it is empty.
#[derive(Debug)]
pub(crate) struct Pipe<S> {
    socket: S,
    /// Bytes to write, in order. Bounded by whoever appends: each side is read only while
    /// the other's has room.
    pub(crate) out: BytesMut,
}

/// Outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteProgress {
    /// Nothing waits any more.
    All,
    /// The socket takes no more for now.
    Part {
        /// How many it took before.
        bytes: usize,
    },
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pipe<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self { socket, out: BytesMut::new() }
    }

    /// Writes as much of what waits as the socket takes. Where something still waits, the task is woken when the
    /// socket takes more.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>) -> io::Result<WriteProgress> {
        let mut bytes = 0;
        while !self.out.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, &self.out)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => {
                    self.out.advance(written);
                    bytes += written;
                }
                Poll::Pending => return Ok(WriteProgress::Part { bytes }),
            }
        }
        // Also frees the memory: an idle connection keeps none.
        self.out = BytesMut::new();
        Ok(WriteProgress::All)
    }

    /// Writes what waits; `Ready(Ok)` when nothing does any more.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.write(cx) {
            Ok(WriteProgress::All) => Poll::Ready(Ok(())),
            Ok(WriteProgress::Part { .. }) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Reads what has come, at most what `buf` has room for. Nothing read is the end of the stream.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }

    /// Ends our direction; the peer reads everything before it.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
