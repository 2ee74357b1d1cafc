//! The framed face: client frames (`proto-line/SPEC.md` §3 to §5).

mod hello;
mod replay;
mod request;

use std::sync::Arc;

use bytes::BytesMut;
use protocol::client_frame::{FrameHint, Rejection};
use protocol::server_frame::ErrorFrame;
use protocol::{ClientFrame, CloseReason, ErrorCode, Face, Language, Locale, MessageId, ServerFrame};
use tokio::sync::Semaphore;

pub(super) use self::hello::draining_notice;
pub(super) use self::replay::Replay;

use super::attached::{Attached, NewMessage};
use super::completion::Completion;
use super::link::Link;
use super::mode::PreSession;
use super::read_ahead::Line;
use super::{Peer, notices};

/// Requests of one connection that run at once; the others queue. The database serves reads first come, first
/// served: a client with many requests must not make the answers of other clients wait for all of them.
const MAX_RUNNING_REQUESTS: usize = 2;

/// Framed mode: a program, with a session from `welcome` on.
#[derive(Debug)]
pub(super) struct Frames {
    phase: Phase,
    /// Limits running requests to [`MAX_RUNNING_REQUESTS`]; first come, first served.
    request_permits: Arc<Semaphore>,
}

#[derive(Debug)]
enum Phase {
    /// Before `hello` is answered, and after the session was erased.
    BeforeWelcome(PreSession),
    Welcomed(Welcomed),
}

#[derive(Debug)]
struct Welcomed {
    attached: Attached,
    /// Replay in progress: its entries go out before any frame of the outbox except help.
    replay: Option<Replay>,
}

impl Frames {
    pub(super) fn new(pre_session: PreSession) -> Self {
        let request_permits = Arc::new(Semaphore::new(MAX_RUNNING_REQUESTS));
        Self { phase: Phase::BeforeWelcome(pre_session), request_permits }
    }

    pub(super) fn attached(&self) -> Option<&Attached> {
        match &self.phase {
            Phase::BeforeWelcome(_) => None,
            Phase::Welcomed(welcomed) => Some(&welcomed.attached),
        }
    }

    pub(super) fn attached_mut(&mut self) -> Option<&mut Attached> {
        match &mut self.phase {
            Phase::BeforeWelcome(_) => None,
            Phase::Welcomed(welcomed) => Some(&mut welcomed.attached),
        }
    }

    pub(super) fn pre_session_mut(&mut self) -> Option<&mut PreSession> {
        match &mut self.phase {
            Phase::BeforeWelcome(pre_session) => Some(pre_session),
            Phase::Welcomed(_) => None,
        }
    }

    pub(super) fn language(&self) -> Language {
        match &self.phase {
            Phase::BeforeWelcome(pre_session) => pre_session.language,
            Phase::Welcomed(welcomed) => welcomed.attached.language(),
        }
    }

    /// Handles a line; `hint` is the frame that it was meant to be.
    pub(super) fn on_line(&mut self, line: Line, hint: Option<FrameHint>, link: &mut Link) {
        let Line { text, trace, frame, .. } = line;
        let frame = frame.map_or_else(|| ClientFrame::parse(text.expose()), |frame| *frame);
        let Phase::Welcomed(welcomed) = &mut self.phase else { return self.before_welcome(frame, hint, link) };
        match frame {
            Ok(ClientFrame::Hello(_)) => self.error(ErrorCode::BadFrame, None, link),
            Ok(ClientFrame::Message { id, text }) => welcomed.attached.submit(NewMessage { id, text, trace }, link),
            Ok(ClientFrame::Stop { id }) => welcomed.stop(id, link),
            Ok(ClientFrame::Request(request)) => self.request(request, trace, link),
            Ok(ClientFrame::Ping { id }) => link.writer.push(ServerFrame::Pong { id }),
            Ok(ClientFrame::Bye) => link.closing = Some(CloseReason::Bye),
            Err(Rejection { code, id, .. }) => {
                // Help for its readable part may have been shown before the session was opened.
                welcomed.attached.session.save_help_later();
                self.error(code, id, link);
            }
        }
    }

    /// Handles a frame without a session: `hello` opens one and `about` is answered; every other client frame, well
    /// formed or not, gets `hello_required`.
    pub(super) fn before_welcome(
        &mut self,
        frame: Result<ClientFrame, Rejection>,
        hint: Option<FrameHint>,
        link: &mut Link,
    ) {
        match frame {
            Ok(ClientFrame::Hello(hello)) => self.hello(hello, link),
            Ok(frame) => {
                let response = match &frame {
                    ClientFrame::Request(request) => notices::about(request, &link.context),
                    _ => None,
                };
                match response {
                    Some(response) => link.writer.push(response),
                    None => self.error(ErrorCode::HelloRequired, frame.id().cloned(), link),
                }
            }
            Err(Rejection { id, .. }) if hint == Some(FrameHint::Other) => {
                self.error(ErrorCode::HelloRequired, id, link);
            }
            Err(Rejection { code, id, .. }) => self.error(code, id, link),
        }
    }

    pub(super) fn on_stopped(&self, id: MessageId, found: bool, link: &Link) {
        if !found {
            self.error(ErrorCode::NotFound, Some(id), link);
        }
    }

    fn error(&self, code: ErrorCode, id: Option<MessageId>, link: &Link) {
        link.writer.push(link.error_frame(code, id, self.language()));
    }
}

impl Welcomed {
    fn stop(&self, id: MessageId, link: &mut Link) {
        let session = Arc::clone(&self.attached.session);
        link.spawn(async move {
            let found = session.stop(&id).await;
            Completion::Stopped { id, found }
        });
    }
}

/// Encodes the error `too_many_connections` for the peer's face, with the closing line if the peer understands it.
pub fn too_many_connections(peer: &Peer) -> BytesMut {
    let mut out = BytesMut::new();
    let error = ErrorFrame::new(ErrorCode::TooManyConnections, Locale::default().language());
    match peer.face {
        Some(Face::Frames) => ServerFrame::Error(error.with_trace(peer.trace.trace_id)).encode_line(&mut out),
        Some(Face::Plain) | None => {
            out.extend_from_slice(error.message.as_bytes());
            out.extend_from_slice(b"\n");
        }
    }
    if peer.closing_line {
        super::push_closing_line(&mut out, CloseReason::TooManyConnections);
    }
    out
}
