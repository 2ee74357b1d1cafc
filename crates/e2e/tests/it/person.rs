//! A client that talks, and does not wait for ever.

use serde_json::{Value, json};
use testkit::peer::{ConnectionEnd, Peer};
use testkit::watchdog::{LIMIT, Watchdog};

/// Someone at the other end of a connection.
pub(crate) struct Person<P> {
    pub(crate) peer: P,
    watchdog: Watchdog,
}

/// What a message brought, from `accepted` to `done`.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) accepted: Value,
    /// All deltas together.
    pub(crate) text: String,
    pub(crate) done: Value,
    /// How often `queued` came.
    pub(crate) queued: usize,
}

impl<P: Peer> Person<P> {
    pub(crate) fn new(peer: P) -> Self {
        Self { peer, watchdog: Watchdog::new(LIMIT) }
    }

    pub(crate) async fn write(&mut self, line: &str) {
        self.watchdog.guard(self.peer.send_line(line)).await.unwrap().unwrap();
    }

    /// Writes a frame if the connection still takes it.
    pub(crate) async fn try_send(&mut self, frame: Value) -> bool {
        self.watchdog.guard(self.peer.send_line(&frame.to_string())).await.unwrap().is_ok()
    }

    /// The next line; `None` once the server has closed.
    pub(crate) async fn read(&mut self) -> Option<String> {
        self.watchdog.guard(self.peer.next_line()).await.unwrap().unwrap()
    }

    /// The next line, which is there.
    pub(crate) async fn line(&mut self) -> String {
        self.read().await.unwrap_or_else(|| panic!("no line but the end: {:?}", self.peer.ending()))
    }

    /// The next `count` lines.
    pub(crate) async fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            lines.push(self.line().await);
        }
        lines
    }

    /// Reads up to the end, and says how that came.
    pub(crate) async fn ending(&mut self) -> ConnectionEnd {
        while self.read().await.is_some() {}
        self.peer.ending().unwrap()
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.write(&frame.to_string()).await;
    }

    /// The next frame. The notice that this is no person, which follows every `welcome`, is passed over.
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

    /// The next frame of this type; others before it are let go.
    pub(crate) async fn frame_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.frame().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// The answer to a `hello`; `None` once the server has closed. Lines before it are for people: a gateway
    /// that got no time was so late that its person was greeted.
    pub(crate) async fn first_frame(&mut self) -> Option<Value> {
        loop {
            let line = self.read().await?;
            if line.starts_with('{') {
                return Some(serde_json::from_str(&line).unwrap());
            }
        }
    }

    /// Opens a new session; returns `welcome`.
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

    /// What the message `id` brings; it has just been sent, and no other.
    pub(crate) async fn reply(&mut self, id: &str) -> Reply {
        let accepted = self.frame().await;
        assert_eq!(accepted["type"], "accepted", "{accepted}");
        Reply { accepted, ..self.answer(id).await }
    }

    /// What comes of the message `id` after `accepted`, which was read.
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

    /// Says something and waits for the whole answer.
    pub(crate) async fn ask(&mut self, id: &str, text: &str) -> Reply {
        self.say(id, text).await;
        self.reply(id).await
    }
}
