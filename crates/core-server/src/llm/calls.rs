//! Calls to a provider that are under way: how many there may be, and how each ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::error::LlmError;
use crate::metrics::{CallOutcome, ProviderMetrics};

/// The calls to one provider. Each has a connection of its own, so that this bounds those as well.
#[derive(Debug)]
pub(super) struct Calls {
    permits: Semaphore,
    limit: Duration,
    metrics: Arc<ProviderMetrics>,
}

/// A call under way. Counted when it is dropped: as cancelled, unless it has come to another end.
#[derive(Debug)]
pub(super) struct Call<'a> {
    metrics: &'a ProviderMetrics,
    outcome: CallOutcome,
    _permit: SemaphorePermit<'a>,
}

impl Calls {
    /// At most `most` at once; one more waits for up to `limit`.
    pub(super) fn new(most: usize, limit: Duration, metrics: Arc<ProviderMetrics>) -> Self {
        metrics.set_connections_max(most);
        Self { permits: Semaphore::new(most), limit, metrics }
    }

    /// Waits until one more may be made, until `give_up` at the latest.
    ///
    /// # Errors
    ///
    /// [`LlmError::Exhausted`] when none ends in time.
    pub(super) async fn begin(&self, give_up: Instant) -> Result<Call<'_>, LlmError> {
        let begin = Instant::now();
        let limit = self.limit.min(give_up.saturating_duration_since(begin));
        let Ok(Ok(permit)) = timeout(limit, self.permits.acquire()).await else {
            self.metrics.exhausted.inc();
            self.metrics.call_ended(CallOutcome::Exhausted);
            return Err(LlmError::Exhausted { limit });
        };
        self.metrics.connection_wait.observe(begin.elapsed().as_secs_f64());
        self.metrics.connections_in_use.inc();
        Ok(Call { metrics: &self.metrics, outcome: CallOutcome::Cancelled, _permit: permit })
    }
}

impl Call<'_> {
    /// Notes how it ends as far as is known.
    pub(super) fn ending(&mut self, outcome: CallOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.metrics.connections_in_use.dec();
        self.metrics.call_ended(self.outcome);
    }
}
