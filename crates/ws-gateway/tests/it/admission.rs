//! Admission: origins, addresses, limits, slow clients.

use std::time::Duration;

use limits::TrustedProxies;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Error;
use ws_gateway::OriginPolicy;

use crate::rig::{Rig, within};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Returns the response status of an upgrade with `headers`.
async fn status(rig: &Rig, headers: &[(&'static str, &'static str)]) -> u16 {
    match rig.request("/ws", headers).await {
        Ok((_client, response)) => response.status().as_u16(),
        Err(error) => match *error {
            Error::Http(response) => response.status().as_u16(),
            other => panic!("{other}"),
        },
    }
}

#[tokio::test]
async fn origins() {
    let same_host = Rig::start().await;
    let listed = Rig::start_with(|config| config.origins = OriginPolicy::parse("https://example.org").unwrap()).await;
    let any = Rig::start_with(|config| config.origins = OriginPolicy::parse("*").unwrap()).await;
    let distrustful = Rig::start_with(|config| config.trusted_proxies = TrustedProxies::default()).await;
    let own: &'static str = format!("http://{}", same_host.address).leak();
    let example = ("origin", "https://example.org");
    let behind_proxy = [example, ("x-forwarded-host", "example.org")];
    type Case<'a> = (&'a Rig, &'a [(&'static str, &'static str)], u16);
    let cases: &[Case<'_>] = &[
        (&same_host, &[], 101),
        (&same_host, &[("origin", own)], 101),
        (&same_host, &[example], 403),
        (&same_host, &[("origin", "null")], 403),
        (&same_host, &[("origin", own), example], 403),
        (&same_host, &behind_proxy, 101),
        (&distrustful, &behind_proxy, 403),
        (&listed, &[example], 101),
        (&listed, &[("origin", own)], 403),
        (&any, &[("origin", "null")], 101),
    ];
    for (index, (rig, headers, want)) in cases.iter().enumerate() {
        assert_eq!(status(rig, headers).await, *want, "case {index}: {headers:?}");
    }
}

#[tokio::test]
async fn forwards_client_address_and_trace() {
    let headers = [("x-forwarded-for", "6.6.6.6, 203.0.113.9"), ("traceparent", TRACEPARENT)];
    let rig = Rig::start().await;
    let (_client, response) = rig.request("/ws", &headers).await.unwrap();
    assert_eq!(response.headers()["x-trace-id"], "0af7651916cd43dd8448eb211c80319c");
    let header = rig.core().await.header;
    assert_eq!(header.source.unwrap().to_string(), "203.0.113.9:0");
    let trace = header.trace.unwrap();
    assert_eq!(trace.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_ne!(trace.span_id, 0xb7ad_6b71_6920_3331, "a child of the proxy's span");

    let rig = Rig::start_with(|config| config.trusted_proxies = TrustedProxies::default()).await;
    let _client = rig.request("/ws", &headers).await.unwrap();
    let header = rig.core().await.header;
    assert_eq!(header.source.unwrap().ip().to_string(), "127.0.0.1");
    assert_ne!(header.trace.unwrap().trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
}

#[tokio::test]
async fn limits_connections() {
    let rig = Rig::start_with(|config| {
        config.max_connections = 3;
        config.max_connections_per_address = 2;
    })
    .await;
    let from = |address| [("x-forwarded-for", address)];
    let mut open = Vec::new();
    for (address, room) in [("203.0.113.1", true), ("203.0.113.1", true), ("203.0.113.1", false), ("203.0.113.2", true)]
    {
        let (mut client, _) = rig.request("/ws", &from(address)).await.unwrap();
        if room {
            open.push((client, rig.core().await));
        } else {
            assert_eq!(client.closed().await, (1013, "too_many_connections".to_owned()));
        }
    }
    let (mut refused, _) = rig.request("/ws", &from("203.0.113.3")).await.unwrap();
    assert_eq!(refused.closed().await, (1013, "too_many_connections".to_owned()));
    // A released permit can be acquired again.
    let (mut client, mut core) = open.remove(0);
    core.say("\u{4}bye\n").await;
    drop(core);
    assert_eq!(client.closed().await.0, 1000);
    let (mut client, _) = rig.request("/ws", &from("203.0.113.3")).await.unwrap();
    let mut core = rig.core().await;
    core.say("hola\n").await;
    assert_eq!(client.text().await, "hola");
}

#[tokio::test]
async fn rate_limits_connects() {
    let rig = Rig::start_with(|config| config.connects.events = 2).await;
    let from = |address| [("x-forwarded-for", address)];
    for (address, want) in [
        ("203.0.113.1", 101),
        ("203.0.113.1", 101),
        ("203.0.113.1", 429),
        ("203.0.113.2", 101),
        ("2001:db8::1", 101),
        ("2001:db8::2", 101),
        ("2001:db8::3", 429),
        ("2001:db8:0:1::3", 101),
    ] {
        assert_eq!(status(&rig, &from(address)).await, want, "{address}");
    }
    let refused = match rig.request("/ws", &from("203.0.113.1")).await.err().map(|error| *error) {
        Some(Error::Http(response)) => response,
        other => panic!("{other:?}"),
    };
    let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    // Pages and upgrades rejected for other reasons are not counted.
    for _ in 0..5 {
        assert_eq!((rig.status("/").await, rig.status("/healthz").await), (200, 200));
        assert_eq!(status(&rig, &[("origin", "null")]).await, 403);
    }
    assert_eq!(status(&rig, &[]).await, 101);
}

#[tokio::test]
async fn drops_connections_beyond_hard_cap() {
    let rig = Rig::start_with(|config| config.max_connections = 1).await;
    let mut held = Vec::new();
    let dropped = loop {
        let mut stream = rig.tcp().await;
        // An accepted socket gets a response, a dropped one the end of the stream.
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        if within(stream.read(&mut [0; 512])).await.unwrap_or(0) == 0 {
            break held.len();
        }
        held.push(stream);
    };
    assert_eq!(dropped, 129, "one WebSocket's place and the spare ones");
}

#[tokio::test]
async fn times_out_slow_handshake() {
    let rig = Rig::start_with(|config| config.handshake_limit = Duration::from_millis(200)).await;
    for beginning in ["", "GET /ws HTTP/1.1\r\nhost: x\r\nupgr"] {
        let mut stream = rig.tcp().await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        assert!(!answer.starts_with(b"HTTP/1.1 101"), "{beginning:?}");
    }
    // A connection that was answered once must not stay open for ever either.
    let mut stream = rig.tcp().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    within(stream.read_to_end(&mut Vec::new())).await.unwrap();
}

#[tokio::test]
async fn silent_peer_does_not_block_accept() {
    let rig = Rig::start().await;
    let _silent = [rig.tcp().await, rig.tcp().await, rig.tcp().await];
    let (mut client, mut core) = rig.pair(None).await;
    client.send("hola").await;
    assert_eq!(core.line().await, "hola");
}

#[tokio::test]
async fn limits_request_head() {
    let rig = Rig::start().await;
    let mut stream = rig.tcp().await;
    let head = format!("GET /ws HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(64 * 1_024));
    // The rest may meet a reset.
    let _reset = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _reset = within(stream.read_to_end(&mut answer)).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "), "{}", answer.escape_ascii());
}

#[tokio::test]
async fn rejects_invalid_upgrades() {
    let rig = Rig::start().await;
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let cases = [
        (format!("sec-websocket-version: 13\r\n{key}"), 101),
        (format!("sec-websocket-version: 8\r\n{key}"), 426),
        (key.to_owned(), 426),
        ("sec-websocket-version: 13\r\n".to_owned(), 400),
        ("sec-websocket-version: 13\r\nsec-websocket-key: short\r\n".to_owned(), 400),
    ];
    for (headers, want) in cases {
        let mut stream = rig.tcp().await;
        let request =
            format!("GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        within(stream.read_exact(&mut status)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&status), format!("HTTP/1.1 {want}"), "{headers}");
    }
}
