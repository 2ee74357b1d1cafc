//! The framed face: what each client frame does (`proto-line/SPEC.md` §3 to §5).

use std::sync::Arc;

use boot::Household;
use bytes::BytesMut;
use protocol::client_frame::{Hello, Meant, Rejection, Request};
use protocol::limits::{MAX_LINE_BYTES, MAX_REPLAY_ENTRIES, MAX_TEXT_CHARS};
use protocol::server_frame::{ErrorFrame, Limits, NoticeCode, Rate, Welcome};
use protocol::trace::Traceparent;
use protocol::{ClientFrame, CloseReason, ErrorCode, Face, Locale, MessageId, ResumeToken, ServerFrame, UserText};
use tokio::time::timeout;

use super::{Attached, Connection, FaceState, Peer, Replay};
use crate::session::Opened;
use crate::store::StoreError;
use crate::turn::{Message, Refusal};

/// Version of the protocol.
const VERSION: u64 = 1;
/// When to reconnect after `draining`; clients add jitter of their own.
const RECONNECT_IN_MS: u64 = 1_000;

pub(super) fn draining_notice() -> ServerFrame {
    ServerFrame::Notice { code: NoticeCode::Draining, reconnect_in_ms: RECONNECT_IN_MS }
}

impl Connection {
    /// Takes a line on a framed connection.
    pub(super) fn on_frame(&mut self, line: &UserText, trace: Traceparent) {
        let frame = ClientFrame::parse(line.expose());
        if self.attached.is_none() {
            return self.before_welcome(frame, ClientFrame::meant(line.expose()));
        }
        match frame {
            Ok(ClientFrame::Hello(_)) => self.error(ErrorCode::BadFrame, None),
            Ok(ClientFrame::Message { id, text }) => self.submit(id, text, trace),
            Ok(ClientFrame::Stop { id }) => self.stop(id),
            Ok(ClientFrame::Request(request)) => self.request(request, trace),
            Ok(ClientFrame::Ping { id }) => self.outbox.push(ServerFrame::Pong { id }),
            Ok(ClientFrame::Bye) => self.closing = Some(CloseReason::Bye),
            Err(Rejection { code, id }) => self.error(code, id),
        }
    }

    /// Without a session only `hello` does something. Another client frame is told so,
    /// well formed or not.
    fn before_welcome(&mut self, frame: Result<ClientFrame, Rejection>, meant: Option<Meant>) {
        match frame {
            Ok(ClientFrame::Hello(hello)) => self.hello(hello),
            Ok(frame) => self.error(ErrorCode::HelloRequired, frame.id().cloned()),
            Err(Rejection { id, .. }) if meant == Some(Meant::Other) => self.error(ErrorCode::HelloRequired, id),
            Err(Rejection { code, id }) => self.error(code, id),
        }
    }

    /// Takes a client frame on a plain connection: `hello` makes it framed for good as long
    /// as nothing was said, everything else is out of place.
    pub(super) fn on_frame_in_plain(&mut self, line: &UserText, is_hello: bool) {
        let frame = ClientFrame::parse(line.expose());
        let chatted = matches!(&self.face, FaceState::Plain(plain) if plain.chatted);
        if is_hello && !chatted {
            self.face = FaceState::Frames;
            // The greeting's session belongs to nobody now; nothing was said in it.
            self.attached = None;
            return self.before_welcome(frame, Some(Meant::Hello));
        }
        let id = frame.map_or_else(|rejection| rejection.id, |frame| frame.id().cloned());
        let code = if is_hello { ErrorCode::BadFrame } else { ErrorCode::HelloRequired };
        let error = ErrorFrame::new(code, self.language()).with_id(id).with_trace(self.peer.trace.trace_id);
        ServerFrame::Error(error).encode_line(&mut self.out);
    }

    fn hello(&mut self, hello: Hello) {
        if hello.v != VERSION {
            self.error(ErrorCode::VersionUnsupported, None);
            self.closing = Some(CloseReason::VersionUnsupported);
            return;
        }
        let Hello { resume, since, locale, .. } = hello;
        let sessions = Arc::clone(&self.context.sessions);
        match resume.map(|token| token.expose().parse::<ResumeToken>()) {
            None => self.later(async move {
                let opened = sessions.create(locale).await;
                move |connection: &mut Self| connection.on_opened(opened.map(Some), false, since)
            }),
            Some(Err(_)) => self.error(ErrorCode::BadResume, None),
            Some(Ok(token)) => self.later(async move {
                let opened = sessions.resume(token, locale).await;
                move |connection: &mut Self| connection.on_opened(opened, true, since)
            }),
        }
    }

    fn on_opened(&mut self, opened: Result<Option<Opened>, StoreError>, resumed: bool, since: Option<u64>) {
        match opened {
            Ok(Some(opened)) => self.welcome(opened, resumed, since),
            Ok(None) => self.error(ErrorCode::BadResume, None),
            Err(error) => {
                tracing::error!(trace_id = %self.peer.trace.trace_id, %error, "no session could be opened");
                let error = Refusal::from(&error).frame(self.language());
                self.outbox.push(ServerFrame::Error(error.with_trace(self.peer.trace.trace_id)));
            }
        }
    }

    fn welcome(&mut self, opened: Opened, resumed: bool, since: Option<u64>) {
        let (session, token, swept) = (Arc::clone(&opened.session), opened.token.expose(), opened.swept);
        let seq = self.attach(opened, resumed);
        // Replayed are the newest entries after `since`; without it, none.
        let oldest = seq.saturating_sub(MAX_REPLAY_ENTRIES as u64);
        let since = since.unwrap_or(seq).min(seq);
        let after = since.max(oldest);
        let missed = after.saturating_sub(since.max(swept));
        let welcome = Welcome {
            v: VERSION,
            session: session.id().clone(),
            user: session.user(),
            resume: UserText::new(token),
            resumed,
            seq,
            missed: (0 < missed).then_some(missed),
            locale: session.locale(),
            trace_id: self.peer.trace.trace_id,
            limits: self.limits(),
        };
        // Straight to the socket: what the session tells from now on comes after the replay.
        ServerFrame::Welcome(Box::new(welcome)).encode_line(&mut self.out);
        self.replay = (after < seq).then_some(Replay { after, last: seq });
    }

    fn limits(&self) -> Limits {
        let rate = self.context.sessions.engine().budget.rate();
        Limits {
            max_line_bytes: MAX_LINE_BYTES,
            max_text_chars: MAX_TEXT_CHARS,
            rate: Rate { messages: rate.events, window_ms: u64::try_from(rate.window.as_millis()).unwrap_or(u64::MAX) },
        }
    }

    /// Hands a message to the session; the next line waits until it is accepted or refused.
    pub(super) fn submit(&mut self, id: MessageId, text: UserText, trace: Traceparent) {
        let Some(Attached { session, id: connection, .. }) = &self.attached else { return };
        let (session, connection) = (Arc::clone(session), *connection);
        session.heed_language(&text);
        let message = Message { id, text, trace, from: Household::of(self.peer.address) };
        self.later(async move {
            session.submit(connection, message).await;
            |_: &mut Self| {}
        });
    }

    fn stop(&mut self, id: MessageId) {
        let Some(Attached { session, .. }) = &self.attached else { return };
        let session = Arc::clone(session);
        self.later(async move {
            let found = session.stop(&id).await;
            move |connection: &mut Self| {
                if !found {
                    connection.error(ErrorCode::NotFound, Some(id));
                }
            }
        });
    }

    /// Answers a request from a task of its own: it delays neither a message nor, before there are
    /// too many, the next request.
    fn request(&mut self, request: Request, trace: Traceparent) {
        let Some(Attached { session, id: from, .. }) = &self.attached else { return };
        let (session, from, outbox) = (Arc::clone(session), *from, Arc::clone(&self.outbox));
        let turns = Arc::clone(&self.request_turns);
        let id = request.id.clone();
        let (erases, limit) = (request.method == "erase", request.timeout);
        outbox.expect_response();
        let answer = async move {
            let in_turn = async {
                // Never closed.
                let _turn = turns.acquire().await.ok();
                session.request(from, request).await
            };
            let result = timeout(limit, in_turn).await;
            let language = session.language();
            let error = match result {
                Ok(Ok(result)) => {
                    outbox.respond(ServerFrame::Response { id, result });
                    return true;
                }
                Ok(Err(error)) => error.refusal().frame(language),
                Err(_) => ErrorFrame::new(ErrorCode::Timeout, language),
            };
            outbox.respond(ServerFrame::Error(error.with_id(Some(id)).with_trace(trace.trace_id)));
            false
        };
        if erases {
            // What comes after it must not find the session any more.
            self.later(async move {
                let erased = answer.await;
                move |connection: &mut Self| {
                    if erased {
                        connection.attached = None;
                    }
                }
            });
        } else {
            self.context.tasks.spawn(answer);
        }
    }
}

/// What a peer there is no room for gets, in the form its face needs.
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
