//! One WebSocket on one TCP connection, both ways bounded.
//!
//! A connection is one task. Each direction is read only while nothing waits to be written
//! on the other side, so a slow reader stops its writer through TCP and nothing is dropped or
//! piled up. Bytes are read into the stack and leave in one write per batch; an
//! idle connection holds no buffer.

mod boundary;
mod client;
mod core;
mod farewell;
mod heartbeat;
mod lines;
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
pub(crate) use self::core::Core;
pub(crate) use self::farewell::{hang_up, say_farewell};
pub use self::heartbeat::Patience;
use self::heartbeat::{Heartbeat, HeartbeatEvent};
use self::pipe::Written;
use crate::close::Ending;
use crate::upstream::Lease;

/// Most bytes read from a client at once. Small, because empty messages grow tenfold by their tags.
const CLIENT_READ_BYTES: usize = 8 * 1_024;
/// Most bytes read from the core at once, which also bounds a frame.
const CORE_READ_BYTES: usize = 16 * 1_024;
/// A client that has waited this long for its core's first byte and leaves has left because of the core.
const LEAVES_BECAUSE_OF_CORE: Duration = Duration::from_secs(1);

/// How long a bridge lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) patience: Patience,
    /// Cancelled when the connection is to end because the gateway does.
    pub(crate) drain: &'a CancellationToken,
}

/// Observer of the core's health.
pub(crate) trait CoreObserver {
    /// The core has sent its first byte.
    fn answered(&mut self);
    /// The core has not sent a byte for too long after a line that it has to answer. Returns whether another core is
    /// known to be better for the client.
    fn silent(&mut self) -> bool;
    /// The core ended the connection without a byte and without a closing line.
    fn lost(&mut self);
}

impl CoreObserver for Lease {
    fn answered(&mut self) {
        self.proved();
    }

    fn silent(&mut self) -> bool {
        self.suspect();
        self.has_better()
    }

    fn lost(&mut self) {
        self.failed(&"connection lost before the first byte");
    }
}

/// Carries messages between `client` and `core` until one of them ends or `terms.drain` fires.
///
/// `leftover` is what came from the client behind its upgrade request. The closing frame is not
/// sent here: see [`say_farewell`].
pub(crate) async fn run<C, U>(
    client: &mut Client<C>,
    core: &mut Core<U>,
    leftover: Bytes,
    terms: Terms<'_>,
    observer: &mut impl CoreObserver,
) -> Ending
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let received = client.receive(&leftover, core);
    // It shares the memory of the whole upgrade request.
    drop(leftover);
    if let Err(ending) = received {
        return ending;
    }
    let now = Instant::now();
    let mut heartbeat = Heartbeat::new(now, terms.patience);
    if client.is_greeted() || core.is_asked() {
        heartbeat.asked(now);
    }
    let timer = pin!(sleep_until(heartbeat.next()));
    let mut bridge = Bridge { client, core, observer, heartbeat, timer };
    let mut draining = pin!(terms.drain.cancelled());
    let ending = poll_fn(|cx| match draining.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(CloseReason::Draining.into()),
        Poll::Pending => bridge.poll(cx),
    })
    .await;
    bridge.conclude(ending);
    ending
}

struct Bridge<'a, C, U, O> {
    client: &'a mut Client<C>,
    core: &'a mut Core<U>,
    observer: &'a mut O,
    heartbeat: Heartbeat,
    /// At the earliest deadline of the heartbeat, or before it.
    timer: Pin<&'a mut Sleep>,
}

impl<C, U, O> Bridge<'_, C, U, O>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
    O: CoreObserver,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        loop {
            let moved = match (self.poll_up(cx), self.poll_down(cx)) {
                (Poll::Ready(Err(ending)), _) | (_, Poll::Ready(Err(ending))) => return Poll::Ready(ending),
                (up, down) => up.is_ready() || down.is_ready(),
            };
            if !moved && let Err(ending) = ready!(self.poll_heartbeat(cx)) {
                return Poll::Ready(ending);
            }
        }
    }

    /// One batch from the client to the core; pending while either cannot go on.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        let reading = self.core_takes(cx) && !self.client.is_backlogged();
        self.heartbeat.set_reading(reading);
        if !reading {
            return Poll::Pending;
        }
        let mut bytes = [MaybeUninit::uninit(); CLIENT_READ_BYTES];
        let mut bytes = ReadBuf::uninit(&mut bytes);
        let read = ready!(self.client.pipe.poll_read(cx, &mut bytes));
        if read.is_err() || bytes.filled().is_empty() {
            return Poll::Ready(Err(CloseReason::ClientGone.into()));
        }
        self.heartbeat.heard();
        let received = self.client.receive(bytes.filled(), self.core);
        if self.core.is_asked() && self.heartbeat.is_unasked() {
            self.heartbeat.asked(Instant::now());
        }
        Poll::Ready(received)
    }

    /// Whether nothing holds up the client on the core's side.
    fn core_takes(&mut self, cx: &mut Context<'_>) -> bool {
        let bytes = match self.core.pipe.write(cx) {
            Ok(Written::All) => 0,
            Ok(Written::Part { bytes }) => bytes,
            Err(_) => {
                self.core.set_deaf();
                0
            }
        };
        let waits = !self.core.pipe.out.is_empty() || self.core.is_deaf() || self.client.awaits_line_end();
        if waits {
            self.heartbeat.core_took(Instant::now(), bytes);
        } else {
            self.heartbeat.core_flushed();
        }
        !waits
    }

    /// One batch from the core to the client; pending while either cannot go on.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        match self.client.pipe.write(cx) {
            Ok(Written::All) if self.heartbeat.awaits_client() => self.heartbeat.flushed(Instant::now()),
            Ok(Written::All) => {}
            Ok(Written::Part { bytes }) => {
                self.heartbeat.wrote(Instant::now(), bytes);
                return Poll::Pending;
            }
            Err(_) => return Poll::Ready(Err(CloseReason::ClientGone.into())),
        }
        let mut bytes = [MaybeUninit::uninit(); CORE_READ_BYTES];
        let mut bytes = ReadBuf::uninit(&mut bytes);
        let read = ready!(self.core.pipe.poll_read(cx, &mut bytes));
        if read.is_err() || bytes.filled().is_empty() {
            return Poll::Ready(Err(self.core_ended()));
        }
        if self.heartbeat.awaits_core() && self.heartbeat.core_spoke(Instant::now()) {
            self.observer.answered();
        }
        let client = &mut *self.client;
        self.core.lines.feed(bytes.filled(), |piece| client.send(piece));
        Poll::Ready(Ok(()))
    }

    /// Why the connection ends, now that the core has ended it.
    fn core_ended(&mut self) -> Ending {
        let ending = self.core.ending();
        if ending == Ending::CoreLost && !self.heartbeat.has_answered() {
            self.observer.lost();
        }
        ending
    }

    /// Ready when a deadline has passed: with `Ok` when the bridge goes on.
    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        loop {
            // A deadline that moves back is noticed when the timer fires: no message touches it.
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

    fn on_heartbeat(&mut self, event: HeartbeatEvent, now: Instant) -> Result<(), Ending> {
        match event {
            HeartbeatEvent::Ping => {
                self.client.ping();
                self.heartbeat.pinged(now);
                Ok(())
            }
            // Not `ClientGone`: it may only have been unreachable, and the code must let it come back.
            HeartbeatEvent::ClientSilent => Err(CloseReason::Idle.into()),
            HeartbeatEvent::ClientStalled => Err(CloseReason::SlowConsumer.into()),
            HeartbeatEvent::CoreSilent if self.observer.silent() => Err(Ending::CoreLost),
            HeartbeatEvent::CoreSilent => Ok(()),
            HeartbeatEvent::CoreStalled => Err(Ending::CoreLost),
        }
    }

    /// Draws from the end what it says of the core.
    fn conclude(&mut self, ending: Ending) {
        let waited = self.heartbeat.unanswered(Instant::now());
        if ending == CloseReason::ClientGone.into() && waited >= Some(LEAVES_BECAUSE_OF_CORE) {
            // Too late to help this client.
            let _has_better = self.observer.silent();
        }
    }
}
