//! Frames as WebSocket messages.

use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use futures_util::{SinkExt as _, StreamExt as _};
use protocol::ClientFrame;
use protocol::limits::MAX_SERVER_LINE_BYTES;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::WireError;
use crate::address::Address;

const SUBPROTOCOL: HeaderValue = HeaderValue::from_static("psicoia.v1");
/// Small, because load tests hold thousands; tungstenite's default is 128 KiB.
const READ_BYTES: usize = 4_096;
/// Bound on bytes the socket has not taken: one frame is written at a time. tungstenite's default is unbounded.
const MAX_WRITE_BYTES: usize = 2 * protocol::limits::MAX_LINE_BYTES;

/// Close codes after which a reconnect would fail the same way (`proto-line/SPEC.md` §6).
const FINAL: [u16; 4] = [1003, 1008, 1009, 4011];

#[derive(Debug)]
pub(crate) struct WebSocket<S>(WebSocketStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    pub(crate) async fn upgrade(stream: S, address: &Address) -> Result<Self, WireError> {
        let mut request = address.url().into_client_request().map_err(handshake_error)?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(MAX_WRITE_BYTES)
            .max_message_size(Some(MAX_SERVER_LINE_BYTES))
            .max_frame_size(Some(MAX_SERVER_LINE_BYTES));
        let (socket, _) = client_async_with_config(request, stream, Some(config)).await.map_err(handshake_error)?;
        Ok(Self(socket))
    }

    pub(crate) fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Result<Utf8Bytes, WireError>> {
        loop {
            return Poll::Ready(match ready!(self.0.poll_next_unpin(cx)) {
                Some(Ok(Message::Text(line))) => Ok(line),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(frame))) => Err(close_error(frame.map(|frame| frame.code.into()))),
                Some(Ok(Message::Binary(_))) => Err(WireError::Lost("the server sent a binary message".to_owned())),
                Some(Err(error)) => Err(WireError::Lost(error.to_string())),
                None => Err(WireError::Eof),
            });
        }
    }

    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        next: &mut dyn FnMut() -> Option<ClientFrame>,
    ) -> Poll<Result<(), WireError>> {
        loop {
            ready!(self.0.poll_ready_unpin(cx)).map_err(transport_error)?;
            let Some(frame) = next() else { break };
            self.0.start_send_unpin(Message::Text(text(&frame))).map_err(transport_error)?;
        }
        self.0.poll_flush_unpin(cx).map_err(transport_error)
    }
}

/// Encodes a frame without its newline.
fn text(frame: &ClientFrame) -> Utf8Bytes {
    let mut line = BytesMut::new();
    frame.encode_line(&mut line);
    line.truncate(line.len() - 1);
    Utf8Bytes::try_from(line.freeze()).expect("JSON is UTF-8")
}

fn close_error(code: Option<u16>) -> WireError {
    match code {
        Some(1000) => WireError::SessionEnded,
        Some(code) if FINAL.contains(&code) => WireError::Refused(format!("the server closed the connection ({code})")),
        Some(code) => WireError::Lost(format!("the server closed the connection ({code})")),
        None => WireError::Eof,
    }
}

fn transport_error(error: Error) -> WireError {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => WireError::Eof,
        error => WireError::Lost(error.to_string()),
    }
}

/// Classifies a failed upgrade: client errors are final, server errors and `408`/`429` are retryable.
fn handshake_error(error: Error) -> WireError {
    match error {
        Error::Http(response) => {
            let (status, why) = (response.status(), format!("the server answered with HTTP {}", response.status()));
            let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
            if status.is_client_error() && !passing { WireError::Refused(why) } else { WireError::Lost(why) }
        }
        Error::Url(error) => WireError::Refused(error.to_string()),
        error => WireError::Lost(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_close_codes_match_contract() {
        let rows: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../../../proto-line/closes.json")).unwrap();
        for row in rows {
            let Some(code) = row["websocket"].as_u64() else { continue };
            let reconnects = matches!(close_error(Some(code.try_into().unwrap())), WireError::Lost(_));
            assert_eq!(reconnects, row["reconnect"].as_bool().unwrap(), "{row}");
        }
    }
}
