//! Attackers, each class from its own addresses.

mod connection_flood;
mod slowloris;
mod socket;
mod stalled_readers;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use std::{io, thread};

use futures_util::future::join_all;
use rustix::process::setpriority_process;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Options;
use crate::error::LoadError;
use crate::service_stack::ServiceStack;

/// Clients that stop reading mid-answer, per service.
const STALLED_READERS: usize = 3;
/// Clients that write one byte per second, per service.
const SLOW_WRITERS: usize = 50;
/// Clients that write lines of maximum length, per service.
const LONG_WRITERS: usize = 2;
/// Clients that send a handshake at one byte per second, per service.
const SLOW_HANDSHAKES: usize = 50;

/// Outcome of attackers that were not disconnected.
const STILL_CONNECTED: &str = "still connected at the end";

/// Counts of outcomes by attack.
#[derive(Debug, Default)]
pub(super) struct Outcomes(RefCell<BTreeMap<&'static str, BTreeMap<String, u64>>>);

impl Outcomes {
    fn add(&self, label: &'static str, outcome: impl Into<String>) {
        *self.0.borrow_mut().entry(label).or_default().entry(outcome.into()).or_default() += 1;
    }

    pub(super) fn merge(&mut self, others: Self) {
        for (label, outcomes) in others.into_inner() {
            let known = self.0.get_mut().entry(label).or_default();
            outcomes.into_iter().for_each(|(outcome, count)| *known.entry(outcome).or_default() += count);
        }
    }

    pub(super) fn into_inner(self) -> BTreeMap<&'static str, BTreeMap<String, u64>> {
        self.0.into_inner()
    }
}

/// All attacks at once, until `until`.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttackLoad {
    core: SocketAddr,
    gateway: SocketAddr,
    until: Instant,
    flood_per_second: u32,
    nice: u8,
}

impl AttackLoad {
    pub(super) fn new(stack: &ServiceStack, options: &Options, until: Instant) -> Self {
        let (core, gateway) = (stack.core.address, stack.gateway.address);
        let Options { flood_per_second, attack_nice: nice, .. } = *options;
        Self { core, gateway, until, flood_per_second, nice }
    }

    /// Runs on a thread of its own and returns the outcomes. The users' thread must wait for the services, not for
    /// the attackers; the thread is niced ([`Options::attack_nice`]), because real attackers bring their own processors.
    ///
    /// # Errors
    ///
    /// The thread or its runtime cannot be created.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops all attacks.
    pub(super) async fn run_on_own_thread(self) -> Result<Outcomes, LoadError> {
        let stop = CancellationToken::new();
        let _stop_when_dropped = stop.clone().drop_guard();
        let run = move || {
            // On Linux the priority without a process id is the thread's.
            setpriority_process(None, self.nice.into()).map_err(io::Error::from)?;
            let (runtime, outcomes) = (Builder::new_current_thread().enable_all().build()?, Outcomes::default());
            runtime.block_on(stop.run_until_cancelled(self.run(&outcomes)));
            Ok(outcomes)
        };
        let (done, attacked) = oneshot::channel();
        // The receiver is dropped only when the whole run ends.
        thread::Builder::new().name("attack-load".to_owned()).spawn(move || drop(done.send(run())))?;
        attacked.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }

    async fn run(self, outcomes: &Outcomes) {
        let stalled_readers = (0..STALLED_READERS).map(|_| async {
            tokio::join!(stalled_readers::at_core(self, outcomes), stalled_readers::at_gateway(self, outcomes));
        });
        let long_writers = (0..LONG_WRITERS).map(|_| async {
            tokio::join!(
                slowloris::long_lines_to_core(self, outcomes),
                slowloris::long_lines_to_gateway(self, outcomes)
            );
        });
        let slow_writers = (0..SLOW_WRITERS).map(|number| async move {
            let start = Duration::from_millis(20 * number as u64);
            tokio::join!(
                slowloris::slow_line_to_core(self, start, outcomes),
                slowloris::slow_line_to_gateway(self, start, outcomes)
            );
        });
        let slow_handshakes = (0..SLOW_HANDSHAKES).map(|number| async move {
            let start = Duration::from_millis(20 * number as u64);
            tokio::join!(slowloris::proxy_header(self, start, outcomes), slowloris::upgrade(self, start, outcomes));
        });
        tokio::join!(
            connection_flood::run(self, outcomes),
            join_all(stalled_readers),
            join_all(long_writers),
            join_all(slow_writers),
            join_all(slow_handshakes)
        );
    }
}
