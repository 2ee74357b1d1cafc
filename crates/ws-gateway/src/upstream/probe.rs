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

use super::cores::Pick;
use super::{ConnectError, Lease, Upstream, open};

/// Time between two checks of the cores that are healthy.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// Time for a core to answer a check. Together with the time between two checks it is less than 10 s, after which no
/// person is sent to a core that hangs.
const CHECK_LIMIT: Duration = Duration::from_secs(4);
/// No frame: the core refuses it with an error, which needs neither a session nor a database.
const QUESTION: &[u8] = b"{}\n";

impl Upstream {
    /// Probes ejected cores when their time is over, checks a healthy one that a connection suspects, and all of
    /// them regularly where there are several: with one core alone nothing would be done differently.
    pub(crate) async fn keep_probing(self: &Arc<Self>) -> Infallible {
        let mut probes = FuturesUnordered::new();
        let mut check_at = Instant::now() + CHECK_EVERY;
        loop {
            let suspects = self.cores().suspects(Instant::now());
            probes.extend(suspects.into_iter().map(|pick| self.probe(pick).boxed()));
            let next_probe = self.cores().next_probe();
            tokio::select! {
                Some(()) = probes.next() => {}
                () = self.ejected.notified() => {}
                () = until(next_probe) => {
                    let due = self.cores().probe(Instant::now());
                    probes.extend(due.map(|pick| self.probe(pick).boxed()));
                }
                () = sleep_until(check_at) => {
                    check_at = Instant::now() + CHECK_EVERY;
                    let healthy = self.cores().check(Instant::now());
                    probes.extend(healthy.into_iter().map(|pick| self.probe(pick).boxed()));
                }
            }
        }
    }

    async fn probe(self: &Arc<Self>, pick: Pick) {
        let mut lease = Lease::new(Arc::clone(self), pick);
        let answered = timeout(CHECK_LIMIT, async { ask(&mut open(pick.address).await?).await }).await;
        match answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => lease.proved(),
            // What this machine lacks leaves a healthy core healthy; an ejected one waits for the next probe.
            Err(error) if super::lack(&error).is_some() && !lease.is_on_probation() => {}
            Err(source) => lease.failed(&ConnectError::Silent { address: pick.address, source }),
        }
    }

    /// Whether a core can be reached, within `limit`. One that was ejected has to answer too.
    ///
    /// # Errors
    ///
    /// None can be; the error is the last one's.
    pub(crate) async fn reach(self: &Arc<Self>, limit: Duration) -> Result<(), ConnectError> {
        let deadline = Instant::now() + limit;
        let (mut stream, mut lease) = self.connect(limit).await?;
        if !lease.is_on_probation() {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let answered = timeout(left, ask(&mut stream)).await;
        match answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => {
                lease.proved();
                Ok(())
            }
            Err(source) => {
                let error = ConnectError::Silent { address: lease.address(), source };
                lease.failed(&error);
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
async fn ask(stream: &mut TcpStream) -> io::Result<()> {
    let trace = Traceparent::random();
    let question = [&hop::encode_check(trace)[..], &encode_tag(trace.child()), QUESTION].concat();
    stream.write_all(&question).await?;
    stream.read_u8().await.map(drop)
}
