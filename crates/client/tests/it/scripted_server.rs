//! Scripted servers, for failures that a real one cannot be made to show.

use std::net::SocketAddr;

use serde_json::{Value, json};
use testkit::watchdog::{LIMIT, within};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Sends each connection its scripted lines after the first client line, then stays silent. Stops when dropped.
pub(crate) struct ScriptedConnections {
    pub(crate) address: SocketAddr,
    _connections: JoinSet<()>,
    _accepting: AbortHandle,
}

/// `welcome` in wire format.
pub(crate) const WELCOME: &str = r#"{"type":"welcome","v":1,"session":"s1","user":"Usuario-1","resume":"secret","resumed":true,"seq":0,"locale":"es","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","limits":{"max_line_bytes":65536,"max_text_chars":8000,"rate":{"messages":10,"window_ms":60000}}}"#;

impl ScriptedConnections {
    /// Starts with (lines, stays open) of each connection in turn.
    pub(crate) async fn start(script: Vec<(String, bool)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = JoinSet::new();
        let accepting = connections.spawn(async move {
            let mut open = Vec::new();
            for (lines, stays) in script {
                let (socket, _) = listener.accept().await.unwrap();
                let mut socket = BufReader::new(socket);
                socket.read_line(&mut String::new()).await.unwrap();
                socket.write_all(format!("{lines}\n").as_bytes()).await.unwrap();
                if stays {
                    open.push(socket);
                }
            }
            std::future::pending::<()>().await;
        });
        Self { address, _connections: connections, _accepting: accepting }
    }
}

/// Server driven by the test, line by line.
pub(crate) struct ScriptedServer(BufReader<TcpStream>);

impl ScriptedServer {
    /// Accepts a connection and completes its handshake.
    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        let (socket, _) = within(LIMIT, listener.accept()).await.unwrap().unwrap();
        let mut server = Self(BufReader::new(socket));
        assert_eq!(server.frame().await["type"], "hello");
        server.say(WELCOME).await;
        server
    }

    pub(crate) async fn say(&mut self, line: &str) {
        self.0.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    pub(crate) async fn frame(&mut self) -> Value {
        let mut line = String::new();
        within(LIMIT, self.0.read_line(&mut line)).await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Expects a message with this text and returns its id.
    pub(crate) async fn message(&mut self, text: &str) -> String {
        let frame = self.frame().await;
        assert_eq!((&frame["type"], &frame["text"]), (&"message".into(), &text.into()), "{frame}");
        frame["id"].as_str().unwrap().to_owned()
    }

    /// Sends unstored help for message `id`.
    pub(crate) async fn help(&mut self, id: &str) {
        let line = json!({"name": "Línea", "contact": "135", "dial": "135", "kind": "suicide", "country": "AR",
            "region": "Argentina", "hours": "24 h", "languages": ["es"]});
        let help = json!({"type": "support", "id": id, "level": "high", "subject": "self", "kind": "suicide",
            "text": "No estás en soledad.", "resources": [line]});
        self.say(&help.to_string()).await;
    }

    /// Sends the complete answer to message `id`.
    pub(crate) async fn answer(&mut self, id: &str, seq: u64, text: &str) {
        self.say(&json!({"type": "delta", "id": id, "offset": 0, "text": text}).to_string()).await;
        let done = json!({"type": "done", "id": id, "seq": seq, "finish": "stop", "source": "companion",
            "chars": text.chars().count(), "ms": {"queue": 0, "first": 0, "total": 0}});
        self.say(&done.to_string()).await;
    }
}
