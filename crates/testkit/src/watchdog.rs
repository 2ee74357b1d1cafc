//! Timeouts in real time, for tests with a paused clock.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// Longer than any step on a loaded machine, short enough to wait for.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Poll interval for conditions without an event.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A timeout expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing happened for {limit:?} of real time")]
pub struct Expired {
    /// The timeout.
    pub limit: Duration,
}

/// Bounds waits in real time.
#[derive(Debug)]
pub struct Watchdog {
    limit: Duration,
    watches: SyncSender<Option<u64>>,
    expired: watch::Receiver<u64>,
    count: u64,
}

impl Watchdog {
    /// Creates a watchdog with a timeout of `limit` per wait. Its thread ends on drop.
    pub fn new(limit: Duration) -> Self {
        let (watches, orders) = mpsc::sync_channel(2);
        let (expire, expired) = watch::channel(0);
        thread::spawn(move || watch(&orders, limit, &expire));
        Self { limit, watches, expired, count: 0 }
    }

    /// Awaits `future` with the timeout.
    ///
    /// # Errors
    ///
    /// The timeout expired.
    pub async fn guard<F: Future>(&mut self, future: F) -> Result<F::Output, Expired> {
        self.count += 1;
        let (count, limit) = (self.count, self.limit);
        // Cannot fail: the thread lives as long as `self`.
        let _ = self.watches.send(Some(count));
        let output = tokio::select! {
            biased;
            output = future => Ok(output),
            _ = self.expired.wait_for(|expired| *expired == count) => Err(Expired { limit }),
        };
        let _ = self.watches.send(None);
        output
    }
}

/// Times each wait from `Some` to the next order; sends its number if it exceeds `limit`.
fn watch(orders: &Receiver<Option<u64>>, limit: Duration, expire: &watch::Sender<u64>) {
    let mut watching = None;
    loop {
        let order = match watching {
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => orders.recv_timeout(limit),
        };
        match order {
            Ok(next) => watching = next,
            Err(RecvTimeoutError::Timeout) => {
                expire.send_replace(watching.take().unwrap_or_default());
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Awaits `future` with a timeout of `limit` in real time.
///
/// # Errors
///
/// The timeout expired.
pub async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Expired> {
    Watchdog::new(limit).guard(future).await
}

/// Polls until `condition` holds, for up to [`LIMIT`].
///
/// # Errors
///
/// It did not hold in time.
pub async fn until(mut condition: impl AsyncFnMut() -> bool) -> Result<(), Expired> {
    let holds = async {
        while !condition().await {
            sleep(POLL_INTERVAL).await;
        }
    };
    within(LIMIT, holds).await
}

#[cfg(test)]
mod tests {
    use std::future;

    use super::*;
    use crate::clock::FrozenClock;

    #[tokio::test(start_paused = true)]
    async fn expires_once_per_wait() {
        let _frozen = FrozenClock::freeze();
        let limit = Duration::from_millis(20);
        let mut watchdog = Watchdog::new(limit);
        assert_eq!(watchdog.guard(future::ready(1)).await, Ok(1));
        assert_eq!(watchdog.guard(future::pending::<()>()).await, Err(Expired { limit }));
        assert_eq!(watchdog.guard(future::ready(2)).await, Ok(2));
        assert_eq!(watchdog.guard(future::pending::<()>()).await, Err(Expired { limit }));
    }
}
