//! Cookie that backs up the page's resume tokens.
//!
//! Safari deletes script-written storage after seven days without a visit, but keeps cookies set by a response. The
//! cookie authorises nothing: the page reads it here and sends the token in its `hello`. It is scoped to this path, so
//! no upgrade or other file carries it, and it is never logged.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, ORIGIN, SET_COOKIE};
use hyper::{Method, Request, Response, StatusCode};

use super::negotiation::cookie;
use super::response::{HttpResponse, plain, with_type};

/// Path at which the page stores, reads and deletes its tokens.
pub(super) const PATH: &str = "/resume-token";

const COOKIE_NAME: &str = "psicoia_resume";
/// Tokens of a `PUT`, joined by [`SEPARATOR`]. A custom header: a page of another origin cannot send it without a
/// preflight.
const X_RESUME: HeaderName = HeaderName::from_static("x-resume");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// Occurs in no token and needs no escaping in a cookie.
const SEPARATOR: char = '.';
/// The current token and the latest earlier ones.
const MAX_TOKENS: usize = 4;
/// Maximum length of `hello.resume`.
const MAX_TOKEN_CHARS: usize = 128;
/// 400 days, the longest lifetime that browsers allow. Each visit restarts it.
const MAX_AGE_SECONDS: u32 = 34_560_000;

/// Answers a request for [`PATH`]; `allowed` is the result of the origin check.
pub(super) fn answer<B>(request: &Request<B>, allowed: bool) -> HttpResponse {
    let headers = request.headers();
    if !allowed || is_foreign(headers) {
        return plain(StatusCode::FORBIDDEN, "pages of this origin may not ask for this\n");
    }
    let mut answer = match *request.method() {
        Method::GET | Method::HEAD => read(headers),
        Method::PUT => keep(headers),
        Method::DELETE => set_cookie("", 0, headers),
        _ => not_allowed(),
    };
    let answer_headers = answer.headers_mut();
    answer_headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer_headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    answer
}

/// Returns true if Fetch Metadata names another site, or an address typed by hand. Older browsers send none; for them
/// the same-origin policy hides the response.
fn is_foreign(headers: &HeaderMap) -> bool {
    headers.get(SEC_FETCH_SITE).is_some_and(|site| site != "same-origin")
}

fn read(headers: &HeaderMap) -> HttpResponse {
    let value = cookie(headers, COOKIE_NAME);
    let value = value.filter(|value| tokens(value).is_some()).unwrap_or_default();
    with_type(StatusCode::OK, Some("text/plain"), value.to_owned().into())
}

fn keep(headers: &HeaderMap) -> HttpResponse {
    let value = headers.get(X_RESUME).and_then(|value| value.to_str().ok());
    match value.filter(|value| tokens(value).is_some()) {
        Some(value) => set_cookie(value, MAX_AGE_SECONDS, headers),
        None => plain(StatusCode::BAD_REQUEST, "x-resume must hold resume tokens\n"),
    }
}

/// Returns the tokens of `value`; `None` if it is no list of valid tokens.
fn tokens(value: &str) -> Option<Vec<&str>> {
    let is_token = |token: &&str| {
        (1..=MAX_TOKEN_CHARS).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    let tokens: Vec<&str> = value.split(SEPARATOR).collect();
    (tokens.len() <= MAX_TOKENS && tokens.iter().all(is_token)).then_some(tokens)
}

fn set_cookie(value: &str, max_age: u32, headers: &HeaderMap) -> HttpResponse {
    // Browsers send `Origin` with every unsafe request. Over plain HTTP they would reject a `Secure` cookie.
    let encrypted = headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let secure = if encrypted { "; Secure" } else { "" };
    let cookie = format!("{COOKIE_NAME}={value}; Path={PATH}; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}");
    let mut answer = Response::new(Full::new(Bytes::new()).into());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let mut cookie = HeaderValue::try_from(cookie).expect("characters of tokens make a header");
    cookie.set_sensitive(true);
    answer.headers_mut().insert(SET_COOKIE, cookie);
    answer
}

fn not_allowed() -> HttpResponse {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET, PUT and DELETE are served here\n");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, PUT, DELETE"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: Method, headers: &[(&str, &str)]) -> (StatusCode, Option<String>) {
        let mut request = Request::builder().method(method).uri(PATH);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = answer(&request.body(()).unwrap(), true);
        let cookie = answer.headers().get(SET_COOKIE).map(|value| value.to_str().unwrap().to_owned());
        (answer.status(), cookie)
    }

    #[test]
    fn accepts_only_token_lists() {
        let long = "a".repeat(129);
        let cases = [
            ("rt_6Jm0x-1QdPq", StatusCode::NO_CONTENT),
            ("one.two.three.four", StatusCode::NO_CONTENT),
            ("one.two.three.four.five", StatusCode::BAD_REQUEST),
            (long.as_str(), StatusCode::BAD_REQUEST),
            ("", StatusCode::BAD_REQUEST),
            ("one..two", StatusCode::BAD_REQUEST),
            ("a; Domain=example.org", StatusCode::BAD_REQUEST),
            ("a b", StatusCode::BAD_REQUEST),
            ("ñ", StatusCode::BAD_REQUEST),
        ];
        for (value, status) in cases {
            let (got, cookie) = ask(Method::PUT, &[("x-resume", value)]);
            assert_eq!((got, cookie.is_some()), (status, status == StatusCode::NO_CONTENT), "{value}");
        }
        assert_eq!(ask(Method::PUT, &[]).0, StatusCode::BAD_REQUEST);
        assert_eq!(ask(Method::POST, &[("x-resume", "one")]).0, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn scopes_the_cookie_to_its_path() {
        let plain = "psicoia_resume=one.two; Path=/resume-token; Max-Age=34560000; HttpOnly; SameSite=Strict";
        for (origin, want) in [("http://x:8765", plain.to_owned()), ("https://x", format!("{plain}; Secure"))] {
            let (_, cookie) = ask(Method::PUT, &[("x-resume", "one.two"), ("origin", origin)]);
            assert_eq!(cookie, Some(want), "{origin}");
        }
        let (_, cookie) = ask(Method::DELETE, &[]);
        assert_eq!(cookie.unwrap(), "psicoia_resume=; Path=/resume-token; Max-Age=0; HttpOnly; SameSite=Strict");
    }

    #[test]
    fn rejects_other_sites() {
        for (site, status) in [
            ("same-origin", StatusCode::OK),
            ("same-site", StatusCode::FORBIDDEN),
            ("cross-site", StatusCode::FORBIDDEN),
            ("none", StatusCode::FORBIDDEN),
        ] {
            let got = ask(Method::GET, &[("sec-fetch-site", site), ("cookie", "psicoia_resume=one")]).0;
            assert_eq!(got, status, "{site}");
        }
    }
}
