//! Client side of a bridge: a sans-I/O WebSocket.

use std::io::{self, Read, Write};

use bytes::BytesMut;
use protocol::server_frame::ErrorFrame;
use protocol::{CloseReason, ErrorCode, Face, Language, ServerFrame};
use tokio::io::{AsyncRead, AsyncWrite};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

use super::client_side::{ClientSide, Input};
use super::core::Core;
use super::line_splitter::LineFragment;
use super::message_boundary::MessageBoundary;
use super::pipe::Pipe;
use crate::close::CloseCause;

/// Initial read buffer of tungstenite; grows to the longest message.
const FRAME_BUFFER_BYTES: usize = 256;
/// Longest frame header that a server sends.
const MAX_FRAME_HEADER_BYTES: usize = 10;
/// Reading from the client pauses while more bytes than this wait to be written to it.
const MAX_BACKLOG_BYTES: usize = 48 * 1_024;

/// Connection to a client.
///
/// tungstenite implements the WebSocket protocol over memory ([`MemoryStream`]), so that sockets are polled in one
/// place. Lines from the core are framed here: tungstenite would keep a buffer as large as the largest of them.
#[derive(Debug)]
pub(crate) struct Client<S> {
    pub(crate) pipe: Pipe<S>,
    websocket: WebSocketContext,
    boundary: MessageBoundary,
    face: Face,
    /// A fragmented message is being sent; only control frames may come between (RFC 6455 §5.4).
    mid_message: bool,
    /// The client's close frame has arrived.
    closed: bool,
    /// `bad_frame` errors queued behind the fragmented message.
    errors_owed: u32,
}

/// In-memory stream for one call into tungstenite: received bytes in, frames out.
struct MemoryStream<'i, 'o> {
    input: &'i [u8],
    output: &'o mut BytesMut,
}

impl Read for MemoryStream<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buf)
    }
}

impl Write for MemoryStream<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn websocket() -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(FRAME_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(protocol::limits::MAX_LINE_BYTES))
        .max_frame_size(Some(protocol::limits::MAX_LINE_BYTES));
    WebSocketContext::new(Role::Server, Some(config))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(socket: S, face: Face) -> Self {
        let (pipe, boundary) = (Pipe::new(socket), MessageBoundary::default());
        Self { pipe, websocket: websocket(), boundary, face, mid_message: false, closed: false, errors_owed: 0 }
    }

    /// Returns the next message in `input`; `None` when all of it is consumed.
    ///
    /// # Errors
    ///
    /// A protocol violation of the client.
    pub(crate) fn next_message(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        let mut stream = MemoryStream { input, output: &mut self.pipe.out };
        let read = self.websocket.read(&mut stream);
        *input = stream.input;
        match read {
            Ok(message) => {
                self.closed = self.closed || message.is_close();
                Ok(Some(message))
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forwards one text message as one line; `proto-line/SPEC.md` §6 defines the treatment of LF.
    fn deliver<U: AsyncRead + AsyncWrite + Unpin>(&mut self, text: &str, core: &mut Core<U>) {
        let folds = memchr::memchr(b'\n', text.as_bytes()).is_some();
        match self.face {
            Face::Frames if folds => self.refuse_message(),
            Face::Plain if folds => core.forward(&text.replace("\r\n", " ").replace('\n', " ")),
            Face::Frames | Face::Plain => core.forward(text),
        }
    }

    fn refuse_message(&mut self) {
        if self.mid_message {
            self.errors_owed += 1;
        } else {
            let mut line = BytesMut::new();
            let error = ErrorFrame::new(ErrorCode::BadFrame, Language::Spanish);
            ServerFrame::Error(error).encode_line(&mut line);
            line.truncate(line.len() - 1);
            self.send(LineFragment { bytes: &line, first: true, last: true });
        }
    }

    /// Returns true if the client's close frame has arrived.
    pub(crate) fn has_closed(&self) -> bool {
        self.closed
    }

    /// Queues the close frame: the reply to the client's, or the first one with `cause`.
    pub(crate) fn close(&mut self, cause: CloseCause) {
        let mut stream = MemoryStream { input: &[], output: &mut self.pipe.out };
        // `ConnectionClosed` means that this replied to the client's close frame.
        let _closed = self.websocket.close(&mut stream, Some(cause.frame()));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientSide for Client<S> {
    type Socket = S;

    fn pipe(&mut self) -> &mut Pipe<S> {
        &mut self.pipe
    }

    fn receive<U>(&mut self, input: &[u8], core: &mut Core<U>) -> Result<(), CloseCause>
    where
        U: AsyncRead + AsyncWrite + Unpin,
    {
        self.boundary.advance(input);
        let mut input = input;
        while let Some(message) = self.next_message(&mut input)? {
            match message {
                Message::Text(text) => self.deliver(&text, core),
                Message::Binary(_) => return Err(CloseCause::BinaryRefused),
                Message::Close(_) => return Err(CloseReason::ClientGone.into()),
                // tungstenite answers pings.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        if self.boundary.take_renewal() {
            // Between two messages the context holds no data: replacing it frees its long buffer.
            self.websocket = websocket();
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), CloseCause> {
        Err(CloseReason::ClientGone.into())
    }

    fn input(&self) -> Input {
        Input::Open
    }

    fn send(&mut self, fragment: LineFragment<'_>) {
        let opcode = OpCode::Data(if fragment.first { Data::Text } else { Data::Continue });
        let header = FrameHeader { is_final: fragment.last, opcode, ..FrameHeader::default() };
        self.pipe.out.reserve(MAX_FRAME_HEADER_BYTES + fragment.bytes.len());
        let mut stream = MemoryStream { input: &[], output: &mut self.pipe.out };
        header.format(fragment.bytes.len() as u64, &mut stream).expect("memory takes every byte");
        self.pipe.out.extend_from_slice(fragment.bytes);
        self.mid_message = !fragment.last;
        while !self.mid_message && 0 < self.errors_owed {
            self.errors_owed -= 1;
            self.refuse_message();
        }
    }

    fn ping(&mut self) -> bool {
        let mut stream = MemoryStream { input: &[], output: &mut self.pipe.out };
        // Fails only after a close frame, when no ping is needed.
        let _closing = self.websocket.write(&mut stream, Message::Ping(bytes::Bytes::new()));
        true
    }

    fn is_greeted(&self) -> bool {
        self.face == Face::Plain
    }

    fn is_backlogged(&self) -> bool {
        MAX_BACKLOG_BYTES < self.pipe.out.len()
    }

    fn awaits_line_end(&self) -> bool {
        0 < self.errors_owed
    }
}
