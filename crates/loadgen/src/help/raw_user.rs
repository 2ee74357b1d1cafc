//! Users on raw connections, without the client library.

use std::fmt;
use std::time::Duration;

use protocol::Face;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::condition::Preparation;
use crate::error::LoadError;
use crate::service_stack::ServiceStack;
use crate::target::{RawConnection, Target};

const IN_RISK: &str = "me quiero morir";
const CALM: &str = "hola";
/// Prefixes of the plain face's help line, in both languages.
const PLAIN_HELP: [&str; 2] = ["Ayuda: ", "Help: "];

/// Path by which a user connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryPoint {
    /// Frames at the core.
    Core,
    /// The plain face at the core.
    Plain,
    /// Frames through the gateway.
    Gateway,
}

impl EntryPoint {
    /// All entry points.
    pub const ALL: [Self; 3] = [Self::Core, Self::Plain, Self::Gateway];

    fn face(self) -> Face {
        match self {
            Self::Core | Self::Gateway => Face::Frames,
            Self::Plain => Face::Plain,
        }
    }

    /// Connects `count` users.
    pub(super) async fn open(self, stack: &ServiceStack, count: usize) -> Result<Vec<RawUser>, LoadError> {
        let target = match self {
            Self::Core | Self::Plain => Target::Tcp { host: stack.core.address.to_string() },
            Self::Gateway => stack.gateway_target(),
        };
        let lines = target.open_lines(count, self.face()).await?;
        Ok(lines.into_iter().map(|lines| RawUser { face: self.face(), lines }).collect())
    }
}

impl fmt::Display for EntryPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Core => "frames",
            Self::Plain => "plain",
            Self::Gateway => "gateway",
        })
    }
}

#[derive(Debug)]
pub(super) struct RawUser {
    face: Face,
    lines: RawConnection,
}

impl RawUser {
    /// Runs the preparation; the error is the unexpected line.
    pub(super) async fn prepare(&mut self, preparation: Preparation) -> Result<(), String> {
        if preparation == Preparation::Nothing {
            return Ok(());
        }
        self.say("calm", CALM).await?;
        match (self.face, preparation) {
            (Face::Frames, Preparation::Answered) => self.frame("done").await,
            (Face::Frames, Preparation::Begun) => self.frame("delta").await,
            (Face::Frames, _) => self.frame("accepted").await,
            (Face::Plain, Preparation::Answered) => self.lines.line().await.map(drop),
            (Face::Plain, _) => Ok(()),
        }
    }

    /// Sends a message in risk and returns the time to help; `None` if the connection ends without.
    pub(super) async fn asks_for_help(&mut self) -> Option<Duration> {
        let line = self.message("risk", IN_RISK);
        let begin = Instant::now();
        self.lines.send_line(&line).await.ok()?;
        loop {
            let line = self.lines.next_line().await.ok()??;
            let taken = begin.elapsed();
            if self.is_help(&line) {
                return Some(taken);
            }
        }
    }

    /// Sends a message without risk and waits for a frame of type `kind`.
    pub(super) async fn asks_and_waits(&mut self, kind: &str) -> Result<(), String> {
        self.say("calm", CALM).await?;
        self.frame(kind).await
    }

    /// Waits for the `draining` notice.
    pub(super) async fn draining(&mut self) -> Result<(), String> {
        while self.next_frame().await?["code"] != "draining" {}
        Ok(())
    }

    /// Sends a message without risk and returns the code that refuses it, or its other outcome.
    pub(super) async fn is_refused_with(&mut self) -> Result<String, String> {
        self.say("proof", CALM).await?;
        loop {
            let frame = self.next_frame().await?;
            match (frame["id"].as_str(), frame["type"].as_str(), frame["code"].as_str()) {
                (Some("proof"), Some("error"), Some(code)) => return Ok(code.to_owned()),
                (Some("proof"), Some("done"), _) => return Ok("an answer".to_owned()),
                _ => {}
            }
        }
    }

    /// Waits for a frame of type `kind`, skipping others; an error frame is an error.
    async fn frame(&mut self, kind: &str) -> Result<(), String> {
        loop {
            let frame = self.next_frame().await?;
            if frame["type"] == kind {
                return Ok(());
            }
            if frame["type"] == "error" {
                return Err(frame.to_string());
            }
        }
    }

    async fn next_frame(&mut self) -> Result<Value, String> {
        let line = self.lines.line().await?;
        serde_json::from_str(&line).map_err(|_| line)
    }

    async fn say(&mut self, id: &str, text: &str) -> Result<(), String> {
        let line = self.message(id, text);
        self.lines.send_line(&line).await.map_err(|error| error.to_string())
    }

    fn message(&self, id: &str, text: &str) -> String {
        match self.face {
            Face::Frames => json!({"type": "message", "id": id, "text": text}).to_string(),
            Face::Plain => text.to_owned(),
        }
    }

    fn is_help(&self, line: &str) -> bool {
        match self.face {
            Face::Frames => {
                let frame: Value = serde_json::from_str(line).unwrap_or_default();
                let lines = frame["resources"].as_array().map_or(0, Vec::len);
                frame["type"] == "support" && frame["id"] == "risk" && 0 < lines
            }
            Face::Plain => PLAIN_HELP.iter().any(|begin| line.starts_with(begin)),
        }
    }
}
