//! Connections of the gateway's own, which show whether a core answers.
//!
//! A core that hangs accepts connections as before: its kernel does. Only a byte from the core itself shows that it
//! works.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use protocol::codec::encode_tag;
use protocol::hop;
use protocol::trace::Traceparent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::core_selector::Pick;
use super::{ConnectError, EndpointGuard, Upstream, open};

/// Time between two checks of the cores that are healthy.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Time for a core to answer a check. Together with the time between two checks it is less than 10 s, after which no
/// person is sent to a core that hangs.
const CHECK_TIMEOUT: Duration = Duration::from_secs(4);
/// No frame: the core refuses it with an error, which needs neither a session nor a database.
const PROBE_LINE: &[u8] = b"{}\n";

impl Upstream {
    /// Probes ejected cores when their time is over, checks a healthy one that a connection suspects, and all of
    /// them regularly where there are several: with one core alone nothing would be done differently.
    pub(crate) async fn probe_loop(self: &Arc<Self>) -> Infallible {
        let mut probes = FuturesUnordered::new();
        let mut check_at = Instant::now() + CHECK_INTERVAL;
        loop {
            let suspects = self.selector().suspects(Instant::now());
            probes.extend(suspects.into_iter().map(|pick| self.probe(pick).boxed()));
            let next_probe = self.selector().next_probe();
            tokio::select! {
                Some(()) = probes.next() => {}
                () = self.probe_wakeup.notified() => {}
                () = until(next_probe) => {
                    let due = self.selector().probe(Instant::now());
                    probes.extend(due.map(|pick| self.probe(pick).boxed()));
                }
                () = sleep_until(check_at) => {
                    check_at = Instant::now() + CHECK_INTERVAL;
                    let healthy = self.selector().check(Instant::now());
                    probes.extend(healthy.into_iter().map(|pick| self.probe(pick).boxed()));
                }
            }
        }
    }

    async fn probe(self: &Arc<Self>, pick: Pick) {
        let mut endpoint = EndpointGuard::new(Arc::clone(self), pick);
        let answered = timeout(CHECK_TIMEOUT, async { exchange_probe(&mut open(pick.address).await?).await }).await;
        match answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => endpoint.mark_healthy(),
            // What this machine lacks leaves a healthy core healthy; an ejected one waits for the next probe.
            Err(error) if super::exhausted(&error).is_some() && !endpoint.is_on_probation() => {}
            Err(source) => endpoint.mark_failed(&ConnectError::Silent { address: pick.address, source }),
        }
    }

    /// Whether a core can be reached, within `limit`. One that was ejected has to answer too.
    ///
    /// # Errors
    ///
    /// None can be; the error is the last one's.
    pub(crate) async fn check_reachable(self: &Arc<Self>, limit: Duration) -> Result<(), ConnectError> {
        let deadline = Instant::now() + limit;
        let (mut stream, mut endpoint) = self.connect(limit).await?;
        if !endpoint.is_on_probation() {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let answered = timeout(left, exchange_probe(&mut stream)).await;
        match answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => {
                endpoint.mark_healthy();
                Ok(())
            }
            Err(source) => {
                let error = ConnectError::Silent { address: endpoint.address(), source };
                endpoint.mark_failed(&error);
                Err(error)
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Waits for the first byte of an answer.
async fn exchange_probe(stream: &mut TcpStream) -> io::Result<()> {
    let trace = Traceparent::random();
    let request = [&hop::encode_check(trace)[..], &encode_tag(trace.child()), PROBE_LINE].concat();
    stream.write_all(&request).await?;
    stream.read_u8().await.map(drop)
}
