//! Runner: replays a transcript against a server.

mod listener;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use protocol::{CloseReason, Face};

use crate::clock::{self, FrozenClock};
use crate::llm::Answer;
use crate::peer::{Peer, PeerError};
use crate::transcript::{Action, Bindings, Pattern, Step, Transcript};
use crate::watchdog::{self, Watchdog};
use listener::Listener;

/// A server under test and the connections to it.
pub trait ServerUnderTest {
    /// Client type.
    type Peer: Peer;

    /// Opens a connection; `face` is the one a gateway announces.
    fn connect(&mut self, face: Face) -> impl Future<Output = Result<Self::Peer, PeerError>>;

    /// Scripts the model's next answer.
    fn push_answer(&mut self, answer: Answer);

    /// Waits until the server is idle. Override it for servers with threads of their own (a store's writer), whose work
    /// the runtime does not see.
    fn settle(&mut self) -> impl Future<Output = ()> {
        clock::settle()
    }
}

/// First difference between server and transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// File name.
    pub file: String,
    /// Line number, from 1; 0 for the end of the file.
    pub line: usize,
    /// Name of the connection.
    pub connection: String,
    /// Expected event.
    pub wanted: String,
    /// Actual event.
    pub got: String,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, connection, wanted, got } = self;
        write!(f, "{file}:{line}: connection {connection}\nwant {wanted}\n got {got}")
    }
}

/// Replays `transcript` and checks that nothing follows it.
///
/// Requires a current-thread runtime with a paused clock. Create the server under a [`FrozenClock`], or time may pass
/// before the first step.
///
/// # Errors
///
/// The first difference.
pub async fn run<W: ServerUnderTest>(transcript: &Transcript, world: &mut W) -> Result<(), Failure> {
    let _frozen = FrozenClock::freeze();
    let mut run = Run {
        transcript,
        world,
        listeners: HashMap::new(),
        bindings: Bindings::default(),
        watchdog: Watchdog::new(watchdog::LIMIT),
    };
    let mut opened = false;
    for step in &transcript.steps {
        // Answers may be scripted first, for a server that calls the model at once.
        if !opened && !matches!(step.action, Action::Model(_)) {
            run.connect("a").await.map_err(|error| run.failure(step, "a connection", error))?;
            opened = true;
        }
        run.step(step).await?;
    }
    run.expect_silence().await
}

struct Run<'a, W: ServerUnderTest> {
    transcript: &'a Transcript,
    world: &'a mut W,
    listeners: HashMap<String, Listener<W::Peer>>,
    bindings: Bindings,
    watchdog: Watchdog,
}

impl<W: ServerUnderTest> Run<'_, W> {
    async fn connect(&mut self, name: &str) -> Result<(), String> {
        let connecting = self.watchdog.guard(self.world.connect(self.transcript.face));
        let peer = connecting.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        self.listeners.insert(name.to_owned(), Listener::new(peer));
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), Failure> {
        let (wanted, done) = match &step.action {
            Action::Model(answer) => {
                self.world.push_answer((**answer).clone());
                return Ok(());
            }
            Action::Advance(by) => {
                self.advance(*by).await;
                return Ok(());
            }
            Action::Connect => ("a connection".to_owned(), self.connect(&step.connection).await),
            Action::Send(line) => (format!("to send {line}"), self.send(&step.connection, line).await),
            Action::Expect(pattern) => (pattern.to_string(), self.expect(&step.connection, pattern).await),
            Action::Closed(reason) => (format!("closed {reason}"), self.closed(&step.connection, *reason).await),
            Action::Cut => {
                self.cut(&step.connection).await;
                return Ok(());
            }
            Action::HalfClose => ("to close the sending side".to_owned(), self.half_close(&step.connection).await),
        };
        done.map_err(|got| self.failure(step, &wanted, got))
    }

    async fn advance(&mut self, by: Duration) {
        self.world.settle().await;
        clock::advance(by).await;
        self.world.settle().await;
    }

    async fn send(&mut self, name: &str, line: &str) -> Result<(), String> {
        let line = self.bindings.fill(line).map_err(|error| error.to_string())?;
        let listener = listening(&mut self.listeners, name)?;
        let sent = self.watchdog.guard(listener.peer.send_line(&line)).await;
        sent.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Settles afterwards, so that the server sees the cut before the next step: runs stay deterministic.
    async fn cut(&mut self, name: &str) {
        if let Some(mut listener) = self.listeners.remove(name) {
            listener.peer.cut();
        }
        self.world.settle().await;
    }

    async fn half_close(&mut self, name: &str) -> Result<(), String> {
        let listener = listening(&mut self.listeners, name)?;
        listener.peer.half_close().await.map_err(|error| error.to_string())
    }

    async fn expect(&mut self, name: &str, pattern: &Pattern) -> Result<(), String> {
        let listener = listening(&mut self.listeners, name)?;
        let expecting = self.watchdog.guard(listener.expect(pattern, &mut self.bindings));
        expecting.await.unwrap_or_else(|expired| Err(expired.to_string()))
    }

    /// Removes the connection: later steps must not use it.
    async fn closed(&mut self, name: &str, reason: CloseReason) -> Result<(), String> {
        let mut listener = self.listeners.remove(name).ok_or("no such connection")?;
        match self.watchdog.guard(listener.next_line()).await {
            Err(expired) => Err(expired.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(Some(line))) => Err(line),
            Ok(Ok(None)) => match listener.peer.ending() {
                Some(ending) if ending.fits(reason) => Ok(()),
                ending => Err(ending.map_or_else(|| "no reason".to_owned(), |ending| ending.to_string())),
            },
        }
    }

    /// Checks that no open connection has received anything, not even its end.
    async fn expect_silence(mut self) -> Result<(), Failure> {
        self.world.settle().await;
        for (name, listener) in &mut self.listeners {
            if let Some(got) = listener.try_received().await {
                let (file, connection) = (self.transcript.file.clone(), name.clone());
                return Err(Failure { file, line: 0, connection, wanted: "nothing more".to_owned(), got });
            }
        }
        Ok(())
    }

    fn failure(&self, step: &Step, wanted: &str, got: String) -> Failure {
        let (file, connection) = (self.transcript.file.clone(), step.connection.clone());
        Failure { file, line: step.line, connection, wanted: wanted.to_owned(), got }
    }
}

fn listening<'a, P>(
    listeners: &'a mut HashMap<String, Listener<P>>,
    name: &str,
) -> Result<&'a mut Listener<P>, String> {
    listeners.get_mut(name).ok_or_else(|| format!("no connection {name}"))
}

#[cfg(test)]
mod tests;
