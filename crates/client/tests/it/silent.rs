//! A server of a few scripted lines, for what a real one does only in trouble.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// Gives each connection, once it has said hello, its lines, then nothing more. Ends when dropped.
pub(crate) struct Silent {
    pub(crate) address: SocketAddr,
    _connections: JoinSet<()>,
    _accepting: AbortHandle,
}

/// A `welcome` as it is on the wire.
pub(crate) const WELCOME: &str = r#"{"type":"welcome","v":1,"session":"s1","user":"Usuario-1","resume":"secret","resumed":true,"seq":0,"locale":"es","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","limits":{"max_line_bytes":65536,"max_text_chars":8000,"rate":{"messages":10,"window_ms":60000}}}"#;

impl Silent {
    /// The lines of each connection in turn, and whether it stays open after them.
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
