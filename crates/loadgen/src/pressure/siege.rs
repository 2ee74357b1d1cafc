//! Those who are in the way, each kind from addresses of its own.

mod crawl;
mod flood;
mod hoard;
mod socket;

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
use crate::town::Town;

/// People who stop reading in the middle of an answer, at each service.
const HOARDERS: usize = 3;
/// People who write a byte a second, at each service.
const SLOW_WRITERS: usize = 50;
/// People who write the longest lines there may be, at each service.
const LONG_WRITERS: usize = 2;
/// Clients that begin a handshake and go on a byte a second, at each service.
const BEGINNERS: usize = 50;

/// What became of those nobody sent away.
const STILL_CONNECTED: &str = "still connected at the end";

/// What became of whom, and how often.
#[derive(Debug, Default)]
pub(super) struct Fates(RefCell<BTreeMap<&'static str, BTreeMap<String, u64>>>);

impl Fates {
    fn add(&self, who: &'static str, what: impl Into<String>) {
        *self.0.borrow_mut().entry(who).or_default().entry(what.into()).or_default() += 1;
    }

    pub(super) fn merge(&mut self, others: Self) {
        for (who, fates) in others.into_inner() {
            let known = self.0.get_mut().entry(who).or_default();
            fates.into_iter().for_each(|(what, count)| *known.entry(what).or_default() += count);
        }
    }

    pub(super) fn into_inner(self) -> BTreeMap<&'static str, BTreeMap<String, u64>> {
        self.0.into_inner()
    }
}

/// Everything at once, until a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Siege {
    core: SocketAddr,
    gateway: SocketAddr,
    until: Instant,
    flood_per_second: u32,
    nice: u8,
}

impl Siege {
    pub(super) fn new(town: &Town, options: &Options, until: Instant) -> Self {
        let (core, gateway) = (town.core.address, town.gateway.address);
        let Options { flood_per_second, siege_nice: nice, .. } = *options;
        Self { core, gateway, until, flood_per_second, nice }
    }

    /// Does it on a thread of its own, and says what came of it. The people, who share a thread, are to wait for the
    /// services and not for those who are in their way; nor is anybody to wait for the processors that those would
    /// bring along in life, so the thread comes behind ([`Options::siege_nice`]).
    ///
    /// # Errors
    ///
    /// There is no thread or no runtime for it.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it ends everything.
    pub(super) async fn lay_apart(self) -> Result<Fates, LoadError> {
        let stop = CancellationToken::new();
        let _stop_when_dropped = stop.clone().drop_guard();
        let apart = move || {
            // Without a process, on Linux, it is the thread's.
            setpriority_process(None, self.nice.into()).map_err(io::Error::from)?;
            let (runtime, fates) = (Builder::new_current_thread().enable_all().build()?, Fates::default());
            runtime.block_on(stop.run_until_cancelled(self.lay(&fates)));
            Ok(fates)
        };
        let (done, laid) = oneshot::channel();
        // Nobody waits for it any more only if the whole run is over.
        thread::Builder::new().name("siege".to_owned()).spawn(move || drop(done.send(apart())))?;
        laid.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }

    async fn lay(self, fates: &Fates) {
        let hoarders = (0..HOARDERS).map(|_| async {
            tokio::join!(hoard::at_core(self, fates), hoard::at_gateway(self, fates));
        });
        let long_writers = (0..LONG_WRITERS).map(|_| async {
            tokio::join!(crawl::long_lines_to_core(self, fates), crawl::long_lines_to_gateway(self, fates));
        });
        let slow_writers = (0..SLOW_WRITERS).map(|number| async move {
            let start = Duration::from_millis(20 * number as u64);
            tokio::join!(crawl::slow_line_to_core(self, start, fates), crawl::slow_line_to_gateway(self, start, fates));
        });
        let beginners = (0..BEGINNERS).map(|number| async move {
            let start = Duration::from_millis(20 * number as u64);
            tokio::join!(crawl::proxy_header(self, start, fates), crawl::upgrade(self, start, fates));
        });
        tokio::join!(
            flood::rise(self, fates),
            join_all(hoarders),
            join_all(long_writers),
            join_all(slow_writers),
            join_all(beginners)
        );
    }
}
