//! Frame of the pages without scripts: about the service, and help lines.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_LANGUAGE, HeaderValue, VARY};
use page_bundle::escaped;
use protocol::Language;

use super::response::{HttpResponse, with_type};
use super::web::{GUIDE_STYLE, word};
use super::{assets, policy};

/// Kept by the browser for a day, so that it opens without a connection too. Copies differ by the choice of
/// language and country, which is in the address or in a cookie.
const KEPT: HeaderValue = HeaderValue::from_static("private, max-age=86400");

/// Link of the head to another page, in the same language.
#[derive(Debug)]
pub(super) struct Link {
    path: &'static str,
    words: &'static str,
}

impl Link {
    pub(super) const fn new(path: &'static str, words: &'static str) -> Self {
        Self { path, words }
    }
}

/// A page; `main` is HTML.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) language: Language,
    pub(super) title: &'static str,
    pub(super) links: Vec<Link>,
    pub(super) main: String,
}

impl Document {
    /// Returns the response.
    pub(super) fn answer(&self) -> HttpResponse {
        let answer = with_type(StatusCode::OK, Some("text/html; charset=utf-8"), Bytes::from(self.html()));
        let mut answer = assets::with_page_headers(answer, policy::guide());
        let headers = answer.headers_mut();
        headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static(self.language.code()));
        headers.insert(VARY, HeaderValue::from_static("accept-language, cookie"));
        headers.insert(CACHE_CONTROL, KEPT);
        answer
    }

    /// Returns the page's HTML. Its addresses are relative: a proxy may serve the page below a path.
    pub(super) fn html(&self) -> String {
        let code = self.language.code();
        let (other, other_name) = match self.language {
            Language::English => ("es", "Castellano"),
            Language::Spanish => ("en", "English"),
        };
        let links: String = self
            .links
            .iter()
            .map(|Link { path, words }| format!("<a href=\"{path}?lang={code}\">{}</a> ", escaped(words)))
            .collect();
        format!(
            r#"<!doctype html>
<html lang="{code}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title} · PsicoIA</title>
<link rel="icon" href="favicon.svg" type="image/svg+xml">
<style>{GUIDE_STYLE}</style>
</head>
<body class="guide">
<nav><a href="./">{chat}</a> {links}<a href="?lang={other}" lang="{other}" hreflang="{other}">{other_name}</a> <a class="exit" href="salir" rel="noreferrer">{exit}</a></nav>
<main>
<h1>{title}</h1>
{main}</main>
</body>
</html>
"#,
            title = escaped(self.title),
            chat = word(self.language, "page_chat"),
            exit = word(self.language, "page_exit"),
            main = self.main,
        )
    }
}
