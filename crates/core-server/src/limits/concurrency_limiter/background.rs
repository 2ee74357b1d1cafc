//! Slots for what nobody waits for.

use std::sync::Arc;

use super::ConcurrencyLimiter;

/// A slot that nobody else wanted. Its holder lets go of it as soon as somebody waits.
#[derive(Debug)]
pub struct BackgroundPermit {
    limiter: Arc<ConcurrencyLimiter>,
}

impl ConcurrencyLimiter {
    /// A slot for something that can wait for ever: only while nobody waits and at least half of
    /// the slots are free. It may be held only until [`BackgroundPermit::wanted`].
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
    /// Waits until somebody waits: then the slot is to be dropped at once.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn preempted(&self) {
        // Made before the look: whoever comes in between is not missed.
        let contended = self.limiter.contended.notified();
        if self.limiter.state().queued() == 0 {
            contended.await;
        }
    }
}

impl Drop for BackgroundPermit {
    fn drop(&mut self) {
        // How long it was held says nothing about answers.
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
    async fn only_while_half_of_the_slots_are_free() {
        for (count, taken, given) in [(1, 0, 1), (1, 1, 0), (2, 0, 2), (3, 0, 2), (4, 1, 2), (4, 2, 1), (4, 3, 0)] {
            let limiter = ConcurrencyLimiter::new(count, 9, Duration::from_secs(30));
            let mut held = Vec::new();
            while held.len() < taken {
                held.push(limiter.acquire(|_| {}).await.unwrap());
            }
            let permit: Vec<_> = std::iter::from_fn(|| limiter.try_acquire_background()).collect();
            assert_eq!(permit.len(), given, "{count} limiter, {taken} taken");
            drop((held, permit));
            let state = limiter.state();
            assert_eq!((state.held, state.background), (0, 0), "{count} limiter, {taken} taken");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_gets_it_at_once() {
        // Not even a place in the queue is needed.
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
