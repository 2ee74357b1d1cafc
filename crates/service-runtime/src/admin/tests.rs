//! Tests over real sockets.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn start() -> (SocketAddr, TaskTracker) {
    let address = AdminAddress { host: "127.0.0.1".to_owned(), port: 0 };
    let listener = address.bind().await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), TaskTracker::new());
    tasks.spawn(Arc::new(Admin::new(Registry::default(), || {})).serve(listener));
    (address, tasks)
}

#[test]
fn accepts_ipv6_in_brackets() {
    for (text, want) in [("[::1]", "::1"), (" ::1 ", "::1"), ("localhost", "localhost"), ("[::1", "[::1")] {
        let args = AdminArgs { admin_host: text.to_owned(), admin_port: None };
        let mut problems = crate::ConfigError::default();
        assert_eq!(args.check(&mut problems, 1), AdminAddress { host: want.to_owned(), port: 1 });
    }
}

/// Returns the whole response to `request`.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    // A connection closed before its request was read may be reset.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn routes_requests_and_closes_each_connection() {
    let (address, _tasks) = start().await;
    for (request, status, kind) in [
        ("GET /metrics HTTP/1.1", "200 OK", "text/plain; version=0.0.4; charset=utf-8"),
        ("GET /healthz HTTP/1.1", "200 OK", "application/json"),
        ("HEAD /readyz HTTP/1.1", "200 OK", "application/json"),
        ("GET / HTTP/1.1", "404 Not Found", "application/json"),
        ("POST /metrics HTTP/1.1", "405 Method Not Allowed", "application/json"),
    ] {
        let answer = ask(address, &format!("{request}\r\nhost: x\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {answer}");
        assert!(answer.contains(&format!("content-type: {kind}\r\n")), "{request}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{request}: {answer}");
    }
    let metrics = ask(address, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(metrics.contains("\nprocess_open_fds "), "{metrics}");
}

#[tokio::test]
async fn drops_excess_connections_and_times_out_silent_ones() {
    let (address, _tasks) = start().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(ask(address, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await, "");
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    for stream in &mut silent {
        assert!(!rest(stream).await.starts_with("HTTP/1.1 200"));
    }
    assert!(begin.elapsed() < LIFE_LIMIT);
    tokio::time::resume();
    assert!(ask(address, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.starts_with("HTTP/1.1 200"));
}
