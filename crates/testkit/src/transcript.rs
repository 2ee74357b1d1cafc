//! Transcripts of `proto-line/transcripts`: parsing, matching, replay.
//!
//! `proto-line/SPEC.md` ("Transcripts") defines the format.

mod bindings;
mod load;
mod parse;
mod pattern;
mod runner;

use std::time::Duration;

use protocol::{CloseReason, Face};

pub use bindings::{Bindings, UnboundName};
pub use load::{LoadError, folder, load_all};
pub use parse::ParseError;
pub use pattern::Pattern;
pub use runner::{Failure, ServerUnderTest, run};

use crate::llm::Answer;

/// A transcript file.
#[derive(Debug, Clone)]
pub struct Transcript {
    /// Number, unique in the folder.
    pub number: u32,
    /// File name.
    pub file: String,
    /// Title.
    pub title: String,
    /// Environment of the core.
    pub settings: Vec<(String, String)>,
    /// Face that a gateway announces.
    pub face: Face,
    /// Transports on which it runs.
    pub transports: Vec<Transport>,
    /// Steps in order.
    pub steps: Vec<Step>,
}

impl Transcript {
    /// Returns true if a model is configured. Calls beyond the script then get status 500.
    pub fn has_model(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Model(_)))
    }

    /// Returns true if it runs over `transport`.
    pub fn runs_over(&self, transport: Transport) -> bool {
        // An exchange of lines is framed from its first byte.
        self.transports.contains(&transport) && (transport != Transport::Http || self.face == Face::Frames)
    }
}

/// Transport between client and core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In memory, within one process.
    Process,
    /// Over TCP.
    Tcp,
    /// Through the gateway, over a WebSocket.
    Gateway,
    /// Through the gateway, over `POST /lines`; framed transcripts only.
    Http,
}

impl Transport {
    /// All transports.
    pub const ALL: [Self; 4] = [Self::Process, Self::Tcp, Self::Gateway, Self::Http];

    /// Returns the name used in transcripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Tcp => "tcp",
            Self::Gateway => "gateway",
            Self::Http => "http",
        }
    }
}

/// A step of a transcript.
#[derive(Debug, Clone)]
pub struct Step {
    /// Line number in the file.
    pub line: usize,
    /// Name of the connection; `a` if the step concerns none.
    pub connection: String,
    /// Action of the step.
    pub action: Action,
}

/// Action of a step.
#[derive(Debug, Clone)]
pub enum Action {
    /// Scripts the model's next answer.
    Model(Box<Answer>),
    /// Opens another connection.
    Connect,
    /// Sends a line to the server.
    Send(String),
    /// Expects the server's next line.
    Expect(Pattern),
    /// Advances the clock.
    Advance(Duration),
    /// Expects the server to close.
    Closed(CloseReason),
    /// Drops the client's connection.
    Cut,
    /// Shuts down the client's write half.
    HalfClose,
}
