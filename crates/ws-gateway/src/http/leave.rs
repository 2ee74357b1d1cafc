//! Quick exit without a script: `/salir` and `/exit`.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY};

use super::response::{HttpResponse, with_type};

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns true if `path` is the exit.
pub(super) fn is_at(path: &str) -> bool {
    matches!(path, "/salir" | "/exit")
}

/// Sends the browser to `exit_url`; what the pages stored there is removed. Only for a link of the pages themselves: one
/// elsewhere must not take the way back to a conversation from a person.
pub(super) fn answer(headers: &HeaderMap, exit_url: &HeaderValue) -> HttpResponse {
    let mut answer = with_type(StatusCode::SEE_OTHER, None, Bytes::new());
    let answer_headers = answer.headers_mut();
    answer_headers.insert(LOCATION, exit_url.clone());
    answer_headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer_headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-origin") {
        answer_headers.insert(CLEAR_SITE_DATA, HeaderValue::from_static("\"cache\", \"cookies\", \"storage\""));
    }
    answer
}
