//! WebSocket upgrade: client address, origin check, face.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use hyper::header::{SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::{Request, StatusCode};
use protocol::Face;
use protocol::trace::Traceparent;
use tungstenite::Error;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::server::create_response_with_body;

use super::HttpSettings;
use super::forwarded::client_address;
use super::response::{HttpResponse, plain};
use crate::metrics::UpgradeRejection;

/// Subprotocol of the frames face.
const FRAMES_PROTOCOL: &str = "psicoia.v1";
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// Facts about a client whose upgrade or exchange was accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AcceptedClient {
    /// Address of the client.
    pub(crate) client: SocketAddr,
    /// Face chosen by the subprotocol.
    pub(crate) face: Face,
    /// The connection's trace.
    pub(crate) trace: Traceparent,
}

impl AcceptedClient {
    /// Runs `log`, whose lines get the ids of the connection. Their span lives only meanwhile: an open one would cost
    /// every idle connection half a kilobyte. At the highest level, so that no filter of lines takes the ids from one.
    pub(crate) fn in_span(&self, log: impl FnOnce()) {
        tracing::error_span!("connection", trace_id = %self.trace.trace_id).in_scope(log);
    }
}

/// Returns true if the request asks for a WebSocket.
pub(super) fn is_requested(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Validates the upgrade and returns its response.
pub(super) fn answer<B>(
    request: &Request<B>,
    peer: SocketAddr,
    settings: &HttpSettings,
) -> (Result<AcceptedClient, UpgradeRejection>, HttpResponse) {
    let headers = request.headers();
    let peer_trusted = settings.trusted_proxies.contains(peer.ip());
    let client = client_address(peer, headers, &settings.trusted_proxies);
    if !settings.origins.admits(headers, peer_trusted) {
        return (Err(UpgradeRejection::Origin), foreign_origin());
    }
    let mut answer = match create_response_with_body(request, || Full::new(Bytes::new()).into()) {
        Ok(answer) => answer,
        Err(error) => return (Err(UpgradeRejection::Malformed), rejection(&error)),
    };
    let (trace, face) = (trace(headers, peer_trusted), face(headers));
    answer.headers_mut().insert(X_TRACE_ID, trace_id(trace));
    if face == Face::Frames {
        answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(FRAMES_PROTOCOL));
    }
    (Ok(AcceptedClient { client, face, trace }), answer)
}

/// Returns the client's position in its trace: below `traceparent` if the peer is trusted.
pub(super) fn trace(headers: &HeaderMap, peer_trusted: bool) -> Traceparent {
    let parent = headers.get(TRACEPARENT).filter(|_| peer_trusted);
    let parent = parent.and_then(|value| Traceparent::parse(value.as_bytes()).ok());
    parent.map_or_else(Traceparent::random, Traceparent::child)
}

/// Returns the value of [`X_TRACE_ID`].
pub(super) fn trace_id(trace: Traceparent) -> HeaderValue {
    HeaderValue::try_from(trace.trace_id.to_string()).expect("hex digits make a header")
}

/// 403 for a page of another origin.
pub(super) fn foreign_origin() -> HttpResponse {
    plain(StatusCode::FORBIDDEN, "pages of this origin may not connect here\n")
}

/// 503 during shutdown: the client or its balancer tries another gateway.
pub(super) fn draining() -> HttpResponse {
    let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// 429; `wait` is the time until the next connection is allowed.
pub(super) fn rate_limited(wait: Duration) -> HttpResponse {
    let mut answer = plain(StatusCode::TOO_MANY_REQUESTS, "too many new connections from this address\n");
    // Rounded up: a retry after fewer seconds would be rejected once more.
    let seconds = wait.as_secs() + u64::from(0 < wait.subsec_nanos());
    answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    answer
}

/// 426 for a plain request to the WebSocket path.
pub(super) fn required() -> HttpResponse {
    let mut answer = plain(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket\n");
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    answer
}

fn rejection(error: &Error) -> HttpResponse {
    match error {
        Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => {
            let mut answer = required();
            *answer.body_mut() = Full::new(Bytes::from_static(b"only version 13 of WebSocket is spoken here\n")).into();
            answer
        }
        _ => plain(StatusCode::BAD_REQUEST, "this is not a WebSocket upgrade as RFC 6455 defines it\n"),
    }
}

fn face(headers: &HeaderMap) -> Face {
    let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let frames = offers.flat_map(|offer| offer.split(',')).any(|offer| offer.trim() == FRAMES_PROTOCOL);
    if frames { Face::Frames } else { Face::Plain }
}
