//! In-memory connection that breaks after a given number of bytes.

use futures_util::FutureExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::observer::{Delivered, Observer};

pub(super) struct BreakingPipe {
    pipe: DuplexStream,
    received: Vec<u8>,
    /// Bytes to receive before it breaks; `None` means unlimited.
    left: Option<usize>,
    observer: Observer,
}

impl BreakingPipe {
    pub(super) async fn open(pipe: DuplexStream, hello: &Value, since: u64) -> Self {
        let mut line = Self { pipe, received: Vec::new(), left: None, observer: Observer::since(since) };
        line.write(format!("{hello}\n").as_bytes()).await;
        line
    }

    async fn write(&mut self, bytes: &[u8]) {
        // The server may have closed the connection; reading detects that.
        let _ = self.pipe.write_all(bytes).await;
    }

    /// Sends `frame`, or only its first `bytes`; true if all of it was sent.
    pub(super) async fn say(&mut self, frame: &Value, bytes: Option<usize>) -> bool {
        let line = format!("{frame}\n");
        let whole = bytes.is_none_or(|bytes| line.len() <= bytes);
        if whole && let Some(id) = frame["id"].as_str().filter(|_| frame["type"] == "message") {
            self.observer.sent(id);
        }
        let length = bytes.unwrap_or(line.len()).min(line.len());
        self.write(&line.as_bytes()[..length]).await;
        whole
    }

    pub(super) fn cut_after(&mut self, bytes: usize) {
        self.left.get_or_insert(bytes);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.left == Some(0)
    }

    pub(super) fn turns(&self) -> usize {
        self.observer.turns
    }

    /// Reads the available bytes up to the break; returns the complete frames.
    pub(super) fn listen(&mut self, delivered: &mut Delivered) -> Vec<Value> {
        let mut bytes = [0; 512];
        loop {
            let most = self.left.unwrap_or(bytes.len()).min(bytes.len());
            let Some(Ok(count)) = self.pipe.read(&mut bytes[..most]).now_or_never() else { break };
            if count == 0 {
                break;
            }
            self.left = self.left.map(|left| left - count);
            self.received.extend_from_slice(&bytes[..count]);
        }
        let mut frames = Vec::new();
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            let frame: Value = serde_json::from_slice(&line).unwrap();
            self.observer.observe(&frame, delivered);
            frames.push(frame);
        }
        frames
    }
}
