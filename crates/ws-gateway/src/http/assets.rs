//! The web client: files bundled when the program is built (`build.rs`), pages finished when it starts.

use hyper::header::{
    CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, VARY,
};
use hyper::{StatusCode, Uri};
use page_bundle::{escaped, hash_digits};
use protocol::Language;

use super::file::File;
use super::negotiation::language;
use super::response::{HttpResponse, plain};
use super::{policy, web};

/// Place of the exit's address in a page, up to the address itself.
const EXIT_URL: &str = "<meta name=\"exit-url\" content=\"";
/// Places in the worker's script.
const WORKER_VERSION: &str = "{version}";
const WORKER_PARTS: &str = "{parts}";
const HTML: &str = "text/html; charset=utf-8";
/// A file of another version may be there at the next request: a balancer sends it to another gateway.
const NOT_KEPT: HeaderValue = HeaderValue::from_static("no-store");
const SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");

/// Security headers of all pages and files, except the content security policy.
const PAGE_HEADERS: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    (
        "permissions-policy",
        "accelerometer=(), autoplay=(), camera=(), display-capture=(), encrypted-media=(), fullscreen=(), geolocation=(), \
         gyroscope=(), hid=(), idle-detection=(), local-fonts=(), magnetometer=(), microphone=(), midi=(), payment=(), \
         picture-in-picture=(), publickey-credentials-get=(), screen-wake-lock=(), serial=(), usb=(), \
         xr-spatial-tracking=()",
    ),
];

/// The page with the settings of this gateway.
#[derive(Debug)]
pub(super) struct WebClient {
    /// In the order of [`web::PAGES`].
    pages: Vec<(&'static str, File)>,
    worker: File,
}

impl WebClient {
    /// Finishes the pages.
    pub(super) fn new(exit_url: &str) -> Self {
        let pages: Vec<String> = web::PAGES.iter().map(|page| with_exit(page.html, exit_url)).collect();
        // All that the worker keeps: another page or another list of lines is another version.
        let kept: Vec<&str> =
            web::FILES.iter().map(|file| &*file.tag).chain(pages.iter().map(String::as_str)).collect();
        let version = hash_digits(&kept.concat());
        let worker = web::WORKER.replace(WORKER_VERSION, &version).replace(WORKER_PARTS, &web::PART_NAMES.join(" "));
        let pages =
            web::PAGES.iter().zip(pages).map(|(page, html)| (page.code, File::of_text("index.html", HTML, html)));
        Self { pages: pages.collect(), worker: File::of_text("sw.js", "text/javascript; charset=utf-8", worker) }
    }

    /// Returns the file at `uri`; `hosts` are the names that the request was sent to.
    pub(super) fn serve(&self, uri: &Uri, headers: &HeaderMap, hosts: &[&str]) -> HttpResponse {
        let name = uri.path().trim_start_matches('/');
        match name {
            "" | "index.html" => self.page(uri, headers, hosts),
            name if name == self.worker.name => {
                let mut answer = with_page_headers(self.worker.answer(headers), policy::worker());
                answer.headers_mut().insert(SERVICE_WORKER_ALLOWED, HeaderValue::from_static("./"));
                answer
            }
            name => match web::FILES.iter().find(|file| file.name == name) {
                Some(file) => with_page_headers(file.answer(headers), policy::file()),
                None => not_found(),
            },
        }
    }

    fn page(&self, uri: &Uri, headers: &HeaderMap, hosts: &[&str]) -> HttpResponse {
        let chosen = language(uri, headers).unwrap_or(Language::Spanish);
        let page = self.pages.iter().find(|(code, _)| *code == chosen.code());
        let Some((code, page)) = page else { return not_found() };
        let mut answer = with_page_headers(page.answer(headers), policy::page(hosts));
        answer.headers_mut().insert(CONTENT_LANGUAGE, HeaderValue::from_static(code));
        answer.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding, accept-language, cookie"));
        answer
    }
}

/// Returns the page with this address in place of the one it has.
fn with_exit(html: &str, exit_url: &str) -> String {
    let places = html.split_once(EXIT_URL).and_then(|(before, rest)| Some((before, rest.split_once('"')?.1)));
    let (before, after) = places.expect("web/index.html names the exit");
    format!("{before}{EXIT_URL}{}\"{after}", escaped(exit_url))
}

fn not_found() -> HttpResponse {
    let mut answer = plain(StatusCode::NOT_FOUND, "there is nothing here\n");
    answer.headers_mut().insert(CACHE_CONTROL, NOT_KEPT);
    with_page_headers(answer, policy::file())
}

/// Adds the headers common to all pages and files.
pub(super) fn with_page_headers(mut answer: HttpResponse, policy: HeaderValue) -> HttpResponse {
    let headers = answer.headers_mut();
    for (name, value) in PAGE_HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_is_part_of_the_page_and_of_the_worker_version() {
        let (one, other) = (WebClient::new("https://a.example/?b=1&c=2"), WebClient::new("https://b.example/"));
        let html = str::from_utf8(&one.pages[0].1.plain).unwrap();
        assert!(html.contains("<meta name=\"exit-url\" content=\"https://a.example/?b=1&amp;c=2\">"));
        assert_ne!(one.worker.tag, other.worker.tag);
        assert_eq!(one.worker.tag, WebClient::new("https://a.example/?b=1&c=2").worker.tag);
        let worker = str::from_utf8(&one.worker.plain).unwrap();
        assert!(
            web::PART_NAMES.iter().all(|name| worker.contains(name))
                && !worker.contains(WORKER_VERSION)
                && !worker.contains(WORKER_PARTS)
        );
    }
}
