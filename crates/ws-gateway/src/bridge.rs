//! One WebSocket on one TCP connection, both ways bounded.
//!
//! A connection is one task. Each direction is read only while nothing waits to be written
//! on the other side, so a slow reader stops its writer through TCP and nothing is dropped or
//! piled up. Bytes are read into the stack and leave in one write per batch; an
//! idle connection holds no buffer.

mod client;
mod core;
mod farewell;
mod lines;
mod pipe;
mod pulse;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use protocol::CloseReason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub(crate) use self::client::Client;
pub(crate) use self::core::Core;
pub(crate) use self::farewell::{hang_up, say_farewell};
pub use self::pulse::Patience;
use self::pulse::{Beat, Pulse, Signs};
use crate::close::Ending;

/// Most bytes read from a client at once. Small, because empty messages grow tenfold by their tags.
const CLIENT_READ_BYTES: usize = 8 * 1_024;
/// Most bytes read from the core at once, which also bounds a frame.
const CORE_READ_BYTES: usize = 16 * 1_024;

/// Carries messages between `client` and `core` until one of them ends or `drain` fires.
///
/// `leftover` is what came from the client behind its upgrade request. The closing frame is not
/// sent here: see [`say_farewell`].
pub(crate) async fn run<C, U>(
    client: &mut Client<C>,
    core: &mut Core<U>,
    leftover: Bytes,
    patience: Patience,
    drain: &CancellationToken,
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
    let timer = pin!(sleep(patience.ping));
    let mut bridge = Bridge { client, core, pulse: Pulse::new(timer, patience) };
    let mut draining = pin!(drain.cancelled());
    poll_fn(|cx| match draining.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(CloseReason::Draining.into()),
        Poll::Pending => bridge.poll(cx),
    })
    .await
}

struct Bridge<'a, C, U> {
    client: &'a mut Client<C>,
    core: &'a mut Core<U>,
    pulse: Pulse<'a>,
}

impl<C, U> Bridge<'_, C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        loop {
            let moved = match (self.poll_up(cx), self.poll_down(cx)) {
                (Poll::Ready(Err(ending)), _) | (_, Poll::Ready(Err(ending))) => return Poll::Ready(ending),
                (up, down) => up.is_ready() || down.is_ready(),
            };
            if !moved && let Err(ending) = ready!(self.poll_pulse(cx)) {
                return Poll::Ready(ending);
            }
        }
    }

    /// One batch from the client to the core; pending while either cannot go on.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        if !self.poll_core_takes(cx) || self.client.is_backlogged() {
            return Poll::Pending;
        }
        let mut bytes = [MaybeUninit::uninit(); CLIENT_READ_BYTES];
        let mut bytes = ReadBuf::uninit(&mut bytes);
        let read = ready!(self.client.pipe.poll_read(cx, &mut bytes));
        if read.is_err() || bytes.filled().is_empty() {
            return Poll::Ready(Err(CloseReason::ClientGone.into()));
        }
        self.pulse.hear();
        Poll::Ready(self.client.receive(bytes.filled(), self.core))
    }

    /// Whether all that was for the core is written.
    fn poll_core_takes(&mut self, cx: &mut Context<'_>) -> bool {
        match self.core.pipe.poll_flush(cx) {
            Poll::Ready(Ok(())) => !self.core.is_deaf(),
            Poll::Ready(Err(_)) => {
                self.core.set_deaf();
                false
            }
            Poll::Pending => false,
        }
    }

    /// One batch from the core to the client; pending while either cannot go on.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        if ready!(self.client.pipe.poll_flush(cx)).is_err() {
            return Poll::Ready(Err(CloseReason::ClientGone.into()));
        }
        let mut bytes = [MaybeUninit::uninit(); CORE_READ_BYTES];
        let mut bytes = ReadBuf::uninit(&mut bytes);
        let read = ready!(self.core.pipe.poll_read(cx, &mut bytes));
        if read.is_err() || bytes.filled().is_empty() {
            return Poll::Ready(Err(self.core.ending()));
        }
        let client = &mut *self.client;
        self.core.lines.feed(bytes.filled(), |piece| client.send(piece));
        Poll::Ready(Ok(()))
    }

    /// Ready when a ping has been added to what is to be written.
    fn poll_pulse(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        let signs = Signs {
            writing: self.client.is_writing(),
            listening: !self.core.is_writing() && !self.core.is_deaf() && !self.client.is_backlogged(),
        };
        Poll::Ready(match ready!(self.pulse.poll(cx, signs)) {
            Beat::Ping => {
                self.client.ping();
                Ok(())
            }
            // Not `ClientGone`: it may only have been unreachable, and the code must let it come back.
            Beat::Silent => Err(CloseReason::Idle.into()),
            Beat::Stalled => Err(CloseReason::SlowConsumer.into()),
        })
    }
}
