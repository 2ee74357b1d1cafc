//! Slots for what nobody waits for.

use std::sync::Arc;

use super::Slots;

/// A slot that nobody else wanted. Its holder lets go of it as soon as somebody waits.
#[derive(Debug)]
pub struct IdleSlot {
    slots: Arc<Slots>,
}

impl Slots {
    /// A slot for something that can wait for ever: only while nobody waits and at least half of
    /// the slots are free. It may be held only until [`IdleSlot::wanted`].
    pub fn try_idle(self: &Arc<Self>) -> Option<IdleSlot> {
        let mut state = self.state();
        if !state.has_free() || (state.count - state.held) * 2 < state.count + 2 * state.promised {
            return None;
        }
        state.held += 1;
        state.idle += 1;
        Some(IdleSlot { slots: Arc::clone(self) })
    }
}

impl IdleSlot {
    /// Waits until somebody waits: then the slot is to be dropped at once.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn wanted(&self) {
        // Made before the look: whoever comes in between is not missed.
        let crowded = self.slots.crowded.notified();
        if self.slots.state().queued() == 0 {
            crowded.await;
        }
    }
}

impl Drop for IdleSlot {
    fn drop(&mut self) {
        // How long it was held says nothing about answers.
        let mut state = self.slots.state();
        state.held -= 1;
        state.idle -= 1;
        drop(state);
        self.slots.pass_on();
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
            let slots = Slots::new(count, 9, Duration::from_secs(30));
            let mut held = Vec::new();
            while held.len() < taken {
                held.push(slots.acquire(|_| {}).await.unwrap());
            }
            let idle: Vec<_> = std::iter::from_fn(|| slots.try_idle()).collect();
            assert_eq!(idle.len(), given, "{count} slots, {taken} taken");
            drop((held, idle));
            let state = slots.state();
            assert_eq!((state.held, state.idle), (0, 0), "{count} slots, {taken} taken");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_gets_it_at_once() {
        // Not even a place in the queue is needed.
        let slots = Slots::new(1, 0, Duration::from_secs(30));
        let idle = slots.try_idle().unwrap();
        assert!(slots.try_idle().is_none());
        let mut wanted = Box::pin(idle.wanted());
        assert!(!is_ready(wanted.as_mut()), "nobody waits");
        assert_eq!(slots.room().map(drop), Ok(()));
        let mut person = pin!(slots.acquire(|_| {}));
        assert!(!is_ready(person.as_mut()));
        assert!(is_ready(wanted.as_mut()));
        assert!(is_ready(pin!(idle.wanted())), "also who looks later");
        assert!(slots.room().is_err(), "it is promised once only");
        drop(wanted);
        tokio::time::advance(Duration::from_secs(20)).await;
        drop(idle);
        assert!(is_ready(person.as_mut()));
        assert!(slots.state().mean_held.is_zero(), "answers are not expected to take as long");
    }
}
