//! Log of received calls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

/// A received call.
#[derive(Debug, Clone)]
pub struct Request {
    /// Number of the call, from 1.
    pub number: u64,
    /// Arrival of the complete body.
    pub arrived: Instant,
    /// End of the response, or disconnection of the client.
    pub ended: Option<Instant>,
    /// Outcome of the call.
    pub outcome: Outcome,
    headers: HeaderMap,
    body: Bytes,
}

/// Outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// In progress, or hanging as scripted.
    Running,
    /// The whole answer was written, or the scripted fault was executed.
    Finished,
    /// The client disconnected first.
    Cancelled,
}

impl Request {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the `x-request-id` header.
    pub fn request_id(&self) -> Option<&str> {
        self.header("x-request-id")
    }

    /// Returns the `traceparent` header.
    pub fn traceparent(&self) -> Option<&str> {
        self.header("traceparent")
    }

    /// Returns the `authorization` header.
    pub fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }

    /// Returns the body; null if it is not JSON.
    pub fn body(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Call log: counts of all calls, details of the newest.
#[derive(Debug)]
pub(super) struct CallLog {
    keep: usize,
    calls: Mutex<Calls>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Calls {
    total: u64,
    in_flight: usize,
    peak: usize,
    kept: VecDeque<Request>,
}

impl CallLog {
    /// Creates a log that keeps the details of the newest `keep` calls.
    pub(super) fn new(keep: usize) -> Arc<Self> {
        Arc::new(Self { keep, calls: Mutex::default(), changed: watch::Sender::new(()) })
    }

    /// Records a call; it runs until the returned guard is finished or dropped.
    pub(super) fn open(self: &Arc<Self>, headers: HeaderMap, body: Bytes) -> OpenCall {
        let number = {
            let mut calls = self.calls();
            calls.total += 1;
            calls.in_flight += 1;
            calls.peak = calls.peak.max(calls.in_flight);
            let number = calls.total;
            if self.keep <= calls.kept.len() {
                calls.kept.pop_front();
            }
            if 0 < self.keep {
                let (arrived, outcome) = (Instant::now(), Outcome::Running);
                calls.kept.push_back(Request { number, arrived, ended: None, outcome, headers, body });
            }
            number
        };
        self.changed.send_replace(());
        OpenCall { call_log: Arc::clone(self), number, closed: false }
    }

    fn close(&self, number: u64, outcome: Outcome) {
        {
            let mut calls = self.calls();
            calls.in_flight -= 1;
            let at = calls.kept.partition_point(|request| request.number < number);
            if let Some(request) = calls.kept.get_mut(at).filter(|request| request.number == number) {
                request.outcome = outcome;
                request.ended = Some(Instant::now());
            }
        }
        self.changed.send_replace(());
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.calls().kept.iter().cloned().collect()
    }

    /// Returns the number of calls so far, of running calls, and the maximum of running calls.
    pub(super) fn counts(&self) -> (u64, usize, usize) {
        let calls = self.calls();
        (calls.total, calls.in_flight, calls.peak)
    }

    /// Subscribes to later changes.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard of a running call; dropped before [`OpenCall::finish`], the call counts as cancelled.
#[derive(Debug)]
pub(super) struct OpenCall {
    call_log: Arc<CallLog>,
    pub(super) number: u64,
    closed: bool,
}

impl OpenCall {
    pub(super) fn finish(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.call_log.close(self.number, Outcome::Finished);
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if !self.closed {
            self.call_log.close(self.number, Outcome::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn counts_all_and_keeps_the_newest() {
        let call_log = CallLog::new(2);
        let open = || call_log.open(HeaderMap::new(), Bytes::new());
        let (mut first, mut second, third) = (open(), open(), open());
        assert_eq!(call_log.counts(), (3, 3, 3));
        first.finish();
        second.finish();
        drop((first, second, third));
        assert_eq!(call_log.counts(), (3, 0, 3));
        let outcomes: Vec<_> = call_log.requests().iter().map(|request| (request.number, request.outcome)).collect();
        assert_eq!(outcomes, [(2, Outcome::Finished), (3, Outcome::Cancelled)]);
    }
}
