//! Limits in real time, for tests whose clock is paused.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// Longer than anything takes on a loaded machine, shorter than a person's patience.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Time between two looks at something that has no event.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Nothing happened for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing happened for {limit:?} of real time")]
pub struct Expired {
    /// How long was waited.
    pub limit: Duration,
}

/// Ends waits that take too long by the clock on the wall.
#[derive(Debug)]
pub struct Watchdog {
    limit: Duration,
    watches: SyncSender<Option<u64>>,
    expired: watch::Receiver<u64>,
    count: u64,
}

impl Watchdog {
    /// A watchdog with `limit` of patience for each wait. Its thread ends when it is dropped.
    pub fn new(limit: Duration) -> Self {
        let (watches, orders) = mpsc::sync_channel(2);
        let (expire, expired) = watch::channel(0);
        thread::spawn(move || watch(&orders, limit, &expire));
        Self { limit, watches, expired, count: 0 }
    }

    /// Waits for `future`, at most for the limit.
    ///
    /// # Errors
    ///
    /// It took longer.
    pub async fn guard<F: Future>(&mut self, future: F) -> Result<F::Output, Expired> {
        self.count += 1;
        let (count, limit) = (self.count, self.limit);
        // The thread is there for as long as `self`, so sending cannot fail.
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

/// Watches from `Some` to the next order; says so when that takes longer than `limit`.
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

/// Waits for `future`, at most for `limit` of real time.
///
/// # Errors
///
/// It took longer.
pub async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Expired> {
    Watchdog::new(limit).guard(future).await
}

/// Waits until `condition`, which has no event, holds: looks again and again, for up to [`LIMIT`].
///
/// # Errors
///
/// It never held.
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
