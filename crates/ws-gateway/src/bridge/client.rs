//! The client's side of a bridge: a WebSocket without a socket of its own.

use std::io::{self, Read, Write};

use bytes::BytesMut;
use protocol::server_frame::ErrorFrame;
use protocol::{CloseReason, ErrorCode, Face, Language, ServerFrame};
use tokio::io::{AsyncRead, AsyncWrite};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

use super::core::Core;
use super::line_splitter::LineFragment;
use super::message_boundary::MessageBoundary;
use super::pipe::Pipe;
use crate::close::CloseCause;

/// What tungstenite holds for a message's beginning; grows to the longest message.
const FRAME_BUFFER_BYTES: usize = 256;
/// Longest header of a frame the server sends.
const MAX_FRAME_HEADER_BYTES: usize = 10;
/// The client is not read while more than this waits for it to read.
const MAX_BACKLOG_BYTES: usize = 48 * 1_024;

/// The connection to a client.
///
/// The WebSocket protocol is tungstenite's; bytes reach and leave it through memory
/// ([`MemoryStream`]), so that the connection has one place that waits on sockets. Lines from the core
/// become frames here, because tungstenite would keep a buffer as large as the largest of them.
#[derive(Debug)]
pub(crate) struct Client<S> {
    pub(crate) pipe: Pipe<S>,
    websocket: WebSocketContext,
    boundary: MessageBoundary,
    face: Face,
    /// A line has been sent in part: no other message may come between.
    mid_message: bool,
    /// The client's close frame has come.
    closed: bool,
    /// `bad_frame` errors to send after that line.
    errors_owed: u32,
}

/// One turn of the WebSocket: what came in, and where what goes out is put.
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

    /// Takes bytes from the client and forwards the messages in them to `core`.
    ///
    /// # Errors
    ///
    /// The client closed or broke a rule; what came before that has been forwarded.
    pub(crate) fn receive<U>(&mut self, input: &[u8], core: &mut Core<U>) -> Result<(), CloseCause>
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
                // Pings are answered by tungstenite.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        if self.boundary.take_renewal() {
            // Everything has been taken out of it and every ping answered; a new one has no long buffer.
            self.websocket = websocket();
        }
        Ok(())
    }

    /// The next message in `input`, or `None` when all of it has been taken in.
    ///
    /// # Errors
    ///
    /// The client broke a rule of the WebSocket protocol.
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

    /// One text message is one line: see `proto-line/SPEC.md` §6 for what a LF inside becomes.
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

    /// Appends a line of the core, or a piece of one, as one frame.
    pub(crate) fn send(&mut self, fragment: LineFragment<'_>) {
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

    /// Whether the client is greeted before it has said anything.
    pub(crate) fn is_greeted(&self) -> bool {
        self.face == Face::Plain
    }

    /// Whether too much waits for the client to go on reading it.
    pub(crate) fn is_backlogged(&self) -> bool {
        MAX_BACKLOG_BYTES < self.pipe.out.len()
    }

    /// Whether the client is not read until the core has ended a line.
    pub(crate) fn awaits_line_end(&self) -> bool {
        0 < self.errors_owed
    }

    /// Whether the client's close frame has come.
    pub(crate) fn has_closed(&self) -> bool {
        self.closed
    }

    /// Appends a ping.
    pub(crate) fn ping(&mut self) {
        let mut stream = MemoryStream { input: &[], output: &mut self.pipe.out };
        // It fails only after a close frame, and then no ping is wanted.
        let _closing = self.websocket.write(&mut stream, Message::Ping(bytes::Bytes::new()));
    }

    /// Appends the close frame: the answer to the client's own, or ours with `cause`.
    pub(crate) fn close(&mut self, cause: CloseCause) {
        let mut stream = MemoryStream { input: &[], output: &mut self.pipe.out };
        // It ends in `ConnectionClosed` when the client's own close frame has been answered.
        let _closed = self.websocket.close(&mut stream, Some(cause.frame()));
    }
}
