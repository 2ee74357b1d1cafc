//! The web client, embedded in the program.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::response::{Answer, plain, with_type};

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../../web"]
#[exclude = "test/*"]
#[exclude = "*.md"]
#[exclude = "package*.json"]
#[exclude = "node_modules/*"]
#[exclude = ".*"]
#[exclude = "*/.*"]
struct Web;

/// What a page may do: load its own files and talk to its own host, nothing else.
const PAGE_HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    (
        "permissions-policy",
        "accelerometer=(), autoplay=(), bluetooth=(), camera=(), display-capture=(), encrypted-media=(), fullscreen=(), \
         geolocation=(), gyroscope=(), hid=(), idle-detection=(), local-fonts=(), magnetometer=(), microphone=(), midi=(), \
         payment=(), picture-in-picture=(), publickey-credentials-get=(), screen-wake-lock=(), serial=(), usb=(), \
         web-share=(), xr-spatial-tracking=()",
    ),
];

/// The file at `path`, or 304 when the browser has it already.
pub(super) fn serve(path: &str, headers: &HeaderMap) -> Answer {
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
    let answer_headers = answer.headers_mut();
    for (name, value) in PAGE_HEADERS {
        answer_headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    // Asked again each time, answered by 304: a new gateway's page never meets an old one's scripts.
    answer_headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer_headers.insert(ETAG, tag);
    answer
}

fn body(file: EmbeddedFile) -> Bytes {
    match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }
}

/// A strong tag: the first half of the file's SHA-256.
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
    fn what_is_embedded() {
        let names: Vec<_> = Web::iter().collect();
        assert!(names.iter().any(|name| name == "index.html"), "{names:?}");
        for name in &names {
            assert!(!name.starts_with("test/") && !name.contains("package"), "{name} is no part of the page");
            assert!(!name.split('/').any(|part| part.starts_with('.')), "{name} is hidden");
            assert_ne!(content_type(name), "application/octet-stream", "{name} has no type");
        }
    }
}
