//! Content negotiation: language, encoding, and what a person chose before.

use hyper::Uri;
use hyper::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, COOKIE, HeaderMap, HeaderName, HeaderValue};
use protocol::Language;

/// Cookie with the language that the person chose; the page's script writes it too (`web/js/cookies.js`).
pub(super) const LANGUAGE_COOKIE: &str = "psicoia_lang";
/// A year.
const CHOICE_SECONDS: u32 = 31_536_000;
/// Languages of the pages, in the order in which they are offered.
const LANGUAGES: [Language; 2] = [Language::Spanish, Language::English];

/// Compressed form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Brotli,
    Gzip,
}

impl Encoding {
    /// Returns the name in `Content-Encoding`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// Returns the smallest encoding that the client takes.
pub(super) fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let takes = |encoding: &Encoding| {
        weighted(headers, &ACCEPT_ENCODING).any(|(name, weight)| name == encoding.name() && 0.0 < weight)
    };
    [Encoding::Brotli, Encoding::Gzip].into_iter().find(takes)
}

/// Returns the language of a page: that of `?lang=`, else the one chosen before, else that of `Accept-Language`.
pub(super) fn language(uri: &Uri, headers: &HeaderMap) -> Option<Language> {
    let chosen = || cookie(headers, LANGUAGE_COOKIE).and_then(language_of);
    chosen_language(uri).or_else(chosen).or_else(|| preferred(headers))
}

/// Returns the language of `?lang=`.
pub(super) fn chosen_language(uri: &Uri) -> Option<Language> {
    query(uri, "lang").and_then(language_of)
}

/// Returns the value of a query parameter, as it was sent.
pub(super) fn query<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?
        .split('&')
        .find_map(|field| field.split_once('=').filter(|(key, _)| *key == name))
        .map(|(_, value)| value)
}

/// Returns the value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Returns a cookie that remembers a choice: for pages of this site, also for a link to them, and readable by the page.
pub(super) fn remembered(name: &str, value: &str) -> HeaderValue {
    let cookie = format!("{name}={value}; Max-Age={CHOICE_SECONDS}; SameSite=Lax");
    HeaderValue::try_from(cookie).expect("codes of languages and countries make a header")
}

/// Negotiates the language by `Accept-Language` (RFC 9110, section 12.5.4).
fn preferred(headers: &HeaderMap) -> Option<Language> {
    let ranges = weighted(headers, &ACCEPT_LANGUAGE).filter_map(|(tag, weight)| Some((language_of(tag)?, weight)));
    // Of equal weights the first counts.
    let best =
        ranges.filter(|(_, weight)| 0.0 < *weight).reduce(|one, other| if one.1 < other.1 { other } else { one });
    best.map(|(language, _)| language)
}

/// Returns the values of an `Accept` header with their weights; a value whose weight is no number is left out.
fn weighted<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = (&'a str, f32)> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|range| {
        let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
        let weight = match parameters.trim().strip_prefix("q=") {
            Some(weight) => weight.trim().parse::<f32>().ok()?,
            None => 1.0,
        };
        Some((tag.trim(), weight))
    })
}

/// Returns the language of a tag such as `es-AR`.
fn language_of(tag: &str) -> Option<Language> {
    let primary = tag.split('-').next().unwrap_or_default();
    LANGUAGES.into_iter().find(|language| primary.eq_ignore_ascii_case(language.code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn languages() {
        for (accept, want) in [
            ("es", Some(Language::Spanish)),
            ("en-GB,en;q=0.9,es;q=0.8", Some(Language::English)),
            ("fr-FR, es-AR;q=0.5, en;q=0.4", Some(Language::Spanish)),
            ("en;q=0.2, ES-mx;q=0.3", Some(Language::Spanish)),
            ("en;q=0, es;q=0.1", Some(Language::Spanish)),
            ("fr, *;q=0.5", None),
            ("en;q=x", None),
            ("", None),
        ] {
            assert_eq!(preferred(&headers(ACCEPT_LANGUAGE, accept)), want, "{accept}");
        }
    }

    #[test]
    fn a_choice_goes_before_the_browser() {
        let mut headers = headers(ACCEPT_LANGUAGE, "es");
        headers.insert(COOKIE, HeaderValue::from_static("a=b; psicoia_lang=en"));
        assert_eq!(language(&Uri::from_static("/"), &headers), Some(Language::English));
        assert_eq!(language(&Uri::from_static("/?x=1&lang=es"), &headers), Some(Language::Spanish));
        assert_eq!(language(&Uri::from_static("/?lang=xx"), &headers), Some(Language::English));
    }

    #[test]
    fn encodings() {
        for (accept, want) in [
            ("gzip, deflate, br", Some(Encoding::Brotli)),
            ("gzip;q=1.0, br;q=0", Some(Encoding::Gzip)),
            ("identity", None),
            ("", None),
        ] {
            assert_eq!(encoding(&headers(ACCEPT_ENCODING, accept)), want, "{accept}");
        }
    }
}
