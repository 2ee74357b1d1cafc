//! Client connections, one task each: reading, writing, timeouts. Converts bytes to frames and back.
//!
//! All output passes through the connection's [`Outbox`](crate::sessions::Outbox) or its write buffer; the loop below
//! is the only code that writes to the socket. Slow work (the store, the model) runs in tasks of its own, so that the
//! loop waits for its socket only.

mod attached;
mod completion;
mod frames;
mod input;
mod input_queue;
mod line_reader;
mod link;
mod mode;
mod notices;
mod plain;
mod read_ahead;
mod read_throttle;
mod texts;
mod timers;
mod writer;

use std::future::ready;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use limits::RequestLimiter;
use protocol::proxy_header::CLOSING_LINE_MARK;
use protocol::server_frame::About;
use protocol::trace::{TraceId, Traceparent};
use protocol::{CloseReason, Face, Inbound};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Span;

pub use frames::too_many_connections;

use self::completion::Completion;
use self::frames::Frames;
use self::input::InputHandler;
use self::input_queue::InputQueue;
use self::line_reader::{LineReader, ReadError};
use self::link::{Link, Work};
use self::mode::{Mode, PreSession, Undecided, greet};
use self::timers::{Awaited, Expiry, Moments, Timers};
use crate::config::Timeouts;
use crate::sessions::Sessions;

/// Requests of one connection in flight, queued ones included; beyond it the next line waits.
const MAX_REQUESTS: usize = 8;
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
    /// Close reason for a PROXY header behind the preamble.
    pub late_header: CloseReason,
    /// Base of the greeting delay.
    pub connected_at: Instant,
}

/// Creates the span of a connection, which carries its ids to the log lines in it. Made for each line: an open span would
/// cost every idle connection half a kilobyte. At the highest level, so that no filter of lines takes the ids from one.
pub fn span(trace: TraceId) -> Span {
    tracing::error_span!("connection", trace_id = %trace)
}

/// State of a client's connection, without its socket.
#[derive(Debug)]
pub struct Connection {
    mode: Mode,
    link: Link,
    input: InputQueue,
    timers: Timers,
    /// In a drain: everything that had arrived by its start was read.
    backlog_read: bool,
}

impl Connection {
    pub fn new(peer: Peer, context: Arc<Context>) -> Self {
        let mode = match peer.face {
            None | Some(Face::Plain) => Mode::Undecided(Undecided::default()),
            Some(Face::Frames) => Mode::Frames(Frames::new(PreSession::default())),
        };
        Self {
            mode,
            input: InputQueue::new(peer.connected_at),
            timers: Timers::new(peer.connected_at),
            link: Link::new(peer, context),
            backlog_read: false,
        }
    }

    /// Serves the client on `stream`, of which `first` was read already, until the client leaves, breaks a rule or the
    /// server drains; then sends the close reason and returns it.
    pub async fn run<S>(mut self, stream: S, first: BytesMut) -> CloseReason
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (source, mut sink) = tokio::io::split(stream);
        let mut reader = LineReader::new(source, first, self.link.peer.face);
        if self.link.peer.face == Some(Face::Plain) {
            greet(&mut self.link);
        }
        let outbox = Arc::clone(self.link.writer.outbox());
        let draining = self.link.context.draining.clone();
        let mut drained = pin!(draining.cancelled());
        let mut timer = pin!(sleep_until(self.next_deadline()));
        let reason = loop {
            self.handler().handle_ready();
            self.fill();
            if let Some(reason) = self.close_reason_if_done() {
                if reason == CloseReason::Draining && !self.input.is_empty() {
                    self.handler().refuse_unhandled();
                    continue;
                }
                break reason;
            }
            self.input.has_received = reader.has_received();
            let deadline = self.next_deadline();
            if timer.is_elapsed() || deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            tokio::select! {
                // In this order: output before input, and the last arms only when no input is ready.
                biased;
                () = &mut drained, if !self.timers.is_draining() => self.drain(),
                written = sink.write_buf(self.link.writer.buffer_mut()), if !self.link.writer.is_flushed() => {
                    self.on_written(&written);
                }
                done = completion(&mut self.link.work), if self.link.work.is_some() => self.on_completion(done),
                () = outbox.changed() => {}
                line = reader.next(), if self.wants_line() => self.on_line(line),
                // Reached when nothing is left to read: a line that arrived before the drain must get its assessment
                // and its error.
                () = ready(()), if self.timers.is_draining() && !self.backlog_read => self.backlog_read = true,
                () = &mut timer => self.fire_timers(),
            }
        };
        if let Some(rest) = self.finish(reason) {
            // Best effort: after the timeout the last bytes are dropped with the socket.
            // Boxed: keeps the handshake's state out of this long-lived future.
            let _ = timeout(LINGER, Box::pin(close_handshake(sink, reader.into_source(), rest))).await;
        }
        reason
    }

    /// Leaves the session. Returns the bytes to write before the socket closes; `None` for a client that reads too
    /// slowly.
    fn finish(mut self, reason: CloseReason) -> Option<BytesMut> {
        if self.link.writer.close_reason() == Some(CloseReason::SlowConsumer) {
            self.link.context.sessions.turns().metrics.slow_consumer_disconnects.inc();
        }
        if reason == CloseReason::SlowConsumer {
            return None;
        }
        let mut rest = self.link.writer.take_rest();
        if self.link.peer.closing_line {
            push_closing_line(&mut rest, reason);
        }
        Some(rest)
    }

    /// Moves frames from the outbox to the write buffer.
    fn fill(&mut self) {
        while self.link.writer.has_room() {
            let is_replaying = self.mode.replay().is_some();
            let outbox = self.link.writer.outbox();
            // Help overtakes the replay, which waits for the store.
            let frame = if is_replaying { outbox.take_help() } else { outbox.take() };
            let Some(frame) = frame else {
                self.mode.on_outbox_empty(&mut self.link);
                break;
            };
            self.mode.render(frame, &mut self.link);
        }
        self.link.writer.on_filled(Instant::now());
    }

    /// Returns the close reason once nothing is left to write; a slow consumer, a lost client and a peer whose
    /// connection is void end at once.
    fn close_reason_if_done(&self) -> Option<CloseReason> {
        let (closing, outbox_reason) = (self.link.closing, self.link.writer.close_reason());
        if let Some(reason) = [outbox_reason, closing].into_iter().flatten().find(|reason| ends_at_once(*reason)) {
            return Some(reason);
        }
        if !self.link.writer.is_empty() || self.link.work.is_some() || self.mode.replay().is_some() {
            return None;
        }
        let quiet = !self.mode.is_awaiting() && self.link.writer.outbox().requests() == 0;
        let left = (self.input.has_handled_eof && quiet).then_some(CloseReason::ClientGone);
        let drained = (self.is_drained() && quiet).then_some(CloseReason::Draining);
        closing.or(outbox_reason).or(left).or(drained)
    }

    /// Returns true in a drain when no more input is expected, or when input waits that must be refused.
    fn is_drained(&self) -> bool {
        let is_silent =
            || self.timers.lingers_until(&self.link.context.timeouts).is_some_and(|until| until <= Instant::now());
        self.backlog_read && (self.input.has_read_eof() || !self.input.is_empty() || is_silent())
    }

    fn handler(&mut self) -> InputHandler<'_> {
        let Self { mode, link, input: queue, timers, .. } = self;
        InputHandler { mode, link, queue, is_draining: timers.is_draining() }
    }

    fn wants_line(&self) -> bool {
        self.link.closing.is_none() && self.input.wants_line(Instant::now())
    }

    fn on_line(&mut self, line: Result<Option<Inbound>, ReadError>) {
        let now = Instant::now();
        self.timers.last_read_at = now;
        self.input.record_line(now);
        match line {
            Ok(inbound) => self.handler().on_inbound(inbound),
            Err(error) => self.link.on_read_error(&error),
        }
    }

    fn on_written(&mut self, written: &io::Result<usize>) {
        match written {
            Ok(_) => self.link.writer.on_progress(Instant::now()),
            Err(_) => self.link.closing = Some(CloseReason::ClientGone),
        }
    }

    fn drain(&mut self) {
        self.timers.drain(Instant::now());
        self.mode.announce_drain(&self.link);
    }

    /// Applies the result of the work that the next line waits for; `None` if its task panicked.
    fn on_completion(&mut self, done: Option<Completion>) {
        self.link.work = None;
        match done {
            Some(completion) => self.mode.on_completion(completion, &mut self.link, &mut self.input),
            None => self.link.closing = Some(CloseReason::Internal),
        }
    }

    fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        self.timers.next_deadline(&self.link.context.timeouts, now, self.moments(now))
    }

    fn moments(&self, now: Instant) -> Moments {
        Moments {
            awaited: self.awaited(),
            stalled_since: self.link.writer.stalled_since(),
            paused_until: self.input.paused_until(now),
            reminder_at: self.mode.reminder_at(),
        }
    }

    /// Returns the input for which a timeout runs.
    fn awaited(&self) -> Awaited {
        let is_waiting_for_work = self.link.work.is_some();
        match &self.mode {
            _ if self.link.closing.is_some() => Awaited::Nothing,
            Mode::Undecided(undecided)
                if !undecided.has_failed_to_greet()
                    && !is_waiting_for_work
                    && !self.input.has_received
                    && !self.timers.is_draining() =>
            {
                Awaited::FirstByte
            }
            Mode::Frames(frames) if frames.attached().is_none() && !is_waiting_for_work => Awaited::Hello,
            Mode::Undecided(_) | Mode::Plain(_) | Mode::Frames(_) => Awaited::Line,
        }
    }

    /// Fires every expired timer.
    fn fire_timers(&mut self) {
        let now = Instant::now();
        self.mode.remind_if_due(now);
        match self.timers.expired(&self.link.context.timeouts, now, self.moments(now)) {
            Some(Expiry::Write) => self.link.closing = Some(CloseReason::SlowConsumer),
            Some(Expiry::Drain) if self.link.closing.is_none() && self.close_reason_if_done().is_none() => {
                self.mode.give_up_draining(&mut self.link);
                self.link.closing = Some(CloseReason::Draining);
            }
            // With a drain timeout as short as `LINGER` nothing may be in progress: then the loop ends by itself.
            None | Some(Expiry::Drain) => {}
            Some(Expiry::GreetDelay) => greet(&mut self.link),
            Some(Expiry::Hello) => self.link.closing = Some(CloseReason::HandshakeTimeout),
            Some(Expiry::Idle) if self.mode.is_awaiting() => self.timers.last_read_at = now,
            Some(Expiry::Idle) => self.link.closing = Some(CloseReason::Idle),
        }
    }
}

/// Returns true if output that waits is not written to its end.
fn ends_at_once(reason: CloseReason) -> bool {
    match reason {
        CloseReason::SlowConsumer
        | CloseReason::ClientGone
        | CloseReason::LateHeader
        | CloseReason::BadHeader
        | CloseReason::Unauthorized => true,
        CloseReason::Bye
        | CloseReason::Erased
        | CloseReason::Revoked
        | CloseReason::Draining
        | CloseReason::Idle
        | CloseReason::HandshakeTimeout
        | CloseReason::VersionUnsupported
        | CloseReason::TooManyConnections
        | CloseReason::Internal => false,
    }
}

/// Waits for the work, for ever without any. Returns `None` if its task panicked.
async fn completion(work: &mut Option<Work>) -> Option<Completion> {
    match work {
        Some(work) => work.completion().await,
        None => std::future::pending().await,
    }
}

/// Writes the rest of the output, half-closes, and reads until the peer closes: a socket closed with unread bytes is
/// reset, and the reset discards output in transit.
async fn close_handshake(
    mut sink: impl AsyncWrite + Unpin,
    mut source: impl AsyncRead + Unpin,
    rest: BytesMut,
) -> io::Result<()> {
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

#[cfg(test)]
mod tests;
