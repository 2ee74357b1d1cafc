//! Closing handshake (RFC 6455 §7), done so that the close frame is delivered.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tungstenite::Message;

use super::client::Client;
use super::pipe::Pipe;
use crate::close::CloseCause;

/// Timeout for the peer's close frame, and once more for the end of its stream. Two seconds exceed a mobile round trip
/// and keep a drain short.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const READ_BYTES: usize = 4 * 1_024;

/// Sends the close frame, awaits the client's, then closes the socket.
///
/// Unread bytes must not remain: closing a socket with unread bytes sends a TCP reset, which can overtake the close
/// frame.
pub(crate) async fn close_handshake<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>, cause: CloseCause) {
    client.close(cause);
    let answered = timeout(CLOSE_TIMEOUT, async {
        poll_fn(|cx| client.pipe.poll_flush(cx)).await?;
        // If the client closed first, this frame is the reply, and the server closes TCP first (RFC 6455 §7.1.1).
        if !cause.breaks_framing() && !client.has_closed() {
            poll_fn(|cx| poll_close_frame(client, cx)).await;
        }
        Ok::<(), std::io::Error>(())
    });
    // Not waiting longer for a client that reads nothing or is gone.
    if let Ok(Ok(())) = answered.await {
        shutdown_write(&mut client.pipe).await;
        let _timed_out = timeout(CLOSE_TIMEOUT, poll_fn(|cx| poll_end(&mut client.pipe, cx))).await;
    }
}

/// Flushes the write buffer and shuts down the write half, within [`CLOSE_TIMEOUT`].
pub(crate) async fn shutdown_write<S: AsyncRead + AsyncWrite + Unpin>(pipe: &mut Pipe<S>) {
    let _timed_out = timeout(CLOSE_TIMEOUT, async {
        poll_fn(|cx| pipe.poll_flush(cx)).await?;
        poll_fn(|cx| pipe.poll_shutdown(cx)).await
    })
    .await;
}

/// Ready at the client's close frame or the end of its stream; discards other messages.
fn poll_close_frame<S>(client: &mut Client<S>, cx: &mut Context<'_>) -> Poll<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let mut bytes = ReadBuf::uninit(&mut bytes);
        let read = ready!(client.pipe.poll_read(cx, &mut bytes));
        let mut input = bytes.filled();
        if read.is_err() || input.is_empty() {
            return Poll::Ready(());
        }
        loop {
            match client.next_message(&mut input) {
                Ok(Some(Message::Close(_))) | Err(_) => return Poll::Ready(()),
                Ok(Some(_)) => {}
                Ok(None) => break,
            }
        }
    }
}

/// Ready when the peer has closed its write half; discards its bytes.
fn poll_end<S: AsyncRead + AsyncWrite + Unpin>(pipe: &mut Pipe<S>, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let mut bytes = ReadBuf::uninit(&mut bytes);
        let read = ready!(pipe.poll_read(cx, &mut bytes));
        if read.is_err() || bytes.filled().is_empty() {
            return Poll::Ready(());
        }
    }
}
