//! A connection in memory that breaks where it is told to.

use futures_util::FutureExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::hearing::{Hearing, Told};

pub(super) struct Line {
    pipe: DuplexStream,
    received: Vec<u8>,
    /// Bytes that may still come before it breaks.
    left: Option<usize>,
    hearing: Hearing,
}

impl Line {
    pub(super) async fn open(pipe: DuplexStream, hello: &Value, since: u64) -> Self {
        let mut line = Self { pipe, received: Vec::new(), left: None, hearing: Hearing::since(since) };
        line.write(format!("{hello}\n").as_bytes()).await;
        line
    }

    /// Writes it, as far as the server takes it.
    async fn write(&mut self, bytes: &[u8]) {
        // The server may have ended the connection; reading tells.
        let _ = self.pipe.write_all(bytes).await;
    }

    /// Sends `frame`, or only its first `bytes`; whether all of it was sent.
    pub(super) async fn say(&mut self, frame: &Value, bytes: Option<usize>) -> bool {
        let line = format!("{frame}\n");
        let whole = bytes.is_none_or(|bytes| line.len() <= bytes);
        if whole && let Some(id) = frame["id"].as_str().filter(|_| frame["type"] == "message") {
            self.hearing.sent(id);
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

    /// How many `turn`s it was told.
    pub(super) fn turns(&self) -> usize {
        self.hearing.turns
    }

    /// Reads what is there, up to where the connection breaks; returns the whole frames of it.
    pub(super) fn listen(&mut self, told: &mut Told) -> Vec<Value> {
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
            self.hearing.hear(&frame, told);
            frames.push(frame);
        }
        frames
    }
}
