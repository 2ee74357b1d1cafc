//! Test client with a watchdog on every wait.

use serde_json::{Value, json};
use testkit::peer::{ConnectionEnd, Peer};
use testkit::watchdog::{LIMIT, Watchdog};

/// Client over any transport.
pub(crate) struct TestClient<P> {
    pub(crate) peer: P,
    watchdog: Watchdog,
}

/// Frames of a turn, from `accepted` to `done`.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) accepted: Value,
    /// Joined deltas.
    pub(crate) text: String,
    pub(crate) done: Value,
    /// Number of `queued` frames.
    pub(crate) queued: usize,
}

impl<P: Peer> TestClient<P> {
    pub(crate) fn new(peer: P) -> Self {
        Self { peer, watchdog: Watchdog::new(LIMIT) }
    }

    pub(crate) async fn write(&mut self, line: &str) {
        self.watchdog.guard(self.peer.send_line(line)).await.unwrap().unwrap();
    }

    /// Sends a frame; false if the connection is closed.
    pub(crate) async fn try_send(&mut self, frame: Value) -> bool {
        self.watchdog.guard(self.peer.send_line(&frame.to_string())).await.unwrap().is_ok()
    }

    /// Reads the next line; `None` once the server has closed.
    pub(crate) async fn read(&mut self) -> Option<String> {
        self.watchdog.guard(self.peer.next_line()).await.unwrap().unwrap()
    }

    /// Reads the next line; the end of the stream fails the test.
    pub(crate) async fn line(&mut self) -> String {
        self.read().await.unwrap_or_else(|| panic!("no line but the end: {:?}", self.peer.ending()))
    }

    /// Reads the next `count` lines.
    pub(crate) async fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            lines.push(self.line().await);
        }
        lines
    }

    /// Reads up to the end of the stream and returns its kind.
    pub(crate) async fn ending(&mut self) -> ConnectionEnd {
        while self.read().await.is_some() {}
        self.peer.ending().unwrap()
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.write(&frame.to_string()).await;
    }

    /// Reads the next frame, skipping the AI notice that follows every `welcome`.
    pub(crate) async fn frame(&mut self) -> Value {
        loop {
            let line = self.line().await;
            let frame: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?} is no frame: {error}"));
            if frame["type"] != "notice" || frame["code"] != "ai" {
                return frame;
            }
        }
    }

    /// Reads the next frame of type `kind`, skipping others.
    pub(crate) async fn frame_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.frame().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// Reads the reply to `hello`; `None` once the server has closed. Skips the plain greeting, which precedes it if
    /// the gateway's PROXY header was late.
    pub(crate) async fn first_frame(&mut self) -> Option<Value> {
        loop {
            let line = self.read().await?;
            if line.starts_with('{') {
                return Some(serde_json::from_str(&line).unwrap());
            }
        }
    }

    /// Opens a new session and returns `welcome`.
    pub(crate) async fn hello(&mut self) -> Value {
        self.send(json!({"type": "hello", "v": 1, "locale": "es-AR"})).await;
        let welcome = self.first_frame().await.unwrap_or_else(|| panic!("no welcome: {:?}", self.peer.ending()));
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        let notice: Value = serde_json::from_str(&self.line().await).unwrap();
        assert_eq!((&notice["type"], &notice["code"]), (&json!("notice"), &json!("ai")), "{notice}");
        welcome
    }

    pub(crate) async fn say(&mut self, id: &str, text: &str) {
        self.send(json!({"type": "message", "id": id, "text": text})).await;
    }

    /// Reads the turn of message `id`, sent last.
    pub(crate) async fn reply(&mut self, id: &str) -> Reply {
        let accepted = self.frame().await;
        assert_eq!(accepted["type"], "accepted", "{accepted}");
        Reply { accepted, ..self.answer(id).await }
    }

    /// Reads the turn of message `id` after its `accepted`.
    pub(crate) async fn answer(&mut self, id: &str) -> Reply {
        let mut reply = Reply { accepted: Value::Null, text: String::new(), done: Value::Null, queued: 0 };
        loop {
            let frame = self.frame().await;
            assert_eq!(frame["id"], id, "{frame}");
            match frame["type"].as_str() {
                Some("queued") => reply.queued += 1,
                Some("delta") => {
                    assert_eq!(frame["offset"], reply.text.chars().count(), "{frame}");
                    reply.text.push_str(frame["text"].as_str().unwrap());
                }
                Some("done") => return Reply { done: frame, ..reply },
                _ => panic!("out of place: {frame}"),
            }
        }
    }

    /// Sends a message and reads its turn.
    pub(crate) async fn ask(&mut self, id: &str, text: &str) -> Reply {
        self.say(id, text).await;
        self.reply(id).await
    }
}
