//! Preemptible permits for background work.

use std::sync::Arc;

use super::ConcurrencyLimiter;

/// RAII permit for background work. Its holder must drop it as soon as [`preempted`](Self::preempted) returns.
#[derive(Debug)]
pub struct BackgroundPermit {
    limiter: Arc<ConcurrencyLimiter>,
}

impl ConcurrencyLimiter {
    /// Acquires a preemptible permit: only while no waiter is queued and at least half of the permits are free, so that
    /// background work never delays an answer.
    pub fn try_acquire_background(self: &Arc<Self>) -> Option<BackgroundPermit> {
        let mut state = self.state();
        if !state.has_free() || (state.count - state.held) * 2 < state.count + 2 * state.reserved {
            return None;
        }
        state.held += 1;
        state.background += 1;
        Some(BackgroundPermit { limiter: Arc::clone(self) })
    }
}

impl BackgroundPermit {
    /// Waits until a waiter is queued: the permit must be dropped then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn preempted(&self) {
        // Subscribed *before* the check, or a waiter that joins in between would be missed.
        let contended = self.limiter.contended.notified();
        if self.limiter.state().queued() == 0 {
            contended.await;
        }
    }
}

impl Drop for BackgroundPermit {
    fn drop(&mut self) {
        // Not recorded: the mean estimates the duration of answers.
        let mut state = self.limiter.state();
        state.held -= 1;
        state.background -= 1;
        drop(state);
        self.limiter.grant_next();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::*;

    fn is_ready(future: std::pin::Pin<&mut impl Future>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn grants_only_while_half_of_the_permits_are_free() {
        for (count, taken, given) in [(1, 0, 1), (1, 1, 0), (2, 0, 2), (3, 0, 2), (4, 1, 2), (4, 2, 1), (4, 3, 0)] {
            let limiter = ConcurrencyLimiter::new(count, 9, Duration::from_secs(30));
            let mut held = Vec::new();
            while held.len() < taken {
                held.push(limiter.acquire(|_| {}).await.unwrap());
            }
            let background: Vec<_> = std::iter::from_fn(|| limiter.try_acquire_background()).collect();
            assert_eq!(background.len(), given, "{count} permits, {taken} taken");
            drop((held, background));
            let state = limiter.state();
            assert_eq!((state.held, state.background), (0, 0), "{count} permits, {taken} taken");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn yields_to_the_first_waiter() {
        // A queue of length 0: a preemptible permit counts as free.
        let limiter = ConcurrencyLimiter::new(1, 0, Duration::from_secs(30));
        let permit = limiter.try_acquire_background().unwrap();
        assert!(limiter.try_acquire_background().is_none());
        let mut wanted = Box::pin(permit.preempted());
        assert!(!is_ready(wanted.as_mut()), "nobody waits");
        assert_eq!(limiter.reserve().map(drop), Ok(()));
        let mut person = pin!(limiter.acquire(|_| {}));
        assert!(!is_ready(person.as_mut()));
        assert!(is_ready(wanted.as_mut()));
        assert!(is_ready(pin!(permit.preempted())), "also who looks later");
        assert!(limiter.reserve().is_err(), "it is reserved once only");
        drop(wanted);
        tokio::time::advance(Duration::from_secs(20)).await;
        drop(permit);
        assert!(is_ready(person.as_mut()));
        assert!(limiter.state().mean_hold.is_zero(), "answers are not expected to take as long");
    }
}
