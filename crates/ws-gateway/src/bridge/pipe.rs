//! Socket of a bridge with its write buffer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Socket and write buffer. Holds no memory while idle: there is no read buffer, and an empty write buffer is freed.
#[derive(Debug)]
pub(crate) struct Pipe<S> {
    socket: S,
    /// Bytes to write, in order. Bounded by the callers: each side is read only while the other's buffer has room.
    pub(crate) out: BytesMut,
}

/// Progress of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteProgress {
    /// The buffer is empty.
    All,
    /// The socket blocks.
    Part {
        /// Bytes written before.
        bytes: usize,
    },
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pipe<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self { socket, out: BytesMut::new() }
    }

    /// Writes until the buffer is empty or the socket blocks; registers the waker if it blocks.
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
        // Dropping the buffer frees it: an idle connection holds none.
        self.out = BytesMut::new();
        Ok(WriteProgress::All)
    }

    /// Flushes the buffer; ready when it is empty.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.write(cx) {
            Ok(WriteProgress::All) => Poll::Ready(Ok(())),
            Ok(WriteProgress::Part { .. }) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Reads into `buf`. Zero bytes mean the end of the stream.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }

    /// Shuts down the write half.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
