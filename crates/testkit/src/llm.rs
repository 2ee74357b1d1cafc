//! Stand-in for the model: an HTTP server that speaks the OpenAI API's streamed chat
//! completions and says what a script tells it to, faults included.

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

/// What a call gets when the script is used up.
#[derive(Debug, Clone, Default)]
pub enum Fallback {
    /// `eco: ` and what the person said last.
    #[default]
    Echo,
    /// The same answer every time.
    Answer(Answer),
    /// What this function makes of the number of the call, from 1, and what the person said last.
    Reply(fn(u64, &str) -> Answer),
}

/// How a stand-in is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What a call gets when the script is used up.
    pub fallback: Fallback,
    /// How many calls [`LlmStandin::requests`] remembers, the newest.
    pub keep: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 0).into(), fallback: Fallback::default(), keep: 10_000 }
    }
}

/// A running stand-in. It stops when dropped.
///
/// Its delays are on the runtime's clock, so a paused clock rules them too.
#[derive(Debug)]
pub struct LlmStandin {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl LlmStandin {
    /// Starts one on the current runtime.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let shared = Shared::new(options.fallback, options.keep);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(service::accept_loop(listener, Arc::clone(&shared), stop.clone(), tasks.clone()));
        Ok(Self { address, shared, stop, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address to configure: `http://…/v1/chat/completions`.
    pub fn url(&self) -> String {
        format!("http://{}/v1/chat/completions", self.address)
    }

    /// Adds an answer at the end of the script; each call uses one up.
    pub fn push(&self, answer: Answer) {
        self.shared.push(Scripted { answer, held: None });
    }

    /// The same for an answer that waits after its first `shown` pieces, until what is returned is dropped.
    pub fn push_held(&self, answer: Answer, shown: usize) -> DropGuard {
        let released = CancellationToken::new();
        self.shared.push(Scripted { answer, held: Some((shown, released.clone())) });
        released.drop_guard()
    }

    /// Scripted answers that no call has used yet.
    pub fn queued(&self) -> usize {
        self.shared.queued()
    }

    /// The calls so far, oldest first (see [`Options::keep`]).
    pub fn requests(&self) -> Vec<Request> {
        self.shared.call_log.requests()
    }

    /// How many calls there were.
    pub fn total(&self) -> u64 {
        self.shared.call_log.counts().0
    }

    /// How many calls are running.
    pub fn in_flight(&self) -> usize {
        self.shared.call_log.counts().1
    }

    /// The most calls that ever ran at once.
    pub fn most_in_flight(&self) -> usize {
        self.shared.call_log.counts().2
    }

    /// How many connections there were.
    pub fn connections(&self) -> u64 {
        self.shared.connections()
    }

    /// Waits until the calls satisfy `condition`, and returns them.
    ///
    /// # Errors
    ///
    /// They did not within [`watchdog::LIMIT`] of real time.
    pub async fn wait_for(&self, mut condition: impl FnMut(&[Request]) -> bool) -> Result<Vec<Request>, Expired> {
        let mut changed = self.shared.call_log.watch();
        let satisfied = async {
            loop {
                changed.borrow_and_update();
                let requests = self.requests();
                if condition(&requests) {
                    return requests;
                }
                // Cannot fail: the ledger, which holds the sender, outlives `self`.
                let _ = changed.changed().await;
            }
        };
        watchdog::within(watchdog::LIMIT, satisfied).await
    }

    /// Breaks every connection and waits until nothing of it is left.
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
