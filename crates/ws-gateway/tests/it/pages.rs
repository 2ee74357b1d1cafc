//! Web client and health pages.

use std::collections::HashMap;

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

#[tokio::test]
async fn serves_web_client() {
    let rig = Rig::start().await;
    let page = get(&rig, "/").await;
    assert_eq!(page.status, 200);
    assert!(page.body.starts_with("<!doctype html>") || page.body.starts_with("<!DOCTYPE html>"));
    for (name, want) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-cache"),
        (
            "content-security-policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws://x wss://x; \
             manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(page.headers[name], want, "{name}");
    }
    let permissions = &page.headers["permissions-policy"];
    assert!(permissions.contains("microphone=()"));
    // Names unknown to Chromium, which logs each of them.
    assert!(!permissions.contains("bluetooth") && !permissions.contains("web-share"), "{permissions}");
    assert_eq!(get(&rig, "/index.html?x=1").await.body, page.body);
    assert_eq!(get(&rig, "/favicon.svg").await.headers["content-type"], "image/svg+xml");
    assert_eq!(get(&rig, "/manifest.webmanifest").await.headers["content-type"], "application/manifest+json");
    assert_eq!(get(&rig, "/help-lines.json").await.headers["content-type"], "application/json");
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
async fn serves_nothing_else() {
    let rig = Rig::start().await;
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/../Cargo.toml", 404),
        ("GET", "/%2e%2e/Cargo.toml", 404),
        ("GET", "//etc/passwd", 404),
        ("GET", "/js/", 404),
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
