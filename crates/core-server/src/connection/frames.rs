//! The framed face: handlers of client frames (`proto-line/SPEC.md` §3 to §5).

use std::sync::Arc;

use bytes::BytesMut;
use protocol::client_frame::{FrameHint, Hello, Rejection, Request};
use protocol::limits::{MAX_LINE_BYTES, MAX_REPLAY_ENTRIES, MAX_TEXT_CHARS};
use protocol::server_frame::{ErrorFrame, Limits, NoticeCode, Rate, ResponseResult, Welcome};
use protocol::trace::Traceparent;
use protocol::{ClientFrame, CloseReason, ErrorCode, Face, Locale, MessageId, ResumeToken, ServerFrame, UserText};
use session::{Message, MessageRejection, known_country};
use tokio::task::JoinError;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use limits::ClientSubnet;

use super::{Attached, Connection, FaceState, Peer, Replay};
use crate::sessions::{Opened, Outbox, RequestError, SessionError};

/// Protocol version.
const VERSION: u64 = 1;
/// Reconnect delay sent with `draining`, in milliseconds; clients add jitter of their own.
const RECONNECT_IN_MS: u64 = 1_000;

pub(super) fn draining_notice() -> ServerFrame {
    ServerFrame::Notice { code: NoticeCode::Draining, text: None, reconnect_in_ms: Some(RECONNECT_IN_MS) }
}

impl Connection {
    /// Handles a frame of a framed connection; `line` is its source.
    pub(super) fn on_frame(&mut self, frame: Result<ClientFrame, Rejection>, line: &UserText, trace: Traceparent) {
        if self.attached.is_none() {
            return self.before_welcome(frame, ClientFrame::hint(line.expose()));
        }
        match frame {
            Ok(ClientFrame::Hello(_)) => self.error(ErrorCode::BadFrame, None),
            Ok(ClientFrame::Message { id, text }) => self.submit(id, text, trace),
            Ok(ClientFrame::Stop { id }) => self.stop(id),
            Ok(ClientFrame::Request(request)) => self.request(request, trace),
            Ok(ClientFrame::Ping { id }) => self.outbox.push(ServerFrame::Pong { id }),
            Ok(ClientFrame::Bye) => self.closing = Some(CloseReason::Bye),
            Err(Rejection { code, id, .. }) => {
                // Help for its readable part may have been shown before the session was opened.
                self.save_help();
                self.error(code, id);
            }
        }
    }

    /// Handles a frame without a session: `hello` opens one and `about` is answered; every other client frame, well
    /// formed or not, gets `hello_required`.
    fn before_welcome(&mut self, frame: Result<ClientFrame, Rejection>, meant: Option<FrameHint>) {
        match frame {
            Ok(ClientFrame::Hello(hello)) => self.hello(hello),
            Ok(ClientFrame::Request(Request { id, method, .. })) if method == "about" => {
                self.service_response(&method, &id).into_iter().for_each(|response| self.outbox.push(response));
            }
            Ok(frame) => self.error(ErrorCode::HelloRequired, frame.id().cloned()),
            Err(Rejection { id, .. }) if meant == Some(FrameHint::Other) => self.error(ErrorCode::HelloRequired, id),
            Err(Rejection { code, id, .. }) => self.error(code, id),
        }
    }

    /// Handles a client frame of a plain connection: `hello` makes it framed for good unless a message was sent before;
    /// every other frame is rejected.
    pub(super) fn on_frame_in_plain(&mut self, line: &UserText, is_hello: bool) {
        let frame = ClientFrame::parse(line.expose());
        let has_sent_message = matches!(&self.face, FaceState::Plain(plain) if plain.has_sent_message);
        if is_hello && !has_sent_message {
            self.face = FaceState::Frames;
            // Drops the greeting's session, which is empty.
            self.attached = None;
            return self.before_welcome(frame, Some(FrameHint::Hello));
        }
        if let Ok(ClientFrame::Request(Request { id, method, .. })) = &frame
            && method == "about"
            && let Some(response) = self.service_response(method, id)
        {
            return response.encode_line(&mut self.out);
        }
        let id = frame.map_or_else(|rejection| rejection.id, |frame| frame.id().cloned());
        let code = if is_hello { ErrorCode::BadFrame } else { ErrorCode::HelloRequired };
        let error = ErrorFrame::new(code, self.language()).with_id(id).with_trace(self.peer.trace.trace_id);
        ServerFrame::Error(error).encode_line(&mut self.out);
    }

    fn hello(&mut self, hello: Hello) {
        if let Some(locale) = hello.locale {
            self.language = locale.language();
        }
        if hello.v != VERSION {
            self.error(ErrorCode::VersionUnsupported, None);
            self.closing = Some(CloseReason::VersionUnsupported);
            return;
        }
        let Hello { resume, since, locale, country, time_zone, .. } = hello;
        let country = country.and_then(known_country);
        let language = locale.map(Locale::language);
        self.pre_session_watch.get_or_insert_default().learn(country, time_zone.as_ref(), language);
        let sessions = Arc::clone(&self.context.sessions);
        match resume.map(|token| token.expose().parse::<ResumeToken>()) {
            None => self.spawn_then(async move {
                let opened = sessions.create(locale, country).await.map(Some);
                move |connection: &mut Self| connection.on_opened(opened, false, since, time_zone)
            }),
            Some(Err(_)) => self.error(ErrorCode::BadResume, None),
            Some(Ok(token)) => self.spawn_then(async move {
                let opened = sessions.resume(token, locale, country).await;
                move |connection: &mut Self| connection.on_opened(opened, true, since, time_zone)
            }),
        }
    }

    fn on_opened(
        &mut self,
        opened: Result<Option<Opened>, SessionError>,
        resumed: bool,
        since: Option<u64>,
        time_zone: Option<UserText>,
    ) {
        match opened {
            Ok(Some(opened)) => {
                time_zone.iter().for_each(|zone| opened.session.note_time_zone(zone));
                self.welcome(opened, resumed, since);
            }
            Ok(None) => self.error(ErrorCode::BadResume, None),
            Err(error) => {
                tracing::error!(trace_id = %self.peer.trace.trace_id, %error, "failed to open session");
                let error = error.rejection().frame(self.language());
                self.outbox.push(ServerFrame::Error(error.with_trace(self.peer.trace.trace_id)));
            }
        }
    }

    fn welcome(&mut self, opened: Opened, resumed: bool, since: Option<u64>) {
        let (session, token, swept) = (Arc::clone(&opened.session), opened.token.expose(), opened.swept);
        let Some(seq) = self.attach(opened, resumed) else {
            // Erased by another connection in the meantime.
            return self.error(ErrorCode::BadResume, None);
        };
        // Replays the newest entries after `since`; none without it.
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
        // Bypasses the outbox, whose frames from now on must follow the replay.
        ServerFrame::Welcome(Box::new(welcome)).encode_line(&mut self.out);
        self.write_ai_notice();
        self.transfer_watch();
        self.replay = (after < seq).then_some(Replay { after, last: seq });
    }

    fn limits(&self) -> Limits {
        let rate = self.context.sessions.turns().budget.rate();
        Limits {
            max_line_bytes: MAX_LINE_BYTES,
            max_text_chars: MAX_TEXT_CHARS,
            rate: Rate { messages: rate.events, window_ms: u64::try_from(rate.window.as_millis()).unwrap_or(u64::MAX) },
        }
    }

    /// Submits a message to the session; the next line waits until it is accepted or refused.
    pub(super) fn submit(&mut self, id: MessageId, text: UserText, trace: Traceparent) {
        // A message read before its session was opened, or during another one, is not assessed in this session yet.
        self.assess(&id, &text);
        self.note_use();
        let Some(Attached { session, id: connection, .. }) = &self.attached else { return };
        let (session, connection) = (Arc::clone(session), *connection);
        let risk = session.risk();
        let message = Message { id, text, trace, address: self.peer.address, risk };
        self.spawn_then(async move {
            session.submit(connection, message).await;
            |_: &mut Self| {}
        });
    }

    fn stop(&mut self, id: MessageId) {
        let Some(Attached { session, .. }) = &self.attached else { return };
        let session = Arc::clone(session);
        self.spawn_then(async move {
            let found = session.stop(&id).await;
            move |connection: &mut Self| {
                if !found {
                    connection.error(ErrorCode::NotFound, Some(id));
                }
            }
        });
    }

    /// Runs a request in a task of its own and responds from a second one, so that it delays no message and, below
    /// [`MAX_REQUESTS`](super::MAX_REQUESTS), no other request. The deadline ends the wait for a running request,
    /// never the request itself: an `erase` completes.
    fn request(&mut self, request: Request, trace: Traceparent) {
        if let Some(response) = self.service_response(&request.method, &request.id) {
            return self.outbox.push(response);
        }
        let Some(Attached { session, id: from, .. }) = &self.attached else { return };
        let (session, from, outbox) = (Arc::clone(session), *from, Arc::clone(&self.outbox));
        let permits = Arc::clone(&self.request_permits);
        let (context, address) = (Arc::clone(&self.context), ClientSubnet::of(self.peer.address));
        let (id, erases) = (request.id.clone(), request.method == "erase");
        let deadline = Instant::now() + request.timeout;
        if erases {
            session.await_erasure(from);
        }
        outbox.expect_response();
        // Held by both tasks: a short timeout must not let a client run more requests at once.
        let place = Outbox::occupy(&outbox);
        let work = self.context.tasks.spawn({
            let (session, place) = (Arc::clone(&session), Arc::clone(&place));
            async move {
                let permits_held =
                    async { (permits.acquire().await.ok(), context.request_limiter.acquire(address).await) };
                // A request that has not begun by its deadline must not begin later: the client took it for failed.
                let result = match timeout_at(deadline, permits_held).await {
                    Ok(_permit) => session.request(request).await,
                    Err(_) => Err(RequestError::TooLate),
                };
                drop(place);
                result
            }
        });
        let answer = async move {
            let end = timeout_at(deadline, work).await;
            let erased = if erases { session.end_erasure(from) } else { None };
            let language = session.language();
            outbox.respond(match response(end, erased) {
                Ok(result) => ServerFrame::Response { id, result },
                Err(refusal) => {
                    ServerFrame::Error(refusal.frame(language).with_id(Some(id)).with_trace(trace.trace_id))
                }
            });
            drop(place);
            erased.map(|_| language)
        };
        if erases {
            // The next line waits: it must not find the erased session.
            self.spawn_then(async move {
                let erased = answer.await;
                move |connection: &mut Self| {
                    if let Some(language) = erased {
                        connection.attached = None;
                        connection.language = language;
                    }
                }
            });
        } else {
            self.context.tasks.spawn(answer);
        }
    }
}

/// Result of a request's task: done, panicked (`JoinError`), or past its deadline (`Elapsed`).
type RequestOutcome = Result<Result<Result<ResponseResult, RequestError>, JoinError>, Elapsed>;

/// Maps the end of a request to its response. `erased`: it was an `erase`, and the session with so many entries is
/// gone, by this request or by an earlier one whose deadline had passed.
fn response(end: RequestOutcome, erased: Option<u64>) -> Result<ResponseResult, MessageRejection> {
    let refused = |code| Err(MessageRejection::permanent(code));
    match (end, erased) {
        (Ok(Ok(Ok(result))), _) => Ok(result),
        (Ok(Ok(Err(error @ (RequestError::UnknownMethod | RequestError::BadParams)))), _) => Err(error.rejection()),
        (_, Some(erased)) => Ok(ResponseResult::Erased { erased }),
        (Ok(Ok(Err(error))), None) => Err(error.rejection()),
        (Ok(Err(_)), None) => refused(ErrorCode::Internal),
        (Err(_), None) => refused(ErrorCode::Timeout),
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
