//! One task per client: reading, writing, time limits. Turns bytes into frames and back.
//!
//! Everything that is to be told goes through the connection's [`Outbox`]; the loop below is
//! the only code that writes to the socket. Whatever takes time runs as a task of its own, so
//! that the loop never waits for anything but its socket.

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
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use frames::too_many_connections;
pub use timers::Timeouts;

use crate::limits::RequestLimiter;
use crate::session::{ConnectionId, LoneWatch, Opened, Outbox, Session, Sessions};
use line_reader::LineReader;
use plain::PlainState;
use read_ahead::ReadAhead;
use read_throttle::ReadThrottle;
use replay::Replay;

/// Bytes gathered for one write; frames beyond it wait in the outbox, where deltas join.
const WRITE_BYTES: usize = 16 * 1_024;
/// Requests one connection may have under way; the next line waits for one of them.
const MAX_REQUESTS: usize = 8;
/// Requests of one connection that run at once; the others wait their turn. Reads of the database are
/// first come, first served: a client with many must not make the others' answers wait for all of them.
const MAX_RUNNING_REQUESTS: usize = 2;
/// How long we wait for a peer to take its last bytes and close, and before that, while the server drains, for a
/// message that calls for help.
const LINGER: Duration = Duration::from_secs(1);

/// What all connections share.
#[derive(Debug)]
pub struct Context {
    /// The conversations.
    pub sessions: Arc<Sessions>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Where work that may outlive a connection runs.
    pub tasks: TaskTracker,
    /// Cancelled when the server is going away.
    pub draining: CancellationToken,
    /// Turns of requests, by address.
    pub request_limiter: RequestLimiter,
    /// What the service tells of itself.
    pub about: About,
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The person's address.
    pub address: IpAddr,
    /// The connection's trace.
    pub trace: Traceparent,
    /// The face a gateway announced; then its lines are tagged.
    pub face: Option<Face>,
    /// Whether it understands the closing line.
    pub closing_line: bool,
    /// Whether it may still say who it speaks for: a PROXY header would be believed, and there was none.
    pub accepts_late_header: bool,
    /// When it connected.
    pub connected_at: Instant,
}

/// A connection that is to be served, from its first byte or from a PROXY header that came late.
#[derive(Debug)]
pub struct PendingConnection<S> {
    /// Its socket.
    pub stream: S,
    /// What was read of it.
    pub first: BytesMut,
    /// What was begun with it.
    pub partial: PartialSession,
}

/// What a peer got before it said who it speaks for.
#[derive(Debug, Default)]
pub struct PartialSession {
    attached: Option<Attached>,
    outbox: Arc<Outbox>,
    out: BytesMut,
}

/// How serving a client ended.
#[derive(Debug)]
pub enum Outcome<S> {
    /// It is over.
    Closed(CloseReason),
    /// The first that came is a PROXY header: the connection is another one's, and begins anew.
    PeerReidentified(Box<PendingConnection<S>>),
}

/// What is done with the connection when a task of its has ended.
type Completion = Box<dyn FnOnce(&mut Connection) + Send>;

/// A client's connection without its socket.
pub struct Connection {
    context: Arc<Context>,
    peer: Peer,
    face: FaceState,
    attached: Option<Attached>,
    /// Spoken while no session says otherwise: that of the last `hello`, or of the session before.
    language: Language,
    outbox: Arc<Outbox>,
    /// Turns of requests, in the order they came.
    request_permits: Arc<Semaphore>,
    /// Bytes being written.
    out: BytesMut,
    /// Since when no byte of `out` was taken.
    stalled_since: Option<Instant>,
    /// Stored entries to be written before anything in the outbox.
    replay: Option<Replay>,
    /// Work the next line waits for.
    task: Option<JoinHandle<Completion>>,
    /// The last line, for the idle limit.
    last_read_at: Instant,
    read_throttle: ReadThrottle,
    /// What was read and is not handled yet.
    ahead: ReadAhead,
    /// Assesses while no session is open.
    lone_watch: Option<Box<LoneWatch>>,
    /// When the person is to be reminded that they talk with no person.
    reminder_at: Option<Instant>,
    /// Not a byte has come yet.
    silent: bool,
    /// The end of the stream was read.
    has_read_eof: bool,
    /// The client will send no more, and all it sent was handled.
    has_handled_eof: bool,
    /// Since when the server is going away.
    draining_since: Option<Instant>,
    /// Since the server is going away, everything was read that had come by then.
    has_read_backlog: bool,
    /// Set when the connection is to end once everything is written.
    closing: Option<CloseReason>,
}

#[derive(Debug)]
enum FaceState {
    /// No byte yet, no announcement: plain after the greeting delay.
    Undecided,
    Plain(PlainState),
    Frames,
}

/// The session this connection belongs to.
#[derive(Debug)]
struct Attached {
    session: Arc<Session>,
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
    /// A connection of `peer` on which nothing happened yet.
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
            lone_watch: None,
            reminder_at: None,
            silent: true,
            has_read_eof: false,
            has_handled_eof: false,
            draining_since: None,
            has_read_backlog: false,
            closing: None,
        }
    }

    /// Goes on with what was begun before the peer said who it speaks for: a person who was greeted
    /// is not greeted again. A program ignores what came before its `welcome`.
    #[must_use]
    pub fn with_partial_session(mut self, partial: PartialSession) -> Self {
        self.out = partial.out;
        if partial.attached.is_some() && !matches!(self.face, FaceState::Frames) {
            self.face = FaceState::Plain(PlainState::default());
            (self.attached, self.outbox) = (partial.attached, partial.outbox);
        }
        self
    }

    /// Serves the client on `stream`, of which `first` was read already, until it leaves,
    /// breaks a rule or the server drains, and tells the peer why. Unless it turns out that it
    /// speaks for somebody else.
    pub async fn run<S>(mut self, stream: S, first: BytesMut) -> Outcome<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (source, mut sink) = tokio::io::split(stream);
        let mut codec = LineCodec::default();
        if self.peer.face.is_some() {
            codec.expect_tags();
        }
        // A gateway, which announces the face, has spoken HTTP and TLS already.
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
                biased;
                () = &mut drained, if self.draining_since.is_none() => self.drain(),
                written = sink.write_buf(&mut self.out), if !self.out.is_empty() => self.on_written(&written),
                done = join(&mut self.task), if self.task.is_some() => self.on_completion(done),
                () = outbox.changed() => {}
                line = reader.next(), if self.wants_line() => self.on_line(line),
                // Nothing was left to be read.
                () = ready(()), if self.draining_since.is_some() && !self.has_read_backlog => self.has_read_backlog = true,
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
            self.context.sessions.engine().metrics.slow_consumer_disconnects.inc();
        }
        drop(self);
        if reason != CloseReason::SlowConsumer {
            // A peer that does not take its last bytes in time does without them.
            // Boxed: a connection does not carry the room for its end through its life.
            let _ = timeout(LINGER, Box::pin(close_handshake(sink, reader.into_parts().0, rest, last))).await;
        }
        Outcome::Closed(reason)
    }

    /// Joins a session, in place of the one before. Returns its highest `seq`; `None` if it is gone.
    fn attach(&mut self, Opened { session, token, .. }: Opened, resumed: bool) -> Option<u64> {
        let (id, seq) = session.attach(Arc::clone(&self.outbox))?;
        tracing::info!(
            trace_id = %self.peer.trace.trace_id, user = %session.user(), session.resumed = resumed, "session opened"
        );
        self.attached = Some(Attached { session, id, token });
        Some(seq)
    }

    /// Moves frames from the outbox to the bytes being written.
    fn fill(&mut self) {
        while self.out.len() < WRITE_BYTES {
            if let Some(replay) = self.replay {
                // Help does not wait for it: the store may be slow.
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

    /// Writes a line of the plain face.
    fn write_line(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\n");
    }

    /// Why the connection is over, once there is nothing left to write.
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

    /// Tells whether the server is going away and nothing more is awaited from the client, or what came is to be refused.
    fn is_drained(&self) -> bool {
        let is_silent = || self.lingers_until().is_some_and(|until| until <= Instant::now());
        self.has_read_backlog && (self.has_read_eof || !self.ahead.is_empty() || is_silent())
    }

    /// Whether an answer is on its way that this connection should still get.
    fn is_awaiting(&self) -> bool {
        self.owes_answer_line() || self.attached.as_ref().is_some_and(|attached| attached.session.is_busy())
    }

    /// Whether a plain message has not got its one line yet.
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

    /// Runs `work` as a task of its own; the next line waits until what it returns has been
    /// done with this connection. If the connection ends first, `work` still goes on.
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

    /// Tells a program what went wrong.
    fn error(&self, code: ErrorCode, id: Option<MessageId>) {
        let error = ErrorFrame::new(code, self.language()).with_id(id).with_trace(self.peer.trace.trace_id);
        self.outbox.push(ServerFrame::Error(error));
    }

    fn language(&self) -> Language {
        self.attached.as_ref().map_or(self.language, |attached| attached.session.language())
    }
}

/// Waits for the task; `None` if it panicked.
async fn join(task: &mut Option<JoinHandle<Completion>>) -> Option<Completion> {
    match task {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}

/// Writes what is left and the closing line, then closes so that the peer gets all of it: a
/// socket closed with unread bytes would be reset, and what is on its way lost.
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
