//! HTTP responses.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::lines::LinesBody;

pub(super) type HttpResponse = Response<ResponseBody>;

/// Body of a response.
#[derive(Debug)]
pub(super) enum ResponseBody {
    /// All of it is in memory.
    Whole(Full<Bytes>),
    /// It comes from the core.
    Lines(LinesBody),
}

impl From<Full<Bytes>> for ResponseBody {
    fn from(body: Full<Bytes>) -> Self {
        Self::Whole(body)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Lines(body) => body.poll_data(cx).map(|data| data.map(|data| Ok(Frame::data(data)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Lines(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Lines(_) => SizeHint::default(),
        }
    }
}

/// Returns a plain-text response.
pub(super) fn plain(status: StatusCode, sentence: &'static str) -> HttpResponse {
    with_type(status, Some("text/plain; charset=utf-8"), Bytes::from_static(sentence.as_bytes()))
}

/// Returns a response of `content_type`; `None` for one without a body.
pub(super) fn with_type(status: StatusCode, content_type: Option<&'static str>, body: Bytes) -> HttpResponse {
    let mut answer = Response::new(Full::new(body).into());
    *answer.status_mut() = status;
    if let Some(content_type) = content_type {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    answer
}
