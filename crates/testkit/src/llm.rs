//! Stand-in for the model: an HTTP server with the OpenAI API's streamed chat completions, scripted, with fault
//! injection.

mod answer;
mod body;
mod call_log;
mod service;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use answer::{Answer, Hang, RetryAfter};
pub use call_log::{Outcome, Request};
use service::{Scripted, Shared};

use crate::watchdog::{self, Expired};

/// Response to a call beyond the script.
#[derive(Debug, Clone, Default)]
pub enum Fallback {
    /// `eco: ` and the last user message.
    #[default]
    Echo,
    /// A fixed answer.
    Answer(Answer),
    /// Computed from the number of the call, from 1, and the last user message.
    Reply(fn(u64, &str) -> Answer),
}

/// Options of a stand-in.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Response to a call beyond the script.
    pub fallback: Fallback,
    /// Number of newest calls kept for [`LlmStandin::requests`].
    pub keep: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 0).into(), fallback: Fallback::default(), keep: 10_000 }
    }
}

/// A running stand-in, stopped on drop.
///
/// Its delays use the runtime's clock, so a paused clock controls them.
#[derive(Debug)]
pub struct LlmStandin {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl LlmStandin {
    /// Starts a stand-in on the current runtime.
    ///
    /// # Errors
    ///
    /// The address cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let shared = Shared::new(options.fallback, options.keep);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(service::accept_loop(listener, Arc::clone(&shared), stop.clone(), tasks.clone()));
        Ok(Self { address, shared, stop, tasks })
    }

    /// Returns the listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL to configure: `http://…/v1/chat/completions`.
    pub fn url(&self) -> String {
        format!("http://{}/v1/chat/completions", self.address)
    }

    /// Appends an answer to the script; each call consumes one.
    pub fn push(&self, answer: Answer) {
        self.shared.push(Scripted { answer, held: None });
    }

    /// Appends an answer that pauses after its first `shown` pieces until the returned guard is dropped.
    pub fn push_held(&self, answer: Answer, shown: usize) -> DropGuard {
        let released = CancellationToken::new();
        self.shared.push(Scripted { answer, held: Some((shown, released.clone())) });
        released.drop_guard()
    }

    /// Returns the number of unused scripted answers.
    pub fn queued(&self) -> usize {
        self.shared.queued()
    }

    /// Returns the recorded calls, oldest first (see [`Options::keep`]).
    pub fn requests(&self) -> Vec<Request> {
        self.shared.call_log.requests()
    }

    /// Returns the total number of calls.
    pub fn total(&self) -> u64 {
        self.shared.call_log.counts().0
    }

    /// Returns the number of running calls.
    pub fn in_flight(&self) -> usize {
        self.shared.call_log.counts().1
    }

    /// Returns the maximum number of concurrent calls so far.
    pub fn most_in_flight(&self) -> usize {
        self.shared.call_log.counts().2
    }

    /// Returns the total number of connections.
    pub fn connections(&self) -> u64 {
        self.shared.connections()
    }

    /// Waits until the calls satisfy `condition`, and returns them.
    ///
    /// # Errors
    ///
    /// Not satisfied within [`watchdog::LIMIT`] of real time.
    pub async fn wait_for(&self, mut condition: impl FnMut(&[Request]) -> bool) -> Result<Vec<Request>, Expired> {
        let mut changed = self.shared.call_log.watch();
        let satisfied = async {
            loop {
                changed.borrow_and_update();
                let requests = self.requests();
                if condition(&requests) {
                    return requests;
                }
                // Cannot fail: the call log, which owns the sender, outlives `self`.
                let _ = changed.changed().await;
            }
        };
        watchdog::within(watchdog::LIMIT, satisfied).await
    }

    /// Closes every connection and waits for its tasks.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for LlmStandin {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
