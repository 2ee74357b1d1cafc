//! Web client and health pages.

use std::collections::HashMap;

use limits::TrustedProxies;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::rig::{Rig, core_at, within};

struct Page {
    status: u16,
    headers: HashMap<String, String>,
    body: String,
}

async fn request(rig: &Rig, method: &str, path: &str, header: &str) -> Page {
    let mut stream = rig.tcp().await;
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let (status, headers) = head.split_once("\r\n").unwrap();
    let headers = headers.lines().filter_map(|line| line.split_once(": "));
    Page {
        status: status.split(' ').nth(1).unwrap().parse().unwrap(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: body.to_owned(),
    }
}

async fn get(rig: &Rig, path: &str) -> Page {
    request(rig, "GET", path, "").await
}

/// Returns the name of the script in a page.
fn script_name(page: &Page) -> &str {
    let (_, after) = page.body.split_once("<script src=\"").unwrap();
    after.split_once('"').unwrap().0
}

#[tokio::test]
async fn serves_web_client() {
    let rig = Rig::start().await;
    let page = get(&rig, "/").await;
    assert_eq!(page.status, 200);
    assert!(page.body.starts_with("<!doctype html>"));
    for (name, want) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-cache"),
        ("content-language", "es"),
        ("vary", "accept-encoding, accept-language, cookie"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(page.headers[name], want, "{name}");
    }
    let policy = &page.headers["content-security-policy"];
    for part in [
        "default-src 'none'; script-src 'self' 'sha256-",
        "; style-src 'sha256-",
        "; connect-src 'self' ws://x wss://x; ",
        "; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types default",
    ] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let permissions = &page.headers["permissions-policy"];
    assert!(permissions.contains("microphone=()"));
    // Names unknown to Chromium, which logs each of them.
    assert!(!permissions.contains("bluetooth") && !permissions.contains("web-share"), "{permissions}");
    assert_eq!(get(&rig, "/index.html?x=1").await.body, page.body);
    assert!(page.body.contains("<meta name=\"exit-url\" content=\"https://www.wikipedia.org/\">"), "the default");
    for (path, content_type) in [
        ("/favicon.svg", "image/svg+xml"),
        ("/manifest.webmanifest", "application/manifest+json"),
        ("/help-lines.json", "application/json"),
        ("/sw.js", "text/javascript; charset=utf-8"),
    ] {
        let file = get(&rig, path).await;
        assert_eq!((file.status, file.headers["content-type"].as_str()), (200, content_type), "{path}");
        let caching = if path == "/favicon.svg" { "public, max-age=86400" } else { "no-cache" };
        assert_eq!(file.headers["cache-control"], caching, "{path}");
    }
}

#[tokio::test]
async fn page_speaks_the_language_that_was_chosen() {
    let rig = Rig::start().await;
    for (path, header, code, words) in [
        ("/", "", "es", "¿Cómo te sentís hoy?"),
        ("/", "accept-language: en-GB,en;q=0.9,es;q=0.8\r\n", "en", "How are you feeling today?"),
        ("/", "accept-language: fr\r\n", "es", "¿Cómo te sentís hoy?"),
        ("/?lang=en", "accept-language: es\r\n", "en", "How are you feeling today?"),
        ("/", "accept-language: es\r\ncookie: psicoia_lang=en\r\n", "en", "How are you feeling today?"),
    ] {
        let page = request(&rig, "GET", path, header).await;
        assert_eq!(page.headers["content-language"], code, "{path} {header}");
        assert!(page.body.contains(&format!("<html lang=\"{code}\">")) && page.body.contains(words), "{path} {header}");
    }
}

#[tokio::test]
async fn parts_have_names_of_their_own_for_each_version() {
    let rig = Rig::start().await;
    let page = get(&rig, "/").await;
    let worker = get(&rig, "/sw.js").await;
    let (_, parts) = worker.body.split_once("const PARTS = \"").unwrap();
    let parts: Vec<&str> = parts.split('"').next().unwrap().split(' ').collect();
    assert_eq!((parts.len(), parts[0]), (4, script_name(&page)));
    for name in parts {
        let part = get(&rig, &format!("/{name}")).await;
        let content_type = if name.ends_with(".json") { "application/json" } else { "text/javascript; charset=utf-8" };
        assert_eq!((part.status, part.headers["content-type"].as_str()), (200, content_type), "{name}");
        assert_eq!(part.headers["cache-control"], "public, max-age=31536000, immutable", "{name}");
    }
}

#[tokio::test]
async fn script_has_a_name_of_its_own_for_each_version() {
    let rig = Rig::start().await;
    let page = get(&rig, "/").await;
    let name = script_name(&page);
    let script = get(&rig, &format!("/{name}")).await;
    assert_eq!((script.status, script.headers["cache-control"].as_str()), (200, "public, max-age=31536000, immutable"));
    assert!(script.body.starts_with("(() => {\n\"use strict\";\n"));
    // Another gateway behind the balancer has it, perhaps at the next request: no cache may keep the answer.
    let other = get(&rig, "/app.0123456789abcdef.js").await;
    assert_eq!((other.status, other.headers["cache-control"].as_str()), (404, "no-store"));
    let worker = get(&rig, "/sw.js").await;
    assert!(worker.body.contains(name) && worker.headers["content-security-policy"].contains("connect-src 'self'"));
    assert_eq!(worker.headers["service-worker-allowed"], "./");
}

#[tokio::test]
async fn files_are_sent_in_the_smallest_form_that_the_client_takes() {
    let rig = Rig::start().await;
    let name = format!("/{}", script_name(&get(&rig, "/").await));
    for path in ["/", &name, "/help-lines.json", "/sw.js"] {
        let plain = get(&rig, path).await;
        let mut tags = vec![plain.headers["etag"].clone()];
        for (accepted, encoding) in [("gzip, deflate, br", "br"), ("gzip", "gzip")] {
            let header = format!("accept-encoding: {accepted}\r\n");
            let head = request(&rig, "HEAD", path, &header).await;
            assert_eq!(head.headers["content-encoding"], encoding, "{path}");
            let length: usize = head.headers["content-length"].parse().unwrap();
            assert!(length * 2 < plain.body.len(), "{path}: {length} of {}", plain.body.len());
            let tag = &head.headers["etag"];
            let known = request(&rig, "GET", path, &format!("{header}if-none-match: {tag}\r\n")).await;
            assert_eq!((known.status, &known.headers["etag"]), (304, tag), "{path}");
            tags.push(tag.clone());
        }
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), 3, "{path}: each form has a tag of its own");
    }
    assert!(!request(&rig, "GET", "/", "accept-encoding: identity\r\n").await.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn revalidates_by_etag() {
    let rig = Rig::start().await;
    let page = get(&rig, "/").await;
    let tag = &page.headers["etag"];
    assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
    for (known, status) in [(tag.as_str(), 304), ("\"other\"", 200), ("*", 304)] {
        let again = request(&rig, "GET", "/", &format!("if-none-match: {known}\r\n")).await;
        assert_eq!((again.status, &again.headers["etag"]), (status, tag), "{known}");
        assert_eq!(again.body.is_empty(), status == 304);
    }
    let head = request(&rig, "HEAD", "/", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.headers["content-length"], page.body.len().to_string());
}

#[tokio::test]
async fn help_lines_need_no_script() {
    let rig = Rig::start().await;
    let page = get(&rig, "/ayuda").await;
    assert_eq!((page.status, page.headers["content-language"].as_str()), (200, "es"));
    assert!(!page.body.contains("<script") && page.body.len() < 20 * 1_024, "{} bytes", page.body.len());
    assert!(page.body.contains("<select") && page.body.contains("href=\"salir\" rel=\"noreferrer\""));
    assert!(page.headers["content-security-policy"].contains("form-action 'self'"));
    assert_eq!(page.headers["cache-control"], "private, max-age=86400");
    let own = get(&rig, "/ayuda?lang=es&country=AR").await;
    assert!(own.body.contains("href=\"tel:135\""), "{}", own.body);
    assert!(
        own.headers["set-cookie"].starts_with("psicoia_country=AR; ")
            || own.headers["set-cookie"].starts_with("psicoia_lang=es; ")
    );
    let again = request(&rig, "GET", "/help", "cookie: a=b; psicoia_country=AR\r\naccept-language: en\r\n").await;
    assert!(again.body.contains("href=\"tel:135\"") && again.body.contains("<html lang=\"en\">"));
    for path in ["/ayuda?country=", "/ayuda?country=XX", "/ayuda?country=%3Cscript%3E"] {
        let page = get(&rig, path).await;
        assert!(page.status == 200 && !page.headers.contains_key("set-cookie"), "{path}");
    }
}

#[tokio::test]
async fn pages_behind_tls_stay_there() {
    let rig = Rig::start().await;
    for path in ["/", "/ayuda", "/acerca"] {
        let page = request(&rig, "GET", path, "x-forwarded-proto: https\r\n").await;
        assert_eq!(page.headers["strict-transport-security"], "max-age=31536000", "{path}");
        assert!(!get(&rig, path).await.headers.contains_key("strict-transport-security"), "{path}");
    }
    let rig = Rig::start_with(|config| config.trusted_proxies = TrustedProxies::default()).await;
    let page = request(&rig, "GET", "/", "x-forwarded-proto: https\r\n").await;
    assert!(!page.headers.contains_key("strict-transport-security"), "only a trusted proxy is believed");
}

#[tokio::test]
async fn exit_leaves_nothing_behind() {
    let rig = Rig::start_with(|config| config.exit_url = "https://example.org/clima".to_owned()).await;
    for (site, clears) in
        [("sec-fetch-site: same-origin\r\n", true), ("sec-fetch-site: cross-site\r\n", false), ("", false)]
    {
        for path in ["/salir", "/exit"] {
            let exit = request(&rig, "GET", path, site).await;
            assert_eq!((exit.status, exit.headers["location"].as_str()), (303, "https://example.org/clima"), "{path}");
            assert_eq!(exit.headers["referrer-policy"], "no-referrer", "{path}");
            assert_eq!(exit.headers["cache-control"], "no-store", "{path}");
            assert_eq!(exit.headers.contains_key("clear-site-data"), clears, "{path} {site}");
        }
    }
}

#[tokio::test]
async fn serves_nothing_else() {
    let rig = Rig::start().await;
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/../Cargo.toml", 404),
        ("GET", "/%2e%2e/Cargo.toml", 404),
        ("GET", "//etc/passwd", 404),
        ("GET", "/js/", 404),
        ("GET", "/js/main.js", 404),
        ("GET", "/css/base.css", 404),
        ("GET", "/words/es.json", 404),
        ("GET", "/package.json", 404),
        ("GET", "/test/run.js", 404),
        ("GET", "/ws", 426),
        ("POST", "/", 405),
        ("DELETE", "/ws", 405),
    ] {
        let page = request(&rig, method, path, "content-length: 0\r\n").await;
        assert_eq!(page.status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn resume_cookie_round_trips() {
    let rig = Rig::start().await;
    let path = "/resume-token";
    let empty = get(&rig, path).await;
    assert_eq!((empty.status, empty.body.as_str()), (200, ""));
    let kept = request(&rig, "PUT", path, "origin: http://x\r\nx-resume: one.two\r\ncontent-length: 0\r\n").await;
    assert_eq!((kept.status, kept.headers["cache-control"].as_str()), (204, "no-store"));
    let cookie = &kept.headers["set-cookie"];
    let pair = cookie.split(';').next().unwrap();
    for (cookies, body) in [
        (pair, "one.two"),
        ("other=1; psicoia_resume=three; x=y", "three"),
        ("psicoia_resume=<script>", ""),
        ("psicoia_resume=", ""),
    ] {
        let known = request(&rig, "GET", path, &format!("cookie: {cookies}\r\n")).await;
        assert_eq!((known.status, known.body.as_str()), (200, body), "{cookies}");
        assert_eq!(known.headers["cross-origin-resource-policy"], "same-origin");
    }
    for method in ["GET", "PUT", "DELETE"] {
        let header = "origin: http://evil.example\r\nx-resume: one\r\ncontent-length: 0\r\n";
        assert_eq!(request(&rig, method, path, header).await.status, 403, "{method}");
    }
    let removed = request(&rig, "DELETE", path, "").await;
    assert!(removed.headers["set-cookie"].contains("Max-Age=0"), "{:?}", removed.headers);
    assert_eq!(request(&rig, "POST", path, "content-length: 0\r\n").await.status, 405);
}

#[tokio::test]
async fn health() {
    let rig = Rig::start().await;
    let page = get(&rig, "/healthz").await;
    assert_eq!((page.status, page.body.trim_end()), (200, "ok"));
    let page = get(&rig, "/readyz").await;
    assert_eq!((page.status, page.body.trim_end()), (200, "ready"));
    // The result is cached: the core sees one connection, which ends at once.
    for _ in 0..20 {
        assert_eq!(get(&rig, "/readyz").await.status, 200);
    }
    let mut probe = rig.raw_core().await;
    assert_eq!(within(probe.read(&mut [0; 16])).await.unwrap(), 0);
}

#[tokio::test]
async fn not_ready_without_a_core() {
    let rig = Rig::start_with(|config| config.cores = core_at(1)).await;
    let page = get(&rig, "/readyz").await;
    assert_eq!((page.status, page.body.trim_end()), (503, "no core answers"));
    assert_eq!(get(&rig, "/healthz").await.status, 200);
}

#[tokio::test]
async fn reports_draining_until_connections_close() {
    let rig = Rig::start().await;
    // A client that does not answer the close frame keeps the drain open.
    let (_client, _core) = rig.pair(None).await;
    rig.shutdown.cancel();
    let page = get(&rig, "/readyz").await;
    assert_eq!((page.status, page.body.trim_end()), (503, "draining"));
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let page = request(&rig, "GET", "/ws", upgrade).await;
    assert_eq!((page.status, page.headers["retry-after"].as_str()), (503, "1"));
}
