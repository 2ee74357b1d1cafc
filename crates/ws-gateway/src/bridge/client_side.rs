//! Client's side of a bridge, over either of its transports.

use tokio::io::{AsyncRead, AsyncWrite};

use super::core::Core;
use super::line_splitter::LineFragment;
use super::pipe::Pipe;
use crate::close::CloseCause;

/// Direction from the client to the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// More may come.
    Open,
    /// The client has sent all it has to send: the core gets the end of the stream, answers, and closes.
    Ended,
    /// The client has sent all it has to send, and waits for what else happens.
    Listening,
}

/// Translation between the client's bytes and lines.
pub(crate) trait ClientSide {
    /// Stream to the client.
    type Socket: AsyncRead + AsyncWrite + Unpin;

    /// Returns the stream and its write buffer.
    fn pipe(&mut self) -> &mut Pipe<Self::Socket>;

    /// Forwards the lines in `input`, bytes of the client, to `core`.
    ///
    /// # Errors
    ///
    /// The client closed or violated the protocol; lines before that are forwarded.
    fn receive<U>(&mut self, input: &[u8], core: &mut Core<U>) -> Result<(), CloseCause>
    where
        U: AsyncRead + AsyncWrite + Unpin;

    /// Takes note of the end of the client's stream.
    ///
    /// # Errors
    ///
    /// Without a further word of the client there is no connection.
    fn end(&mut self) -> Result<(), CloseCause>;

    /// Returns the state of the direction to the core.
    fn input(&self) -> Input;

    /// Appends a line fragment of the core to the write buffer.
    fn send(&mut self, fragment: LineFragment<'_>);

    /// Queues a sign of life; returns true if the client answers it.
    fn ping(&mut self) -> bool;

    /// Returns true if the core speaks first: it greets in the plain face.
    fn is_greeted(&self) -> bool;

    /// Returns true while the write buffer exceeds its limit, which pauses reading.
    fn is_backlogged(&self) -> bool;

    /// Returns true while reading must pause until the core ends its line.
    fn awaits_line_end(&self) -> bool;
}
