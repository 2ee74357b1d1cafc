//! Checks the frames of each connection against the contract and against other connections.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

/// Entries delivered on any connection, by message.
#[derive(Default)]
pub(super) struct Delivered {
    accepted: HashMap<String, u64>,
    answered: HashMap<String, (u64, String)>,
}

impl Delivered {
    fn accepted(&mut self, id: &str, seq: u64) {
        assert_eq!(*self.accepted.entry(id.to_owned()).or_insert(seq), seq, "{id} was accepted twice");
    }

    fn answered(&mut self, id: &str, seq: u64, text: &str) {
        let answer = (seq, text.to_owned());
        assert_eq!(*self.answered.entry(id.to_owned()).or_insert_with(|| answer.clone()), answer, "{id}");
    }

    /// Asserts that `entry` equals its earlier delivery, if any.
    pub(super) fn agrees(&mut self, entry: &Value) {
        let (id, seq) = (entry["id"].as_str().unwrap(), entry["seq"].as_u64().unwrap());
        match entry["role"].as_str() {
            Some("user") => self.accepted(id, seq),
            Some("assistant") => self.answered(id, seq, entry["text"].as_str().unwrap()),
            _ => panic!("out of place: {entry}"),
        }
    }

    /// Asserts that `entries` contain all that was delivered.
    pub(super) fn is_kept(&self, entries: &[Value]) {
        let is_there = |id: &str, seq: u64| entries.iter().any(|entry| entry["id"] == id && entry["seq"] == seq);
        for (id, seq) in self.accepted.iter().chain(self.answered.iter().map(|(id, (seq, _))| (id, seq))) {
            assert!(is_there(id, *seq), "{id}, {seq} is lost");
        }
    }
}

/// Observer of one connection.
pub(super) struct Observer {
    /// Highest `seq` delivered on it, or its `since`.
    high: u64,
    /// Messages sent on it: their answers may be repeated.
    sent: HashSet<String>,
    texts: HashMap<String, String>,
    /// Number of `turn`s.
    pub(super) turns: usize,
}

impl Observer {
    pub(super) fn since(seq: u64) -> Self {
        Self { high: seq, sent: HashSet::new(), texts: HashMap::new(), turns: 0 }
    }

    pub(super) fn sent(&mut self, id: &str) {
        self.sent.insert(id.to_owned());
    }

    pub(super) fn observe(&mut self, frame: &Value, delivered: &mut Delivered) {
        let id = frame["id"].as_str().unwrap_or_default();
        match frame["type"].as_str() {
            // A `since` beyond the end is clamped.
            Some("welcome") => self.high = self.high.min(frame["seq"].as_u64().unwrap()),
            Some("accepted") => delivered.accepted(id, frame["seq"].as_u64().unwrap()),
            Some("turn") => self.turn(frame, delivered),
            Some("delta") => self.delta(id, frame),
            Some("done") => self.done(id, frame, delivered),
            Some("response") => {}
            // AI notice.
            Some("notice") if frame["code"] == "ai" => {}
            // Valid only before the first delta.
            Some("queued") => assert!(!self.texts.contains_key(id), "{frame}"),
            _ => panic!("out of place: {frame}"),
        }
    }

    fn turn(&mut self, frame: &Value, delivered: &mut Delivered) {
        let seq = frame["seq"].as_u64().unwrap();
        assert!(self.high < seq, "{frame} after {}", self.high);
        (self.high, self.turns) = (seq, self.turns + 1);
        delivered.agrees(frame);
    }

    /// Applies the next delta, or the answer from its start.
    fn delta(&mut self, id: &str, frame: &Value) {
        let text = self.texts.entry(id.to_owned()).or_default();
        if frame["offset"] == 0 {
            text.clear();
        }
        assert_eq!(frame["offset"], text.chars().count(), "{frame}");
        text.push_str(frame["text"].as_str().unwrap());
    }

    fn done(&mut self, id: &str, frame: &Value, delivered: &mut Delivered) {
        let (seq, text) = (frame["seq"].as_u64().unwrap(), self.texts.remove(id).unwrap_or_default());
        assert_eq!((&frame["finish"], &frame["chars"]), (&json!("stop"), &json!(text.chars().count())), "{frame}");
        assert!(self.high < seq || self.sent.contains(id), "{frame} after {}, without a resend", self.high);
        self.high = self.high.max(seq);
        delivered.answered(id, seq, &text);
    }
}
