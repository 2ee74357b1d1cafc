//! Fake core: answers every message with two deltas, over TCP or a WebSocket.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_util::task::TaskTracker;

/// Messages with this text are refused.
pub(crate) const REFUSED: &str = "demasiado";

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

pub(crate) async fn start() -> SocketAddr {
    listen(serve).await
}

/// Starts behind a WebSocket, like a gateway.
pub(crate) async fn start_websocket() -> SocketAddr {
    listen(serve_websocket).await
}

async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tasks.spawn(serve(stream));
        }
    });
    address
}

async fn serve_websocket(stream: TcpStream) {
    #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
    let accept = |request: &Request, mut response: Response| {
        let name = request.headers()["sec-websocket-protocol"].clone();
        response.headers_mut().insert("sec-websocket-protocol", name);
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, accept).await.unwrap();
    while let Some(Ok(Message::Text(line))) = socket.next().await {
        for frame in answers(&serde_json::from_str(&line).unwrap()) {
            socket.send(Message::text(frame.to_string())).await.unwrap();
        }
    }
}

async fn serve(stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while 0 < stream.read_line(&mut line).await.unwrap_or_default() {
        let frame: Value = serde_json::from_str(&line).unwrap();
        line.clear();
        let mut answer = String::new();
        for frame in answers(&frame) {
            answer.push_str(&format!("{frame}\n"));
        }
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn answers(frame: &Value) -> Vec<Value> {
    let id = &frame["id"];
    match frame["type"].as_str().unwrap() {
        "hello" => vec![json!({
            "type": "welcome", "v": 1, "session": "s", "user": "Usuario-1", "resume": "secret", "resumed": false,
            "seq": 0, "locale": "es", "trace_id": TRACE_ID,
            "limits": {"max_line_bytes": 65_536, "max_text_chars": 8_000, "rate": {"messages": 10, "window_ms": 1}},
        })],
        "message" if frame["text"].as_str().unwrap().contains(REFUSED) => {
            vec![json!({"type": "error", "id": id, "code": "rate_limited", "message": "later", "retry_after_ms": 1})]
        }
        "message" => vec![
            json!({"type": "accepted", "id": id, "seq": 1, "trace_id": TRACE_ID}),
            json!({"type": "delta", "id": id, "offset": 0, "text": "ho"}),
            json!({"type": "turn", "id": "other", "seq": 9, "role": "user", "text": "x", "at": "2026-11-22T10:00:00.000Z"}),
            json!({"type": "delta", "id": id, "offset": 2, "text": "la"}),
            json!({
                "type": "done", "id": id, "seq": 2, "finish": "stop", "source": "llm", "chars": 4,
                "ms": {"queue": 0, "first": 0, "total": 0},
            }),
        ],
        other => panic!("{other}"),
    }
}
