//! The web client, embedded in the program.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::response::{HttpResponse, plain, with_type};

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../../web"]
#[exclude = "test/*"]
#[exclude = "*.md"]
#[exclude = "package*.json"]
#[exclude = "node_modules/*"]
#[exclude = ".*"]
#[exclude = "*/.*"]
struct Web;

/// Security headers of a page, except its policy ([`policy`]).
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

/// Content-Security-Policy: own resources and the own host only.
///
/// Safari before 16 does not match `'self'` with a WebSocket of the same host (w3c/webappsec-csp#7) and throws, so the
/// names of the request's hosts are listed with both schemes. Hosts that a policy cannot express (an IPv6 address, an
/// invalid name) are left out.
fn policy(hosts: &[&str]) -> HeaderValue {
    let sockets: String =
        hosts.iter().filter(|host| is_source(host)).map(|host| format!(" ws://{host} wss://{host}")).collect();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'{sockets}; \
         manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("characters of host names make a header")
}

/// Returns true if `host` is a name or an IPv4 address, with or without a port.
fn is_source(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    !name.is_empty() && name.bytes().all(is_name) && is_port
}

/// Returns the file at `path`, or 304 if `If-None-Match` has its tag; `hosts` are the names the request was sent to.
pub(super) fn serve(path: &str, headers: &HeaderMap, hosts: &[&str]) -> HttpResponse {
    let name = match path.trim_start_matches('/') {
        "" => "index.html",
        name => name,
    };
    let Some(file) = Web::get(name) else {
        return plain(StatusCode::NOT_FOUND, "there is nothing here\n");
    };
    let tag = entity_tag(&file);
    let mut answer = if is_known(headers, &tag) {
        with_type(StatusCode::NOT_MODIFIED, None, Bytes::new())
    } else {
        with_type(StatusCode::OK, Some(content_type(name)), body(file))
    };
    answer.headers_mut().insert(ETAG, tag);
    with_page_headers(answer, hosts)
}

/// Adds the headers common to all pages.
pub(super) fn with_page_headers(mut answer: HttpResponse, hosts: &[&str]) -> HttpResponse {
    let headers = answer.headers_mut();
    for (name, value) in PAGE_HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert(CONTENT_SECURITY_POLICY, policy(hosts));
    // Revalidated on every load, mostly with 304: a page of a new version must never load scripts of an old one.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

fn body(file: EmbeddedFile) -> Bytes {
    match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }
}

/// Returns a strong entity tag: the first half of the file's SHA-256.
fn entity_tag(file: &EmbeddedFile) -> HeaderValue {
    use std::fmt::Write as _;
    let mut tag = String::from("\"");
    for byte in file.metadata.sha256_hash().iter().take(16) {
        let _infallible = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::try_from(tag).expect("hex digits in quotes make a header")
}

fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let tag = tag.to_str().unwrap_or_default();
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_lists_sockets_of_own_hosts() {
        for (hosts, want) in [
            (&["x"][..], "connect-src 'self' ws://x wss://x;"),
            (&["localhost:8765"], "connect-src 'self' ws://localhost:8765 wss://localhost:8765;"),
            (
                &["10.0.0.7:1", "a-b.example"],
                "connect-src 'self' ws://10.0.0.7:1 wss://10.0.0.7:1 ws://a-b.example wss://a-b.example;",
            ),
            (&[], "connect-src 'self';"),
            (&["[::1]:8765"], "connect-src 'self';"),
            (&["x; script-src *"], "connect-src 'self';"),
            (&["x *", "*", "x:", "x:*", ":1", "http://x", "'none'", "ñ"], "connect-src 'self';"),
        ] {
            let policy = policy(hosts);
            let policy = policy.to_str().unwrap();
            assert!(policy.contains(want), "{hosts:?}: {policy}");
            assert!(
                policy.starts_with("default-src 'none'; script-src 'self'; ")
                    && policy.matches("script-src").count() == 1
            );
        }
    }

    #[test]
    fn embeds_only_the_web_client() {
        let names: Vec<_> = Web::iter().collect();
        assert!(names.iter().any(|name| name == "index.html"), "{names:?}");
        for name in &names {
            assert!(!name.starts_with("test/") && !name.contains("package"), "{name} is no part of the page");
            assert!(!name.split('/').any(|part| part.starts_with('.')), "{name} is hidden");
            assert_ne!(content_type(name), "application/octet-stream", "{name} has no type");
        }
    }
}
