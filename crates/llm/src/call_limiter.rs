//! Concurrency limit on the calls to a provider, and their outcome metric.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::error::LlmError;
use super::metrics::{CallOutcome, ProviderMetrics};

/// Concurrency limit of one provider. Each call has its own connection (HTTP/1.1), so this bounds connections too.
#[derive(Debug)]
pub(super) struct CallLimiter {
    permits: Arc<Semaphore>,
    limit: Duration,
    metrics: Arc<ProviderMetrics>,
}

/// RAII guard of a call in flight. Counts the outcome exactly once: when it is known, else on drop.
#[derive(Debug)]
pub(super) struct CallGuard {
    metrics: Arc<ProviderMetrics>,
    is_counted: bool,
    _permit: OwnedSemaphorePermit,
}

impl CallLimiter {
    /// Allows `most` concurrent calls; one more waits for up to `limit`.
    pub(super) fn new(most: usize, limit: Duration, metrics: Arc<ProviderMetrics>) -> Self {
        metrics.set_connections_max(most);
        Self { permits: Arc::new(Semaphore::new(most)), limit, metrics }
    }

    /// Acquires a call, until `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// [`LlmError::Exhausted`] if no call ends in time.
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
    /// Records the outcome; later ones are ignored. The call may finish before its connection does.
    pub(super) fn ended(&mut self, outcome: CallOutcome) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.metrics.call_ended(outcome);
        }
    }
}

impl Drop for CallGuard {
    /// Counts as cancelled unless an outcome was recorded.
    fn drop(&mut self) {
        self.ended(CallOutcome::Cancelled);
        self.metrics.connections_in_use.dec();
    }
}
