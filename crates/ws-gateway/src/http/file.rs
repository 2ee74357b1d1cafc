//! A file in several encodings.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY};
use page_bundle::{brotli, entity_tag, gzip};

use super::negotiation::{Encoding, encoding};
use super::response::{HttpResponse, with_type};

/// Brotli's quality at the start: the best takes ten times as long for a thirtieth of the size.
const START_QUALITY: u8 = 9;

/// How long a client may keep a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caching {
    /// Its name changes with its content.
    Forever,
    /// A day: an icon.
    Daily,
    /// Revalidated on every load, mostly with 304.
    Revalidated,
}

impl Caching {
    fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Forever => "public, max-age=31536000, immutable",
            Self::Daily => "public, max-age=86400",
            Self::Revalidated => "no-cache",
        })
    }
}

/// A file with its compressed forms.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: &'static str,
    content_type: &'static str,
    /// Strong entity tag of the uncompressed form, in quotes.
    pub(super) tag: Cow<'static, str>,
    caching: Caching,
    pub(super) plain: Bytes,
    brotli: Option<Bytes>,
    gzip: Option<Bytes>,
}

/// `Option::map`, which a constant cannot call.
const fn bytes(bytes: Option<&'static [u8]>) -> Option<Bytes> {
    match bytes {
        Some(bytes) => Some(Bytes::from_static(bytes)),
        None => None,
    }
}

impl File {
    /// Takes what `build.rs` made: plain, brotli, gzip.
    pub(super) const fn new(
        (name, content_type): (&'static str, &'static str),
        (tag, caching): (&'static str, Caching),
        plain: &'static [u8],
        brotli: Option<&'static [u8]>,
        gzip: Option<&'static [u8]>,
    ) -> Self {
        Self {
            name,
            content_type,
            tag: Cow::Borrowed(tag),
            caching,
            plain: Bytes::from_static(plain),
            brotli: bytes(brotli),
            gzip: bytes(gzip),
        }
    }

    /// Compresses `text`, which the settings have a part in.
    pub(super) fn of_text(name: &'static str, content_type: &'static str, text: String) -> Self {
        let (brotli, gzip) = (brotli(text.as_bytes(), START_QUALITY), gzip(text.as_bytes()));
        Self {
            name,
            content_type,
            tag: Cow::Owned(entity_tag(text.as_bytes())),
            caching: Caching::Revalidated,
            plain: text.into(),
            brotli: Some(brotli.into()),
            gzip: Some(gzip.into()),
        }
    }

    /// Answers with the smallest form that the client takes, or 304 if it has that.
    pub(super) fn answer(&self, headers: &HeaderMap) -> HttpResponse {
        let taken = encoding(headers);
        let compressed = match taken {
            Some(Encoding::Brotli) => &self.brotli,
            Some(Encoding::Gzip) => &self.gzip,
            None => &None,
        };
        let encoding = taken.filter(|_| compressed.is_some());
        // Each form has a tag of its own.
        let tag = encoding.map_or_else(
            || self.tag.clone().into_owned(),
            |encoding| self.tag.replacen('"', &format!("\"{}-", encoding.name()), 1),
        );
        let mut answer = if is_known(headers, &tag) {
            with_type(StatusCode::NOT_MODIFIED, None, Bytes::new())
        } else {
            let body = compressed.as_ref().unwrap_or(&self.plain).clone();
            with_type(StatusCode::OK, Some(self.content_type), body)
        };
        let answer_headers = answer.headers_mut();
        if let Some(encoding) = encoding {
            answer_headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
        }
        if self.brotli.is_some() {
            answer_headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        answer_headers.insert(ETAG, HeaderValue::try_from(tag).expect("hex digits in quotes make a header"));
        answer_headers.insert(CACHE_CONTROL, self.caching.header());
        answer
    }
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}
