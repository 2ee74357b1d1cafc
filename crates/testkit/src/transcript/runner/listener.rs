//! One connection of a transcript: lines in order, deltas compared after joining.

use std::collections::VecDeque;
use std::future;

use serde::{Deserialize, Serialize};

use crate::peer::{Peer, PeerError};
use crate::transcript::pattern::whole_name;
use crate::transcript::{Bindings, Pattern};

/// Fields of a delta that joining needs.
#[derive(Debug, Serialize, Deserialize)]
struct Delta {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    offset: usize,
    text: String,
}

impl Delta {
    fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok().filter(|delta: &Self| delta.kind == "delta")
    }

    /// Returns the offset of the next delta.
    fn end(&self) -> usize {
        self.offset + self.text.chars().count()
    }

    fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A connection and its lookahead.
pub(super) struct Listener<P> {
    pub(super) peer: P,
    /// Remainder of a delta longer than the transcript's.
    rest: VecDeque<String>,
    /// After a delta matched by `$_`: id and offset of its continuation.
    open: Option<(String, usize)>,
}

impl<P: Peer> Listener<P> {
    pub(super) fn new(peer: P) -> Self {
        Self { peer, rest: VecDeque::new(), open: None }
    }

    /// Returns the next line, skipping continuations of a delta matched by `$_`; `None` at the end.
    pub(super) async fn next_line(&mut self) -> Result<Option<String>, PeerError> {
        loop {
            let line = match self.rest.pop_front() {
                Some(line) => Some(line),
                None => self.peer.next_line().await?,
            };
            match (line.as_deref().and_then(Delta::parse), &mut self.open) {
                (Some(delta), Some((id, end))) if delta.id == *id && delta.offset == *end => *end = delta.end(),
                _ => {
                    self.open = None;
                    return Ok(line);
                }
            }
        }
    }

    /// Matches the next line with `pattern`; the error is the line itself.
    pub(super) async fn expect(&mut self, pattern: &Pattern, bindings: &mut Bindings) -> Result<(), String> {
        let line = self.line().await?;
        let line = match (pattern.delta_text(), Delta::parse(&line)) {
            (Some(wanted), Some(delta)) if whole_name(wanted).is_none() => self.join(delta, wanted).await?.line(),
            (Some(_), Some(delta)) => {
                self.open = Some((delta.id.clone(), delta.end()));
                line
            }
            _ => line,
        };
        if pattern.matches(&line, bindings) { Ok(()) } else { Err(line) }
    }

    /// Joins deltas until they make up `wanted`; keeps the remainder.
    async fn join(&mut self, mut delta: Delta, wanted: &str) -> Result<Delta, String> {
        while delta.text.len() < wanted.len() && wanted.starts_with(&delta.text) {
            let line = self.line().await.map_err(|error| format!("{}, then {error}", delta.line()))?;
            match Delta::parse(&line) {
                Some(next) if next.id == delta.id && next.offset == delta.end() => delta.text.push_str(&next.text),
                _ => return Err(format!("{}, then {line}", delta.line())),
            }
        }
        if let Some(rest) = delta.text.strip_prefix(wanted).filter(|rest| !rest.is_empty()) {
            let offset = delta.offset + wanted.chars().count();
            let rest = Delta { kind: delta.kind.clone(), id: delta.id.clone(), offset, text: rest.to_owned() };
            self.rest.push_front(rest.line());
            wanted.clone_into(&mut delta.text);
        }
        Ok(delta)
    }

    async fn line(&mut self) -> Result<String, String> {
        match self.next_line().await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(self.peer.ending().map_or_else(|| "the end".to_owned(), |ending| ending.to_string())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Returns a received line or end, without waiting.
    pub(super) async fn try_received(&mut self) -> Option<String> {
        tokio::select! {
            biased;
            line = self.line() => Some(line.unwrap_or_else(|end| end)),
            () = future::ready(()) => None,
        }
    }
}
