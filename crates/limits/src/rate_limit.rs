//! Sliding-window log rate limiter.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Rate limit: a number of events per window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Events allowed per key in any window.
    pub events: usize,
    /// Length of the window.
    pub window: Duration,
}

impl RateLimit {
    /// Returns an equal share of the limit for one of `sharers`; at least one event.
    #[must_use]
    pub fn share(self, sharers: usize) -> Self {
        Self { events: self.events.div_ceil(sharers.max(1)), ..self }
    }
}

/// Recent events of one key, oldest first.
#[derive(Debug, Default)]
struct Window {
    events: VecDeque<Instant>,
}

impl Window {
    /// Drops events that have left the window at `now`.
    fn expire(&mut self, limit: RateLimit, now: Instant) {
        while self.events.front().is_some_and(|&at| limit.window <= now.saturating_duration_since(at)) {
            self.events.pop_front();
        }
    }

    /// Returns the time until the next event is allowed; `None` if it is now.
    fn wait(&mut self, limit: RateLimit, now: Instant) -> Option<Duration> {
        self.expire(limit, now);
        // The event that must leave first, counted from the newest.
        let over = self.events.len().checked_sub(limit.events)?;
        let leaves = self.events.get(over).map_or(now, |&at| at + limit.window);
        Some(leaves.saturating_duration_since(now))
    }
}

/// Rate limiter for many keys. Keeps only events inside the window.
///
/// ```
/// use std::time::Duration;
///
/// use limits::{RateLimit, RateLimiter};
/// use tokio::time::Instant;
///
/// let limiter = RateLimiter::new(RateLimit { events: 2, window: Duration::from_secs(60) });
/// let start = Instant::now();
/// assert_eq!(limiter.take("ana", start), Ok(()));
/// assert_eq!(limiter.take("ana", start), Ok(()));
/// assert_eq!(limiter.take("ana", start + Duration::from_secs(20)), Err(Duration::from_secs(40)));
/// assert_eq!(limiter.take("bea", start + Duration::from_secs(20)), Ok(()));
/// ```
#[derive(Debug)]
pub struct RateLimiter<K> {
    limit: RateLimit,
    windows: Mutex<Windows<K>>,
}

#[derive(Debug)]
struct Windows<K> {
    by_key: HashMap<K, Window>,
    /// Time of the next sweep for empty windows.
    sweep_at: Option<Instant>,
}

impl<K: Hash + Eq> RateLimiter<K> {
    /// Creates a limiter without events.
    pub fn new(limit: RateLimit) -> Self {
        Self { limit, windows: Mutex::new(Windows { by_key: HashMap::new(), sweep_at: None }) }
    }

    /// Returns the limit.
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Returns the time until the next event of `key` is allowed at `now`; `None` if it is now.
    pub fn wait(&self, key: &K, now: Instant) -> Option<Duration> {
        self.wait_within(self.limit, key, now)
    }

    /// As [`RateLimiter::wait`], under a smaller limit with the same window.
    pub fn wait_within(&self, limit: RateLimit, key: &K, now: Instant) -> Option<Duration> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.by_key.get_mut(key)?.wait(limit, now)
    }

    /// Counts an event of `key` at `now` if it is allowed.
    ///
    /// # Errors
    ///
    /// Time until the next event is allowed; a rejected one is not counted.
    pub fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.take_within(self.limit, key, now)
    }

    /// As [`RateLimiter::take`], under a smaller limit with the same window.
    ///
    /// # Errors
    ///
    /// Time until the next event is allowed; a rejected one is not counted.
    pub fn take_within(&self, limit: RateLimit, key: K, now: Instant) -> Result<(), Duration> {
        // Checked and counted under one lock: concurrent callers must not exceed the limit.
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.sweep(self.limit, now);
        let window = windows.by_key.entry(key).or_default();
        match window.wait(limit, now) {
            Some(wait) => Err(wait),
            None => {
                window.events.push_back(now);
                Ok(())
            }
        }
    }

    /// Removes the event of `key` counted at `at`, if it did not happen after all.
    pub fn refund(&self, key: &K, at: Instant) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(window) = windows.by_key.get_mut(key) else { return };
        if let Some(index) = window.events.iter().rposition(|event| *event == at) {
            window.events.remove(index);
        }
    }
}

impl<K: Hash + Eq + Clone> RateLimiter<K> {
    /// Returns every event inside the window at `now`.
    pub fn events(&self, now: Instant) -> Vec<(K, Instant)> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events = Vec::new();
        for (key, window) in &mut windows.by_key {
            window.expire(self.limit, now);
            events.extend(window.events.iter().map(|&at| (key.clone(), at)));
        }
        events
    }
}

impl<K: Hash + Eq> Windows<K> {
    /// Removes empty windows, once per window length: amortised, each event is visited once more.
    fn sweep(&mut self, limit: RateLimit, now: Instant) {
        if self.sweep_at.is_some_and(|at| now < at) {
            return;
        }
        self.sweep_at = Some(now + limit.window);
        self.by_key.retain(|_, window| {
            window.expire(limit, now);
            !window.events.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: RateLimit = RateLimit { events: 2, window: Duration::from_secs(10) };

    /// Takes an event, or returns the wait in ms. Checks that `wait` agrees and has no effect.
    fn take(limiter: &RateLimiter<u8>, key: u8, now: Instant) -> Result<(), u128> {
        let wait = limiter.wait(&key, now);
        let taken = limiter.take(key, now);
        assert_eq!(taken.err(), wait);
        taken.map_err(|wait| wait.as_millis())
    }

    #[test]
    fn the_window_slides() {
        let steps: &[(u64, u8, Result<(), u128>)] = &[
            (0, 1, Ok(())),
            (4_000, 1, Ok(())),
            (4_000, 1, Err(6_000)),
            (4_000, 2, Ok(())), // Another person is not affected.
            (9_999, 1, Err(1)),
            (10_000, 1, Ok(())), // The first event has just left.
            (10_000, 1, Err(4_000)),
            (90_000, 1, Ok(())),
            (90_000, 1, Ok(())),
            (90_000, 1, Err(10_000)),
        ];
        let start = Instant::now();
        let limiter = RateLimiter::new(LIMIT);
        for (index, &(at_ms, key, want)) in steps.iter().enumerate() {
            let got = take(&limiter, key, start + Duration::from_millis(at_ms));
            assert_eq!(got, want, "step {index}, at {at_ms} ms");
        }
        assert_eq!(limiter.windows.lock().unwrap().by_key.len(), 1, "the idle person is forgotten");
    }

    #[test]
    fn refund_frees_capacity() {
        let (start, limiter) = (Instant::now(), RateLimiter::new(LIMIT));
        let later = start + Duration::from_secs(1);
        assert_eq!((limiter.take(1, start), limiter.take(1, later)), (Ok(()), Ok(())));
        assert_eq!(limiter.take(1, later), Err(Duration::from_secs(9)));
        for (key, at) in [(2, start), (1, start + LIMIT.window)] {
            limiter.refund(&key, at);
            assert_eq!(limiter.wait(&1, later), Some(Duration::from_secs(9)), "{key}: nothing to be refunded");
        }
        limiter.refund(&1, start);
        assert_eq!(limiter.take(1, later), Ok(()));
        assert_eq!(limiter.take(1, later), Err(LIMIT.window));
    }

    #[test]
    fn enforces_a_share_of_the_limit() {
        let (start, limiter) = (Instant::now(), RateLimiter::new(LIMIT));
        assert_eq!(limiter.take_within(LIMIT.share(2), 1, start), Ok(()));
        assert_eq!(limiter.wait(&1, start), None);
        assert_eq!(limiter.wait_within(LIMIT.share(2), &1, start), Some(LIMIT.window));
        assert_eq!(limiter.take_within(LIMIT.share(2), 1, start), Err(LIMIT.window));
        assert_eq!(LIMIT.share(9).events, 1, "never none");
        assert_eq!(limiter.events(start), [(1, start)]);
        assert_eq!(limiter.events(start + LIMIT.window), []);
    }

    proptest! {
        /// Reference model: an event is allowed if fewer than `events` lie in the window before it; the returned wait
        /// is exact.
        #[test]
        fn as_defined(gaps in proptest::collection::vec(0u64..6_000, 1..60)) {
            let (start, limiter) = (Instant::now(), RateLimiter::new(LIMIT));
            let (mut at, mut taken) = (0u64, Vec::new());
            for gap in gaps {
                at += gap;
                let window = u64::try_from(LIMIT.window.as_millis()).unwrap();
                let inside: Vec<u64> = taken.iter().copied().filter(|&t| at < t + window).collect();
                let want = if inside.len() < LIMIT.events {
                    Ok(())
                } else {
                    Err(u128::from(inside[inside.len() - LIMIT.events] + window - at))
                };
                let got = take(&limiter, 0, start + Duration::from_millis(at));
                prop_assert_eq!(got, want);
                if got.is_ok() {
                    taken.push(at);
                }
            }
        }
    }
}
