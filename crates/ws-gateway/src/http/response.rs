//! Small HTTP answers.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

/// An answer whose whole body is at hand.
pub(super) type HttpResponse = Response<Full<Bytes>>;

/// One sentence for people.
pub(super) fn plain(status: StatusCode, sentence: &'static str) -> HttpResponse {
    with_type(status, Some("text/plain; charset=utf-8"), Bytes::from_static(sentence.as_bytes()))
}

/// `body` as `content_type`; none for an answer that has no body.
pub(super) fn with_type(status: StatusCode, content_type: Option<&'static str>, body: Bytes) -> HttpResponse {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    if let Some(content_type) = content_type {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    answer
}
