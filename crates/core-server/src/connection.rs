//! Client connections, one task each: reading, writing, timeouts. Converts bytes to frames and back.
//!
//! All output passes through the connection's [`Outbox`] or its write buffer; the loop below is the only code that
//! writes to the socket. Slow work (the store, the model) runs in tasks of its own, so that the loop waits for its
//! socket only.

mod frames;
mod input;
mod line_reader;
mod notices;
mod plain;
mod plain_lines;
mod read_ahead;
mod read_throttle;
mod replay;
mod texts;
mod timers;

use std::future::ready;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use protocol::proxy_header::CLOSING_LINE_MARK;
use protocol::server_frame::{About, ErrorFrame};
use protocol::trace::Traceparent;
use protocol::{CloseReason, ErrorCode, Face, Inbound, Language, LineCodec, MessageId, ResumeToken, ServerFrame};
use session::{ConnectionId, PreSessionWatch};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use limits::RequestLimiter;

pub use frames::too_many_connections;
pub use timers::Timeouts;

use crate::sessions::{LiveSession, Opened, Outbox, Sessions};
use line_reader::LineReader;
use plain::PlainState;
use read_ahead::ReadAhead;
use read_throttle::ReadThrottle;
use replay::Replay;

/// Bytes buffered for one write. Further frames wait in the outbox, where deltas are joined.
const WRITE_BYTES: usize = 16 * 1_024;
/// Requests of one connection in flight, queued ones included; beyond it the next line waits.
const MAX_REQUESTS: usize = 8;
/// Requests of one connection that run at once; the others queue. The database serves reads first come, first
/// served: a client with many requests must not make the answers of other clients wait for all of them.
const MAX_RUNNING_REQUESTS: usize = 2;
/// Timeout of the close handshake. In a drain, also the time for which an idle connection is still read: a message
/// that calls for help may be on its way.
const LINGER: Duration = Duration::from_secs(1);

/// State shared by all connections.
#[derive(Debug)]
pub struct Context {
    pub sessions: Arc<Sessions>,
    pub timeouts: Timeouts,
    /// Runs work that may outlive its connection; a drain waits for it.
    pub tasks: TaskTracker,
    /// Cancelled when the server begins to drain.
    pub draining: CancellationToken,
    /// Limits concurrent requests by client subnet.
    pub request_limiter: RequestLimiter,
    /// Facts about the service: the result of the request `about`.
    pub about: About,
}

/// Client at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The person's address: of the PROXY header, else of the socket.
    pub address: IpAddr,
    /// The connection's trace.
    pub trace: Traceparent,
    /// Face announced by a gateway, whose lines are tagged then.
    pub face: Option<Face>,
    /// Understands the closing line.
    pub closing_line: bool,
    /// Trusted peer without a PROXY header so far: one that comes first still counts, once.
    pub accepts_late_header: bool,
    /// Base of the greeting delay.
    pub connected_at: Instant,
}

/// Connection that is not served yet: a new socket, or one that restarts at a late PROXY header.
#[derive(Debug)]
pub struct PendingConnection<S> {
    pub stream: S,
    /// Bytes read from the stream and not consumed.
    pub first: BytesMut,
    /// Empty for a new socket.
    pub partial: PartialSession,
}

/// State created before a late PROXY header arrived; carried into the restart.
#[derive(Debug, Default)]
pub struct PartialSession {
    attached: Option<Attached>,
    outbox: Arc<Outbox>,
    out: BytesMut,
}

/// Result of serving a client.
#[derive(Debug)]
pub enum Outcome<S> {
    /// The connection ended.
    Closed(CloseReason),
    /// A late PROXY header named another client as the peer: the connection must be served again, for that client.
    PeerReidentified(Box<PendingConnection<S>>),
}

/// Callback with the result of a task, run on the connection's own task.
type Completion = Box<dyn FnOnce(&mut Connection) + Send>;

/// State of a client's connection, without its socket.
pub struct Connection {
    context: Arc<Context>,
    peer: Peer,
    face: FaceState,
    attached: Option<Attached>,
    /// Language without a session: that of the last `hello`, or of the erased session.
    language: Language,
    outbox: Arc<Outbox>,
    /// Limits running requests to [`MAX_RUNNING_REQUESTS`]; first come, first served.
    request_permits: Arc<Semaphore>,
    /// Write buffer.
    out: BytesMut,
    /// Time of the last progress of `out`; `None` while it is empty. Base of the write timeout.
    stalled_since: Option<Instant>,
    /// Replay in progress: its entries go out before any frame of the outbox except help.
    replay: Option<Replay>,
    /// Task that the next line waits for, so that lines take effect in their order.
    task: Option<JoinHandle<Completion>>,
    /// Time of the last line. Base of the idle and handshake timeouts.
    last_read_at: Instant,
    read_throttle: ReadThrottle,
    ahead: ReadAhead,
    /// Assesses messages while no session is open, so that help never waits for the store.
    pre_session_watch: Option<Box<PreSessionWatch>>,
    /// Due time of the reminder that answers come from no person.
    reminder_at: Option<Instant>,
    /// No byte was received yet.
    silent: bool,
    /// No session could be opened for the greeting; the next line tries again.
    has_failed_to_greet: bool,
    /// The end of the stream was read; earlier lines may still wait in `ahead`.
    has_read_eof: bool,
    /// The end of the stream was handled, and so was every line before it.
    has_handled_eof: bool,
    /// Start of the drain, as seen by this connection.
    draining_since: Option<Instant>,
    /// In a drain: everything that had arrived by its start was read.
    backlog_read: bool,
    /// Ends the connection, once everything is written.
    closing: Option<CloseReason>,
}

#[derive(Debug)]
enum FaceState {
    /// No line and no announcement yet; becomes plain after the greeting delay.
    Undecided,
    Plain(PlainState),
    Frames,
}

/// Membership in a session; dropping it detaches the connection.
#[derive(Debug)]
struct Attached {
    session: Arc<LiveSession>,
    id: ConnectionId,
    token: ResumeToken,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).field("face", &self.face).finish_non_exhaustive()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.session.detach(self.id);
    }
}

impl Connection {
    pub fn new(peer: Peer, context: Arc<Context>) -> Self {
        let face = match peer.face {
            None | Some(Face::Plain) => FaceState::Undecided,
            Some(Face::Frames) => FaceState::Frames,
        };
        let last_read_at = peer.connected_at;
        Self {
            context,
            peer,
            face,
            attached: None,
            language: Language::default(),
            outbox: Arc::default(),
            request_permits: Arc::new(Semaphore::new(MAX_RUNNING_REQUESTS)),
            out: BytesMut::new(),
            stalled_since: None,
            replay: None,
            task: None,
            last_read_at,
            read_throttle: ReadThrottle::new(last_read_at),
            ahead: ReadAhead::default(),
            pre_session_watch: None,
            reminder_at: None,
            silent: true,
            has_failed_to_greet: false,
            has_read_eof: false,
            has_handled_eof: false,
            draining_since: None,
            backlog_read: false,
            closing: None,
        }
    }

    /// Takes over the session and output from before a late PROXY header: a person who was greeted is not greeted
    /// again. A program ignores output before its `welcome`.
    #[must_use]
    pub fn with_partial_session(mut self, partial: PartialSession) -> Self {
        self.out = partial.out;
        if partial.attached.is_some() && !matches!(self.face, FaceState::Frames) {
            self.face = FaceState::Plain(PlainState::default());
            (self.attached, self.outbox) = (partial.attached, partial.outbox);
        }
        self
    }

    /// Serves the client on `stream`, of which `first` was read already, until the client leaves, breaks a rule or the
    /// server drains; then sends the close reason. Returns early, with the stream, at a late PROXY header.
    pub async fn run<S>(mut self, stream: S, first: BytesMut) -> Outcome<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (source, mut sink) = tokio::io::split(stream);
        let mut codec = LineCodec::default();
        if self.peer.face.is_some() {
            codec.expect_tags();
        }
        // Only without a gateway can HTTP or TLS arrive here by mistake: a gateway, which announces the face, has
        // ended both.
        let mut reader = LineReader::new(source, first, codec, self.peer.face.is_none());
        if self.peer.face == Some(Face::Plain) && matches!(self.face, FaceState::Undecided) {
            self.greet();
        }
        let outbox = Arc::clone(&self.outbox);
        let draining = self.context.draining.clone();
        let mut drained = pin!(draining.cancelled());
        let mut timer = pin!(sleep_until(self.next_deadline()));
        let reason = loop {
            self.handle_ready();
            self.fill();
            if let Some(reason) = self.close_reason_if_done() {
                if reason == CloseReason::Draining && !self.ahead.is_empty() {
                    self.refuse_unhandled();
                    continue;
                }
                break reason;
            }
            self.silent = !reader.has_received();
            let deadline = self.next_deadline();
            if timer.is_elapsed() || deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            tokio::select! {
                // In this order: output before input, and the last arms only when no input is ready.
                biased;
                () = &mut drained, if self.draining_since.is_none() => self.drain(),
                written = sink.write_buf(&mut self.out), if !self.out.is_empty() => self.on_written(&written),
                done = join(&mut self.task), if self.task.is_some() => self.on_completion(done),
                () = outbox.changed() => {}
                line = reader.next(), if self.wants_line() => self.on_line(line),
                // Reached when nothing is left to read: a line that arrived before the drain must get its assessment
                // and its error.
                () = ready(()), if self.draining_since.is_some() && !self.backlog_read => self.backlog_read = true,
                () = &mut timer => self.fire_timers(),
            }
        };
        if reader.is_at_proxy_header() && self.peer.accepts_late_header {
            let (source, first) = reader.into_parts();
            let stream = source.unsplit(sink);
            let partial = PartialSession { attached: self.attached, outbox: self.outbox, out: self.out };
            return Outcome::PeerReidentified(Box::new(PendingConnection { stream, first, partial }));
        }
        let rest = std::mem::take(&mut self.out);
        let last = self.peer.closing_line.then_some(reason);
        if outbox.close_reason() == Some(CloseReason::SlowConsumer) {
            self.context.sessions.turns().metrics.slow_consumer_disconnects.inc();
        }
        drop(self);
        if reason != CloseReason::SlowConsumer {
            // Best effort: after the timeout the last bytes are dropped with the socket.
            // Boxed: keeps the handshake's state out of this long-lived future.
            let _ = timeout(LINGER, Box::pin(close_handshake(sink, reader.into_parts().0, rest, last))).await;
        }
        Outcome::Closed(reason)
    }

    /// Joins a session in place of the current one. Returns its highest `seq`, or `None` if it was erased.
    fn attach(&mut self, Opened { session, token, .. }: Opened, resumed: bool) -> Option<u64> {
        let (id, seq) = session.attach(Arc::clone(&self.outbox))?;
        tracing::info!(
            trace_id = %self.peer.trace.trace_id, user = %session.user(), session.resumed = resumed, "session opened"
        );
        self.attached = Some(Attached { session, id, token });
        Some(seq)
    }

    /// Moves frames from the outbox to the write buffer.
    fn fill(&mut self) {
        while self.out.len() < WRITE_BYTES {
            if let Some(replay) = self.replay {
                // Help overtakes the replay, which waits for the store.
                match self.outbox.take_help() {
                    Some(help) => self.render(help),
                    None => return self.continue_replay(replay),
                }
                continue;
            }
            let Some(frame) = self.outbox.take() else {
                self.write_erased_error();
                break;
            };
            self.render(frame);
        }
        if self.out.is_empty() {
            self.stalled_since = None;
            self.out = BytesMut::new();
        } else {
            self.stalled_since.get_or_insert_with(Instant::now);
        }
    }

    fn render(&mut self, frame: ServerFrame) {
        let language = self.language();
        match (&mut self.face, frame) {
            (FaceState::Frames | FaceState::Undecided, frame) => frame.encode_line(&mut self.out),
            (FaceState::Plain(_), ServerFrame::Support(support)) => {
                let line = self.attached.as_ref().map(|attached| attached.session.help_line(&support.help));
                line.iter().for_each(|line| self.write_line(line));
            }
            (FaceState::Plain(plain), frame) => {
                if let Some(line) = plain.render(frame, language) {
                    self.write_line(&line);
                }
            }
        }
    }

    /// Appends a line of the plain face to the write buffer.
    fn write_line(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\n");
    }

    /// Returns the close reason once nothing is left to write; a slow consumer or a lost client ends at once.
    fn close_reason_if_done(&self) -> Option<CloseReason> {
        let outbox_reason = self.outbox.close_reason();
        if outbox_reason == Some(CloseReason::SlowConsumer) || self.closing == Some(CloseReason::SlowConsumer) {
            return Some(CloseReason::SlowConsumer);
        }
        if !self.out.is_empty() || self.task.is_some() || self.replay.is_some() || !self.outbox.is_empty() {
            return (self.closing == Some(CloseReason::ClientGone)).then_some(CloseReason::ClientGone);
        }
        let quiet = !self.is_awaiting() && self.outbox.requests() == 0;
        let left = (self.has_handled_eof && quiet).then_some(CloseReason::ClientGone);
        let drained = (self.is_drained() && quiet).then_some(CloseReason::Draining);
        self.closing.or(outbox_reason).or(left).or(drained)
    }

    /// Returns true in a drain when no more input is expected, or when input waits that must be refused.
    fn is_drained(&self) -> bool {
        let is_silent = || self.lingers_until().is_some_and(|until| until <= Instant::now());
        self.backlog_read && (self.has_read_eof || !self.ahead.is_empty() || is_silent())
    }

    /// Returns true while an answer is in progress that this connection should still get.
    fn is_awaiting(&self) -> bool {
        self.owes_answer_line() || self.attached.as_ref().is_some_and(|attached| attached.session.is_busy())
    }

    /// Returns true while a plain message lacks its one line of answer.
    fn owes_answer_line(&self) -> bool {
        matches!(&self.face, FaceState::Plain(plain) if plain.awaiting.is_some())
    }

    fn on_line(&mut self, line: io::Result<Option<Inbound>>) {
        self.last_read_at = Instant::now();
        self.read_throttle.record_line(self.last_read_at);
        match line {
            Ok(inbound) => self.on_inbound(inbound),
            Err(error) => self.on_read_error(&error),
        }
    }

    fn on_written(&mut self, written: &io::Result<usize>) {
        match written {
            Ok(_) => self.stalled_since = Some(Instant::now()),
            Err(_) => self.closing = Some(CloseReason::ClientGone),
        }
    }

    fn drain(&mut self) {
        self.draining_since = Some(Instant::now());
        if matches!(self.face, FaceState::Frames) && self.attached.is_some() {
            self.outbox.push(frames::draining_notice());
        }
    }

    /// Spawns `work` and runs the callback that it returns on this connection; the next line waits for that. If the
    /// connection ends first, `work` still completes, without its callback.
    fn spawn_then<C>(&mut self, work: impl Future<Output = C> + Send + 'static)
    where
        C: FnOnce(&mut Self) + Send + 'static,
    {
        let task = self.context.tasks.spawn(async move { Box::new(work.await) as Completion });
        self.task = Some(task);
    }

    fn on_completion(&mut self, done: Option<Completion>) {
        self.task = None;
        match done {
            Some(then) => then(self),
            None => self.closing = Some(CloseReason::Internal),
        }
    }

    /// Sends an error frame.
    fn error(&self, code: ErrorCode, id: Option<MessageId>) {
        let error = ErrorFrame::new(code, self.language()).with_id(id).with_trace(self.peer.trace.trace_id);
        self.outbox.push(ServerFrame::Error(error));
    }

    fn language(&self) -> Language {
        self.attached.as_ref().map_or(self.language, |attached| attached.session.language())
    }
}

/// Waits for the task. Returns `None` if it panicked.
async fn join(task: &mut Option<JoinHandle<Completion>>) -> Option<Completion> {
    match task {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}

/// Writes the rest of the output and the closing line, half-closes, and reads until the peer closes: a socket closed
/// with unread bytes is reset, and the reset discards output in transit.
async fn close_handshake(
    mut sink: impl AsyncWrite + Unpin,
    mut source: impl AsyncRead + Unpin,
    mut rest: BytesMut,
    last: Option<CloseReason>,
) -> io::Result<()> {
    if let Some(reason) = last {
        push_closing_line(&mut rest, reason);
    }
    sink.write_all(&rest).await?;
    sink.shutdown().await?;
    let mut unread = [0; 1_024];
    while 0 < source.read(&mut unread).await? {}
    Ok(())
}

fn push_closing_line(out: &mut BytesMut, reason: CloseReason) {
    out.extend_from_slice(&[CLOSING_LINE_MARK]);
    out.extend_from_slice(reason.name().as_bytes());
    out.extend_from_slice(b"\n");
}
