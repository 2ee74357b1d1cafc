//! `POST /lines`: client lines in the request body, server lines in the response body (`proto-line/SPEC.md` §6).
//!
//! Both bodies go through one bounded pipe in memory to the same bridge as a WebSocket's bytes, so that a reader that
//! is slow stops its writer here too.

use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, VARY};
use hyper::{Method, Request, Response, StatusCode};
use protocol::Face;
use tokio::io::{AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio_util::io::poll_read_buf;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::HttpSettings;
use super::forwarded::client_address;
use super::response::{HttpResponse, ResponseBody, plain};
use super::upgrade::{self, AcceptedClient, X_TRACE_ID};
use crate::bridge::LinesFormat;
use crate::metrics::UpgradeRejection;

const PATH: &str = "/lines";
const LINES_TYPE: &str = "application/x-ndjson";
const EVENTS_TYPE: &str = "text/event-stream";
/// Bytes that wait in each direction of the pipe.
const PIPE_BYTES: usize = 16 * 1_024;
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// nginx holds a response back otherwise.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// An accepted exchange: the gateway's end of the pipe.
#[derive(Debug)]
pub(crate) struct LinesExchange {
    pub(crate) accepted: AcceptedClient,
    /// Address at which the client arrived.
    pub(crate) destination: SocketAddr,
    pub(crate) stream: DuplexStream,
    pub(crate) format: LinesFormat,
    /// The client stays for events after its last line.
    pub(crate) listens: bool,
    /// Cancelled when the client is gone.
    pub(crate) gone: CancellationToken,
}

/// The request body on its way into the pipe.
#[derive(Debug)]
pub(super) struct RequestLines {
    body: Incoming,
    pipe: WriteHalf<DuplexStream>,
    gone: CancellationToken,
}

/// The response body on its way out of the pipe.
#[derive(Debug)]
pub(super) struct LinesBody {
    pipe: ReadHalf<DuplexStream>,
    /// Dropped with the body: at its end, or when the client is gone.
    _gone: DropGuard,
}

impl RequestLines {
    /// Carries the body to its end. A body that is cut off ends the exchange: its client is gone.
    pub(super) async fn carry(mut self) {
        while let Some(frame) = self.body.frame().await {
            let Ok(frame) = frame else { return self.gone.cancel() };
            if let Some(data) = frame.data_ref()
                && self.pipe.write_all(data).await.is_err()
            {
                return;
            }
        }
        // Fails only where the exchange has ended.
        let _ended = self.pipe.shutdown().await;
    }
}

impl LinesBody {
    /// Returns the next bytes; `None` at the end.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut bytes = BytesMut::with_capacity(PIPE_BYTES);
        // A pipe in memory does not fail.
        let read = ready!(poll_read_buf(std::pin::Pin::new(&mut self.pipe), cx, &mut bytes)).unwrap_or_default();
        Poll::Ready((0 < read).then(|| bytes.freeze()))
    }
}

/// Returns true if the request is for this resource.
pub(super) fn is_at(path: &str) -> bool {
    path == PATH
}

/// Validates the request's head and returns the format of its response.
pub(super) fn check(
    method: &Method,
    headers: &HeaderMap,
    is_own_origin: bool,
) -> Result<LinesFormat, Box<(UpgradeRejection, HttpResponse)>> {
    if !is_own_origin {
        return Err(Box::new((UpgradeRejection::Origin, upgrade::foreign_origin())));
    }
    if method != Method::POST {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "lines are sent with POST\n");
        answer.headers_mut().insert(hyper::header::ALLOW, HeaderValue::from_static("POST"));
        return Err(Box::new((UpgradeRejection::Malformed, answer)));
    }
    let has = |name: &HeaderName, wanted: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|value| value.split(';').next().is_some_and(|value| value.trim().eq_ignore_ascii_case(wanted)))
    };
    // A type that no form has: a page of another origin cannot send it without being asked first.
    if !has(&CONTENT_TYPE, LINES_TYPE) {
        let answer = plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "lines are of the type application/x-ndjson\n");
        return Err(Box::new((UpgradeRejection::Malformed, answer)));
    }
    Ok(if has(&ACCEPT, EVENTS_TYPE) { LinesFormat::Events } else { LinesFormat::Lines })
}

/// Opens the exchange: its two ends in this process, and the response.
pub(super) fn open(
    request: Request<Incoming>,
    (peer, destination): (SocketAddr, SocketAddr),
    format: LinesFormat,
    settings: &HttpSettings,
) -> (LinesExchange, RequestLines, HttpResponse) {
    let headers = request.headers();
    let client = client_address(peer, headers, &settings.trusted_proxies);
    let trace = upgrade::trace(headers, settings.trusted_proxies.contains(peer.ip()));
    let listens = prefers_wait(headers);
    let (stream, far) = duplex(PIPE_BYTES);
    let (read, write) = split(far);
    let gone = CancellationToken::new();
    let body = LinesBody { pipe: read, _gone: gone.clone().drop_guard() };
    let mut answer = Response::new(ResponseBody::Lines(body));
    let content_type = if format == LinesFormat::Events { EVENTS_TYPE } else { LINES_TYPE };
    let answer_headers = answer.headers_mut();
    answer_headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer_headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer_headers.insert(VARY, HeaderValue::from_static("accept"));
    answer_headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    answer_headers.insert(X_TRACE_ID, upgrade::trace_id(trace));
    if listens {
        answer_headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static("wait"));
    }
    let accepted = AcceptedClient { client, face: Face::Frames, trace };
    let exchange = LinesExchange { accepted, destination, stream, format, listens, gone: gone.clone() };
    (exchange, RequestLines { body: request.into_body(), pipe: write, gone }, answer)
}

/// Returns true for `Prefer: wait`, also with a number of seconds (RFC 7240), which the idle limit stands for.
fn prefers_wait(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split([',', ';']))
        .any(|preference| preference.split('=').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("wait")))
}
