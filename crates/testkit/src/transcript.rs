//! Conversations written down in `proto-line/transcripts`: loading, matching, running.
//!
//! `proto-line/SPEC.md` ("Transcripts") says what the files mean.

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

/// One file.
#[derive(Debug, Clone)]
pub struct Transcript {
    /// Its number, unique in the folder.
    pub number: u32,
    /// Its file name.
    pub file: String,
    /// What it shows.
    pub title: String,
    /// Configuration of the core by environment name.
    pub settings: Vec<(String, String)>,
    /// The face a gateway announces.
    pub face: Face,
    /// Where it runs.
    pub transports: Vec<Transport>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

impl Transcript {
    /// Whether a model is configured. If so, a call without an answer left gets status 500.
    pub fn has_model(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Model(_)))
    }

    /// Whether it runs over `transport`.
    pub fn runs_over(&self, transport: Transport) -> bool {
        self.transports.contains(&transport)
    }
}

/// How the client reaches the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Over memory, in one process.
    Process,
    /// Over TCP.
    Tcp,
    /// Through the gateway.
    Gateway,
}

impl Transport {
    /// Every transport.
    pub const ALL: [Self; 3] = [Self::Process, Self::Tcp, Self::Gateway];

    /// Its name in transcripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Tcp => "tcp",
            Self::Gateway => "gateway",
        }
    }
}

/// One line of a transcript.
#[derive(Debug, Clone)]
pub struct Step {
    /// Number of the line in the file.
    pub line: usize,
    /// Name of the connection it is about; `a` where it is about none.
    pub connection: String,
    /// What happens.
    pub action: Action,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Action {
    /// The model's next answer is known.
    Model(Box<Answer>),
    /// Another connection opens.
    Connect,
    /// The client sends a line.
    Send(String),
    /// The server's next line.
    Expect(Pattern),
    /// The clock moves on.
    Advance(Duration),
    /// The server closes.
    Closed(CloseReason),
    /// The client drops the connection.
    Cut,
    /// The client closes its sending side.
    HalfClose,
}
