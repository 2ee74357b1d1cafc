//! HTTP responses with a short body.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

/// Response with its whole body in memory.
pub(super) type HttpResponse = Response<Full<Bytes>>;

/// Returns a plain-text response.
pub(super) fn plain(status: StatusCode, sentence: &'static str) -> HttpResponse {
    with_type(status, Some("text/plain; charset=utf-8"), Bytes::from_static(sentence.as_bytes()))
}

/// Returns a response of `content_type`; `None` for one without a body.
pub(super) fn with_type(status: StatusCode, content_type: Option<&'static str>, body: Bytes) -> HttpResponse {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    if let Some(content_type) = content_type {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    answer
}
