//! `POST /lines`: lines over one HTTP exchange.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::rig::{CorePeer, Rig, within};

const HELLO: &str = "{\"type\":\"hello\",\"v\":1}";

/// A response that is being read.
struct Exchange {
    stream: BufReader<TcpStream>,
    status: u16,
    headers: Vec<(String, String)>,
}

impl Exchange {
    async fn response(stream: TcpStream) -> Self {
        let mut stream = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            within(stream.read_line(&mut line)).await.unwrap();
            if line.trim_end().is_empty() {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines[1..].iter().map(|line| line.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { stream, status, headers }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Returns the next chunk of the body; empty at its end.
    async fn chunk(&mut self) -> String {
        let mut size = String::new();
        within(self.stream.read_line(&mut size)).await.unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        within(self.stream.read_exact(&mut chunk)).await.unwrap();
        chunk.truncate(size);
        String::from_utf8(chunk).unwrap()
    }

    /// Reads the body to its end.
    async fn rest(&mut self) -> String {
        let mut body = String::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                return body;
            }
            body.push_str(&chunk);
        }
    }
}

fn head(headers: &str) -> String {
    format!("POST /lines HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n{headers}\r\n")
}

/// Sends `body` as a whole.
async fn post(rig: &Rig, headers: &str, body: &str) -> TcpStream {
    let mut stream = rig.tcp().await;
    let request = format!("{}{body}", head(&format!("{headers}content-length: {}\r\n", body.len())));
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads the lines until the gateway ends its side.
async fn until_end(core: &mut CorePeer, lines: &[&str]) {
    for line in lines {
        assert_eq!(core.line().await, *line);
    }
    core.ended().await;
}

#[tokio::test]
async fn body_in_and_answers_out() {
    let rig = Rig::start().await;
    let body = format!("{HELLO}\n{{\"type\":\"message\"}}\r\n\n");
    let stream = post(&rig, "", &body).await;
    let mut core = rig.core().await;
    assert_eq!(core.header.source.unwrap().ip(), stream.local_addr().unwrap().ip());
    assert_eq!(core.line().await, HELLO);
    assert_eq!(core.line().await, "{\"type\":\"message\"}\r");
    assert_eq!(core.line().await, "");
    core.say("{\"type\":\"welcome\"}\n{\"type\":\"done\"}\n\u{4}client_gone\n").await;
    drop(core);
    let mut exchange = Exchange::response(stream).await;
    assert_eq!((exchange.status, exchange.header("content-type")), (200, Some("application/x-ndjson")));
    assert_eq!(exchange.header("cache-control"), Some("no-store"));
    assert_eq!(exchange.header("x-trace-id").map(str::len), Some(32));
    let closed = "{\"type\":\"closed\",\"code\":1000,\"reason\":\"client_gone\"}\n";
    assert_eq!(exchange.rest().await, format!("{{\"type\":\"welcome\"}}\n{{\"type\":\"done\"}}\n{closed}"));
}

#[tokio::test]
async fn end_of_body_is_end_of_stream() {
    let rig = Rig::start().await;
    let stream = post(&rig, "", &format!("{HELLO}\n")).await;
    let mut core = rig.core().await;
    until_end(&mut core, &[HELLO]).await;
    core.say("{\"type\":\"welcome\"}\n").await;
    drop(core);
    let body = Exchange::response(stream).await.rest().await;
    assert_eq!(body, "{\"type\":\"welcome\"}\n{\"type\":\"closed\",\"code\":1012,\"reason\":\"core_lost\"}\n");
}

#[tokio::test]
async fn events_as_they_come_while_the_client_listens() {
    let rig = Rig::start().await;
    let headers = "accept: text/event-stream\r\nprefer: wait\r\n";
    let stream = post(&rig, headers, &format!("{HELLO}\n")).await;
    let mut core = rig.core().await;
    assert_eq!(core.line().await, HELLO);
    let mut exchange = Exchange::response(stream).await;
    assert_eq!(exchange.header("content-type"), Some("text/event-stream"));
    assert_eq!(exchange.header("preference-applied"), Some("wait"));
    for text in ["{\"a\":1}", "{\"b\":2}"] {
        core.say(format!("{text}\n")).await;
        assert_eq!(exchange.chunk().await, format!("data: {text}\n\n"));
    }
    // The client goes: the core's connection ends.
    drop(exchange);
    core.ended().await;
}

#[tokio::test]
async fn lines_of_a_body_that_is_still_being_sent_go_on_at_once() {
    let rig = Rig::start().await;
    let mut stream = rig.tcp().await;
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let request = head("transfer-encoding: chunked\r\n") + &chunk(&format!("{HELLO}\n{{\"a\""));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut core = rig.core().await;
    assert_eq!(core.line().await, HELLO);
    core.say("{\"type\":\"welcome\"}\n").await;
    stream.write_all(chunk(":1}\n").as_bytes()).await.unwrap();
    assert_eq!(core.line().await, "{\"a\":1}");
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    core.ended().await;
    let mut exchange = Exchange::response(stream).await;
    assert_eq!(exchange.chunk().await, "{\"type\":\"welcome\"}\n");
}

#[tokio::test]
async fn refuses_what_a_websocket_would_be_refused() {
    let rig = Rig::start_with(|config| config.connects.events = 1).await;
    let whole = async |request: String| {
        let mut stream = rig.tcp().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        Exchange::response(stream).await
    };
    let length = "content-length: 0\r\n";
    for (request, status) in [
        (head(&format!("origin: https://evil.example\r\n{length}")), 403),
        (format!("POST /lines HTTP/1.1\r\nhost: x\r\n{length}content-type: text/plain\r\n\r\n"), 415),
        ("GET /lines HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 405),
        (head(length), 200),
        (head(length), 429),
    ] {
        assert_eq!(whole(request.clone()).await.status, status, "{request}");
    }
}

#[tokio::test]
async fn refuses_exchanges_while_it_drains() {
    let rig = Rig::start().await;
    // A client that does not answer the close frame keeps the drain open.
    let (_client, _core) = rig.pair(None).await;
    rig.shutdown.cancel();
    let exchange = Exchange::response(post(&rig, "", "").await).await;
    assert_eq!((exchange.status, exchange.header("retry-after")), (503, Some("1")));
}

#[tokio::test]
async fn last_line_names_too_many_connections() {
    let rig = Rig::start_with(|config| config.max_connections_per_address = 1).await;
    let first = post(&rig, "prefer: wait\r\n", &format!("{HELLO}\n")).await;
    let _core = rig.core().await;
    let second = post(&rig, "", &format!("{HELLO}\n")).await;
    let body = Exchange::response(second).await.rest().await;
    assert_eq!(body, "{\"type\":\"closed\",\"code\":1013,\"reason\":\"too_many_connections\"}\n");
    drop(first);
}

#[tokio::test]
async fn drain_ends_an_exchange_with_its_reason() {
    let rig = Rig::start_with(|config| config.drain_limit = Duration::from_secs(4)).await;
    let stream = post(&rig, "prefer: wait\r\n", &format!("{HELLO}\n")).await;
    let mut core = rig.core().await;
    assert_eq!(core.line().await, HELLO);
    rig.shutdown.cancel();
    let body = Exchange::response(stream).await.rest().await;
    assert_eq!(body, "{\"type\":\"closed\",\"code\":1001,\"reason\":\"draining\"}\n");
    assert_eq!(within(rig.served).await.unwrap().remaining, 0);
}

#[tokio::test]
async fn late_header_is_sent_again_to_a_second_core() {
    let rig = Rig::start().await;
    let stream = post(&rig, "", &format!("{HELLO}\n")).await;
    let mut first = rig.core().await;
    assert_eq!(first.line().await, HELLO);
    first.say("\u{4}late_header\n").await;
    drop(first);
    let mut second = rig.core().await;
    until_end(&mut second, &[HELLO]).await;
    second.say("{\"type\":\"welcome\"}\n").await;
    drop(second);
    let body = Exchange::response(stream).await.rest().await;
    assert!(body.starts_with("{\"type\":\"welcome\"}\n{\"type\":\"closed\""), "{body}");
}

#[tokio::test]
async fn slow_reader_stops_the_core() {
    let rig = Rig::start_with(|config| config.keepalive.pong_timeout = Duration::from_secs(1)).await;
    let stream = post(&rig, "prefer: wait\r\n", &format!("{HELLO}\n")).await;
    let mut core = rig.core().await;
    assert_eq!(core.line().await, HELLO);
    // Nothing is read: the core's writes block, and the exchange ends as a WebSocket would.
    let line = format!("{{\"text\":\"{}\"}}\n", "x".repeat(16_000));
    let blocked = async {
        for _ in 0..2_000 {
            if core.stream.write_all(line.as_bytes()).await.is_err() {
                return true;
            }
        }
        false
    };
    assert!(within(blocked).await, "32 MB were taken for a client that reads nothing");
    drop(stream);
}
