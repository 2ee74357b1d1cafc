//! The last scrapes of a service.

use std::collections::VecDeque;

use crate::endpoint::Endpoint;
use crate::scrape::{Sample, ScrapeError};

/// Scrapes kept: rates and percentiles are those between the oldest and the newest.
const MAX_SAMPLES: usize = 30;

/// A service, its last scrapes and the last failure.
#[derive(Debug)]
pub(super) struct History {
    endpoint: Endpoint,
    samples: VecDeque<Sample>,
    failure: Option<String>,
}

impl History {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, samples: VecDeque::new(), failure: None }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Adds a scrape. A failure forgets the earlier ones: figures of a service that does not answer would be old.
    pub(super) fn record(&mut self, sample: Result<Sample, ScrapeError>) {
        match sample {
            Ok(sample) => {
                self.failure = None;
                if self.samples.len() == MAX_SAMPLES {
                    self.samples.pop_front();
                }
                self.samples.push_back(sample);
            }
            Err(error) => {
                self.samples.clear();
                self.failure = Some(error.to_string());
            }
        }
    }

    /// Returns the oldest and the newest scrape, which may be one.
    pub(super) fn span(&self) -> Option<(&Sample, &Sample)> {
        self.samples.front().zip(self.samples.back())
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::scrape::tests::sample;

    #[test]
    fn keeps_the_last_scrapes_until_a_failure() {
        let mut history = History::new("127.0.0.1:9101".parse().unwrap());
        for turns in 0..40 {
            history.record(Ok(sample(&format!("# TYPE turns counter\nturns {turns}\n"), Instant::now())));
        }
        let (oldest, newest) = history.span().unwrap();
        assert_eq!((oldest.sum("turns"), newest.sum("turns"), history.failure()), (10.0, 39.0, None));
        history.record(Err(ScrapeError::Status(500)));
        assert!(history.span().is_none());
        assert_eq!(history.failure(), Some("/metrics answers with status 500"));
    }
}
