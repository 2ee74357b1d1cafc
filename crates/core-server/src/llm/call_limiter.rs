//! Calls to a provider that are under way: how many there may be, and how each ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::error::LlmError;
use crate::metrics::{CallOutcome, ProviderMetrics};

/// The calls to one provider. Each has a connection of its own, so that this bounds those as well.
#[derive(Debug)]
pub(super) struct CallLimiter {
    permits: Arc<Semaphore>,
    limit: Duration,
    metrics: Arc<ProviderMetrics>,
}

/// A call under way, and with it its connection. How it ends is counted once: when that is known, or when it is
/// dropped.
#[derive(Debug)]
pub(super) struct CallGuard {
    metrics: Arc<ProviderMetrics>,
    is_counted: bool,
    _permit: OwnedSemaphorePermit,
}

impl CallLimiter {
    /// At most `most` at once; one more waits for up to `limit`.
    pub(super) fn new(most: usize, limit: Duration, metrics: Arc<ProviderMetrics>) -> Self {
        metrics.set_connections_max(most);
        Self { permits: Arc::new(Semaphore::new(most)), limit, metrics }
    }

    /// Waits until one more may be made, until `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// [`LlmError::Exhausted`] when none ends in time.
    pub(super) async fn acquire(&self, deadline: Instant) -> Result<CallGuard, LlmError> {
        let begin = Instant::now();
        let limit = self.limit.min(deadline.saturating_duration_since(begin));
        let Ok(Ok(permit)) = timeout(limit, Arc::clone(&self.permits).acquire_owned()).await else {
            self.metrics.exhausted.inc();
            self.metrics.call_ended(CallOutcome::Exhausted);
            return Err(LlmError::Exhausted { limit });
        };
        self.metrics.connection_wait.observe(begin.elapsed().as_secs_f64());
        self.metrics.connections_in_use.inc();
        Ok(CallGuard { metrics: Arc::clone(&self.metrics), is_counted: false, _permit: permit })
    }
}

impl CallGuard {
    /// It has come to its end, if not yet its connection. What it is told after that does not count.
    pub(super) fn ended(&mut self, outcome: CallOutcome) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.metrics.call_ended(outcome);
        }
    }
}

impl Drop for CallGuard {
    /// Nobody wanted the rest of it any more, unless it has ended before.
    fn drop(&mut self) {
        self.ended(CallOutcome::Cancelled);
        self.metrics.connections_in_use.dec();
    }
}
