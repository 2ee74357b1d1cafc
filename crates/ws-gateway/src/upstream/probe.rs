//! Health checks of the cores.
//!
//! A core that hangs still accepts connections, because its kernel does. Only a byte from the core shows that it works.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use protocol::codec::encode_tag;
use protocol::proxy_header;
use protocol::trace::Traceparent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::core_selector::Pick;
use super::{ConnectError, EndpointGuard, Upstream, open};

/// Interval between health checks of healthy cores.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Timeout of a health check. With [`CHECK_INTERVAL`] it adds up to less than 10 s, the time after which no client may
/// be routed to a core that hangs.
const CHECK_TIMEOUT: Duration = Duration::from_secs(4);
/// An invalid frame: the core rejects it without a session or a database.
const PROBE_LINE: &[u8] = b"{}\n";

impl Upstream {
    /// Probes ejected cores when their time is over, checks suspected cores at once, and all healthy ones regularly if
    /// there are several: for an only core a result would change nothing.
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
            // Exhausted local resources say nothing about a healthy core; an ejected one waits for the next probe.
            Err(error) if super::exhausted(&error).is_some() && !endpoint.is_on_probation() => {}
            Err(source) => endpoint.mark_failed(&ConnectError::Silent { address: pick.address, source }),
        }
    }

    /// Succeeds if a core can be reached within `limit`. An ejected one must also reply.
    ///
    /// # Errors
    ///
    /// No core can be reached; returns the last attempt's error.
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

/// Sends a check and awaits the first byte of the reply.
async fn exchange_probe(stream: &mut TcpStream) -> io::Result<()> {
    let trace = Traceparent::random();
    let request = [&proxy_header::encode_health_check(trace)[..], &encode_tag(trace.child()), PROBE_LINE].concat();
    stream.write_all(&request).await?;
    stream.read_u8().await.map(drop)
}
