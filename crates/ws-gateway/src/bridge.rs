//! Bridge between one client, a WebSocket or an HTTP exchange, and one TCP connection, with bounded memory in both directions.
//!
//! A connection is one task. Each direction is read only while the other side's write buffer is empty, so a slow reader
//! stops its writer through TCP flow control, and nothing is dropped or accumulates. Bytes are read into the stack and
//! leave in one write per batch; an idle connection holds no buffer.

mod client;
mod client_side;
mod close_handshake;
mod core;
mod heartbeat;
mod line_splitter;
mod lines;
mod message_boundary;
mod pipe;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use protocol::CloseReason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

pub(crate) use self::client::Client;
pub(crate) use self::client_side::{ClientSide, Input};
pub(crate) use self::close_handshake::{close_handshake, shutdown_write};
pub(crate) use self::core::Core;
pub use self::heartbeat::KeepaliveSettings;
use self::heartbeat::{Heartbeat, HeartbeatEvent};
pub(crate) use self::lines::{LinesClient, LinesFormat};
use self::pipe::WriteProgress;
use crate::close::CloseCause;
use crate::upstream::EndpointGuard;

/// Read size towards the core, in bytes. Small, because the tags of empty messages make them ten times as long.
const CLIENT_READ_BYTES: usize = 8 * 1_024;
/// Read size towards the client, in bytes; also the largest frame that is sent.
const CORE_READ_BYTES: usize = 16 * 1_024;
/// Waiting time for the core's first byte after which a client that disconnects counts as evidence against the core.
const CORE_BLAME_AFTER: Duration = Duration::from_secs(1);

/// Timeouts and shutdown signal of a bridge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BridgeSettings<'a> {
    pub(crate) keepalive: KeepaliveSettings,
    /// Cancelled when the gateway closes its connections.
    pub(crate) drain: &'a CancellationToken,
}

/// Receives signs of the core's health. Implementations must not block.
pub(crate) trait CoreObserver {
    /// Called at the core's first byte.
    fn answered(&mut self);
    /// Called when the core has sent nothing for too long after a line that requires a reply. Returns true if a healthier
    /// core is available.
    fn silent(&mut self) -> bool;
    /// Called when the core closes the connection before its first byte and without a closing line.
    fn lost(&mut self);
}

impl CoreObserver for EndpointGuard {
    fn answered(&mut self) {
        self.mark_healthy();
    }

    fn silent(&mut self) -> bool {
        self.suspect();
        self.has_better_core()
    }

    fn lost(&mut self) {
        self.mark_failed(&"connection lost before the first byte");
    }
}

/// Carries messages between `client` and `core` until one of them ends or `settings.drain` fires.
///
/// `leftover` holds the bytes that followed the client's upgrade request. Sends no close frame: see
/// [`close_handshake`].
pub(crate) async fn run<C, U>(
    client: &mut C,
    core: &mut Core<U>,
    leftover: Bytes,
    settings: BridgeSettings<'_>,
    observer: &mut impl CoreObserver,
) -> CloseCause
where
    C: ClientSide,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let received = client.receive(&leftover, core);
    // Freed here: the slice keeps the whole upgrade request alive.
    drop(leftover);
    if let Err(cause) = received {
        return cause;
    }
    let now = Instant::now();
    let mut heartbeat = Heartbeat::new(now, settings.keepalive);
    if client.is_greeted() || core.expects_reply() {
        heartbeat.on_request(now);
    }
    let timer = pin!(sleep_until(heartbeat.next()));
    let mut bridge = Bridge { client, core, observer, heartbeat, timer };
    let mut draining = pin!(settings.drain.cancelled());
    let cause = poll_fn(|cx| match draining.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(CloseReason::Draining.into()),
        Poll::Pending => bridge.poll(cx),
    })
    .await;
    bridge.conclude(cause);
    cause
}

struct Bridge<'a, C, U, O> {
    client: &'a mut C,
    core: &'a mut Core<U>,
    observer: &'a mut O,
    heartbeat: Heartbeat,
    /// Fires at the heartbeat's earliest deadline or before it.
    timer: Pin<&'a mut Sleep>,
}

impl<C, U, O> Bridge<'_, C, U, O>
where
    C: ClientSide,
    U: AsyncRead + AsyncWrite + Unpin,
    O: CoreObserver,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseCause> {
        loop {
            let moved = match (self.poll_up(cx), self.poll_down(cx)) {
                (Poll::Ready(Err(cause)), _) | (_, Poll::Ready(Err(cause))) => return Poll::Ready(cause),
                (up, down) => up.is_ready() || down.is_ready(),
            };
            if !moved && let Err(cause) = ready!(self.poll_heartbeat(cx)) {
                return Poll::Ready(cause);
            }
        }
    }

    /// Forwards one batch from the client to the core; pending while either side blocks.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseCause>> {
        let (input, takes) = (self.client.input(), self.core_takes(cx));
        if input == Input::Ended && takes && matches!(self.core.poll_end(cx), Poll::Ready(Err(_))) {
            self.core.set_write_failed();
        }
        let reading = input == Input::Open && takes && !self.client.is_backlogged();
        self.heartbeat.set_reading(reading);
        if !reading {
            return Poll::Pending;
        }
        let mut bytes = [MaybeUninit::uninit(); CLIENT_READ_BYTES];
        let mut bytes = ReadBuf::uninit(&mut bytes);
        let read = ready!(self.client.pipe().poll_read(cx, &mut bytes));
        if read.is_err() {
            return Poll::Ready(Err(CloseReason::ClientGone.into()));
        }
        if bytes.filled().is_empty() {
            return Poll::Ready(self.client.end());
        }
        self.heartbeat.on_client_bytes();
        let received = self.client.receive(bytes.filled(), self.core);
        if self.core.expects_reply() && self.heartbeat.awaits_request() {
            self.heartbeat.on_request(Instant::now());
        }
        Poll::Ready(received)
    }

    /// Returns true if the core's side does not block reading from the client.
    fn core_takes(&mut self, cx: &mut Context<'_>) -> bool {
        let bytes = match self.core.pipe.write(cx) {
            Ok(WriteProgress::All) => 0,
            Ok(WriteProgress::Part { bytes }) => bytes,
            Err(_) => {
                self.core.set_write_failed();
                0
            }
        };
        let waits = !self.core.pipe.out.is_empty() || self.core.has_write_failed() || self.client.awaits_line_end();
        if waits {
            self.heartbeat.on_core_write(Instant::now(), bytes);
        } else {
            self.heartbeat.on_core_flushed();
        }
        !waits
    }

    /// Forwards one batch from the core to the client; pending while either side blocks.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseCause>> {
        match self.client.pipe().write(cx) {
            Ok(WriteProgress::All) if self.heartbeat.awaits_client() => {
                self.heartbeat.on_client_flushed(Instant::now());
            }
            Ok(WriteProgress::All) => {}
            Ok(WriteProgress::Part { bytes }) => {
                self.heartbeat.on_client_write(Instant::now(), bytes);
                return Poll::Pending;
            }
            Err(_) => return Poll::Ready(Err(CloseReason::ClientGone.into())),
        }
        let mut bytes = [MaybeUninit::uninit(); CORE_READ_BYTES];
        let mut bytes = ReadBuf::uninit(&mut bytes);
        let read = ready!(self.core.pipe.poll_read(cx, &mut bytes));
        if read.is_err() || bytes.filled().is_empty() {
            return Poll::Ready(Err(self.core_closed()));
        }
        if self.heartbeat.awaits_core() && self.heartbeat.on_core_bytes(Instant::now()) {
            self.observer.answered();
        }
        let client = &mut *self.client;
        self.core.receive(bytes.filled(), |fragment| client.send(fragment));
        Poll::Ready(Ok(()))
    }

    /// Returns the cause after the core has closed its side.
    fn core_closed(&mut self) -> CloseCause {
        let cause = self.core.close_cause();
        if cause == CloseCause::CoreLost && !self.heartbeat.has_answered() {
            self.observer.lost();
        }
        cause
    }

    /// Ready when a deadline has passed; `Ok` if the bridge continues.
    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseCause>> {
        loop {
            // Lazy re-arming: a deadline that moves later is noticed when the timer fires, so no message touches the timer.
            let next = self.heartbeat.next();
            if next < self.timer.deadline() {
                self.timer.as_mut().reset(next);
            }
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            match self.heartbeat.due(now) {
                Some(event) => return Poll::Ready(self.on_heartbeat(event, now)),
                None => self.timer.as_mut().reset(self.heartbeat.next()),
            }
        }
    }

    fn on_heartbeat(&mut self, event: HeartbeatEvent, now: Instant) -> Result<(), CloseCause> {
        match event {
            HeartbeatEvent::Ping => {
                if self.client.ping() {
                    self.heartbeat.on_ping_sent(now);
                }
                Ok(())
            }
            // Not `ClientGone` (1000), after which clients do not reconnect: this one may only have been unreachable.
            HeartbeatEvent::ClientSilent => Err(CloseReason::Idle.into()),
            HeartbeatEvent::ClientStalled => Err(CloseReason::SlowConsumer.into()),
            HeartbeatEvent::CoreSilent if self.observer.silent() => Err(CloseCause::CoreLost),
            HeartbeatEvent::CoreSilent => Ok(()),
            HeartbeatEvent::CoreStalled => Err(CloseCause::CoreLost),
        }
    }

    /// Reports to the observer a client that left because the core did not reply.
    fn conclude(&mut self, cause: CloseCause) {
        let waited = self.heartbeat.unanswered(Instant::now());
        if cause == CloseReason::ClientGone.into() && waited >= Some(CORE_BLAME_AFTER) {
            // The client is gone, so a better core cannot help it; only the report matters.
            let _has_better = self.observer.silent();
        }
    }
}
