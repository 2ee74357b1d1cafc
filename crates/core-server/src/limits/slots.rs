//! A bounded number of things at once, first come first served.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

/// How often someone who waits is told a new place in the queue, at most.
const PLACE_INTERVAL: Duration = Duration::from_secs(1);

/// What the mean time in a slot takes over of each new one: about the last twenty count.
const NEWEST_SHARE: f64 = 0.05;
/// The shortest time after which it makes sense to come back.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// There is no slot, and no use in waiting for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no slot becomes free in time")]
pub struct SlotsFull {
    /// When there may be room.
    pub retry_after: Duration,
}

/// How slots are used at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotsLoad {
    /// Slots there are.
    pub count: usize,
    /// Slots somebody has.
    pub in_use: usize,
    /// How many wait for one.
    pub waiting: usize,
}

/// Slots with a bounded queue in front of them.
///
/// First come, first served, and fair between people: the turns of one session run one after
/// another, so that each session waits here once at most, however many messages it has.
///
/// When the queue is full, or so long that the time limit would pass before the end of it,
/// one more is refused at once; who waits longer than the time limit is refused then.
#[derive(Debug)]
pub struct Slots {
    count: usize,
    queue_max: usize,
    queue_timeout: Duration,
    state: Mutex<State>,
    /// The queue has become shorter at its front.
    moved: Notify,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Everyone who has a ticket below the first one here has left the queue.
    waiting: VecDeque<Waiter>,
    next_ticket: u64,
    /// How long a slot is held, as a moving mean; 0 until one was.
    mean_held: Duration,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    grant: oneshot::Sender<Slot>,
}

/// The right to one thing at a time; dropping it lets the next one in.
#[derive(Debug)]
pub struct Slot {
    slots: Option<Arc<Slots>>,
    since: Instant,
}

/// A place in the queue; dropping it leaves the queue.
struct Place<'a> {
    slots: &'a Slots,
    ticket: u64,
}

impl Slots {
    /// `count` slots, and a queue for `queue_max` more that wait up to `queue_timeout` each.
    pub fn new(count: usize, queue_max: usize, queue_timeout: Duration) -> Arc<Self> {
        let state = State { free: count, waiting: VecDeque::new(), next_ticket: 0, mean_held: Duration::ZERO };
        Arc::new(Self { count, queue_max, queue_timeout, state: Mutex::new(state), moved: Notify::new() })
    }

    /// Whether one more could take a slot, or a place in the queue from which it gets one in time.
    ///
    /// # Errors
    ///
    /// [`SlotsFull`] as [`Slots::acquire`] would give now.
    pub fn check_room(&self) -> Result<(), SlotsFull> {
        let state = self.state();
        if state.has_free() { Ok(()) } else { self.check_queue(&state) }
    }

    fn check_queue(&self, state: &State) -> Result<(), SlotsFull> {
        let turns = state.waiting.len() + 1;
        let share = f64::from(u32::try_from(turns).unwrap_or(u32::MAX))
            / f64::from(u32::try_from(self.count).unwrap_or(u32::MAX));
        let expected = state.mean_held.mul_f64(share);
        if state.waiting.len() < self.queue_max && expected <= self.queue_timeout {
            return Ok(());
        }
        // When the one who would be last now could wait in time again, or has got a slot.
        let retry_after =
            if expected.is_zero() { self.queue_timeout } else { expected.saturating_sub(self.queue_timeout / 2) };
        Err(SlotsFull { retry_after: retry_after.max(RETRY_MIN) })
    }

    /// How the slots are used.
    pub fn load(&self) -> SlotsLoad {
        let state = self.state();
        let waiting = state.waiting.len();
        SlotsLoad { count: self.count, in_use: self.count.saturating_sub(state.free), waiting }
    }

    /// Waits for a slot, first come first served. `on_place` hears how many are ahead:
    /// at once if there is a wait, then when it changes, at most once a second.
    ///
    /// # Errors
    ///
    /// [`SlotsFull`] when the queue is full or the wait too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the queue; nobody else loses their place.
    pub async fn acquire(self: &Arc<Self>, mut on_place: impl FnMut(usize)) -> Result<Slot, SlotsFull> {
        let (place, mut granted) = match self.enter()? {
            Entered::Slot(slot) => return Ok(slot),
            Entered::Queue(place, granted) => (place, granted),
        };
        let deadline = Instant::now() + self.queue_timeout;
        let wait = async {
            let mut told = place.ahead();
            on_place(told);
            loop {
                tokio::select! {
                    biased;
                    slot = &mut granted => return slot.map_err(|_| self.gave_up()),
                    ahead = place.falls_below(told) => {
                        told = ahead;
                        on_place(ahead);
                    }
                }
            }
        };
        timeout_at(deadline, wait).await.unwrap_or_else(|_| Err(self.gave_up()))
    }

    /// Someone waited as long as anyone may: it takes about as long for those behind to be gone.
    fn gave_up(&self) -> SlotsFull {
        SlotsFull { retry_after: self.queue_timeout.max(RETRY_MIN) }
    }

    fn enter(self: &Arc<Self>) -> Result<Entered<'_>, SlotsFull> {
        let mut state = self.state();
        if state.has_free() {
            state.free -= 1;
            return Ok(Entered::Slot(Slot { slots: Some(Arc::clone(self)), since: Instant::now() }));
        }
        self.check_queue(&state)?;
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let (grant, granted) = oneshot::channel();
        state.waiting.push_back(Waiter { ticket, grant });
        Ok(Entered::Queue(Place { slots: self, ticket }, granted))
    }

    /// Gives a slot that became free to the first who still waits.
    fn pass_on(self: Arc<Self>) {
        loop {
            let mut state = self.state();
            let Some(waiter) = state.waiting.pop_front() else {
                state.free += 1;
                return;
            };
            drop(state);
            self.moved.notify_waiters();
            let slot = Slot { slots: Some(Arc::clone(&self)), since: Instant::now() };
            match waiter.grant.send(slot) {
                Ok(()) => return,
                // They left in this very moment. Disarm the slot: the loop passes it on.
                Err(mut slot) => slot.slots = None,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_free(&self) -> bool {
        0 < self.free && self.waiting.is_empty()
    }

    fn note_held(&mut self, held: Duration) {
        self.mean_held = if self.mean_held.is_zero() {
            held
        } else {
            self.mean_held.mul_f64(1.0 - NEWEST_SHARE) + held.mul_f64(NEWEST_SHARE)
        };
    }
}

enum Entered<'a> {
    Slot(Slot),
    Queue(Place<'a>, oneshot::Receiver<Slot>),
}

impl Place<'_> {
    /// Waits at least [`PLACE_INTERVAL`] and until fewer than `told` are ahead; gives the number.
    async fn falls_below(&self, told: usize) -> usize {
        sleep(PLACE_INTERVAL).await;
        loop {
            // Made before the look: a move in between is not missed.
            let moved = self.slots.moved.notified();
            let ahead = self.ahead();
            if ahead < told {
                return ahead;
            }
            moved.await;
        }
    }

    fn ahead(&self) -> usize {
        self.slots.state().waiting.partition_point(|waiter| waiter.ticket < self.ticket)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        let at = state.waiting.partition_point(|waiter| waiter.ticket < self.ticket);
        if state.waiting.get(at).is_some_and(|waiter| waiter.ticket == self.ticket) {
            state.waiting.remove(at);
            drop(state);
            self.slots.moved.notify_waiters();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.slots.take() {
            slots.state().note_held(self.since.elapsed());
            slots.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn slots(count: usize, queue: usize) -> Arc<Slots> {
        Slots::new(count, queue, Duration::from_secs(30))
    }

    #[tokio::test(start_paused = true)]
    async fn first_come_first_served() {
        let slots = slots(1, 10);
        let first = slots.acquire(|_| unreachable!()).await.unwrap();
        let waiters: Vec<_> = (0..3)
            .map(|number| {
                let slots = Arc::clone(&slots);
                async move { (slots.acquire(|_| {}).await.map(drop), number) }
            })
            .collect();
        let mut tasks = tokio::task::JoinSet::new();
        for waiter in waiters {
            tasks.spawn(waiter);
            tokio::task::yield_now().await;
        }
        drop(first);
        let mut order = Vec::new();
        while let Some(done) = tasks.join_next().await {
            order.push(done.unwrap());
        }
        assert_eq!(order, [(Ok(()), 0), (Ok(()), 1), (Ok(()), 2)]);
        assert_eq!(slots.state().free, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_told_as_they_fall() {
        let slots = slots(1, 10);
        let held = slots.acquire(|_| {}).await.unwrap();
        let mut ahead = pin!(slots.acquire(|_| {}));
        let mut context = Context::from_waker(Waker::noop());
        assert!(ahead.as_mut().poll(&mut context).is_pending());
        let places = Mutex::new(Vec::new());
        {
            let mut last = pin!(slots.acquire(|place| places.lock().unwrap().push(place)));
            assert!(last.as_mut().poll(&mut context).is_pending());
            drop(held);
            let Poll::Ready(next) = ahead.as_mut().poll(&mut context) else { panic!("not next") };
            tokio::time::advance(PLACE_INTERVAL).await;
            assert!(last.as_mut().poll(&mut context).is_pending());
            drop(next);
            assert!(last.as_mut().poll(&mut context).is_ready());
        }
        assert_eq!(*places.lock().unwrap(), [1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_and_a_long_wait_ends() {
        let slots = slots(1, 1);
        let held = slots.acquire(|_| {}).await.unwrap();
        let mut waiting = pin!(slots.acquire(|_| {}));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let full = SlotsFull { retry_after: Duration::from_secs(30) };
        assert_eq!(slots.check_room(), Err(full));
        assert_eq!(slots.acquire(|_| {}).await.map(drop), Err(full));
        assert_eq!(waiting.await.map(drop), Err(full));
        drop(held);
        assert_eq!(slots.state().free, 1, "who gave up took no slot along");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_cannot_end_in_time_does_not_begin() {
        let slots = slots(2, 1_000);
        let held = [slots.acquire(|_| {}).await.unwrap(), slots.acquire(|_| {}).await.unwrap()];
        tokio::time::advance(Duration::from_secs(10)).await;
        drop(held);
        // Ten seconds each on two slots: six wait for 30 seconds and less.
        let _held = [slots.acquire(|_| {}).await.unwrap(), slots.acquire(|_| {}).await.unwrap()];
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> = (0..6).map(|_| Box::pin(slots.acquire(|_| {}))).collect();
        for waits in &mut waiting {
            assert!(waits.as_mut().poll(&mut context).is_pending());
        }
        let full = SlotsFull { retry_after: Duration::from_secs(20) };
        assert_eq!(slots.check_room(), Err(full));
        assert_eq!(slots.acquire(|_| {}).await.map(drop), Err(full));
    }

    #[tokio::test(start_paused = true)]
    async fn leaving_the_queue_keeps_everyone_elses_place() {
        let slots = slots(1, 10);
        let held = slots.acquire(|_| {}).await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut leaves = Box::pin(slots.acquire(|_| {}));
        assert!(leaves.as_mut().poll(&mut context).is_pending());
        let mut stays = pin!(slots.acquire(|_| {}));
        assert!(stays.as_mut().poll(&mut context).is_pending());
        drop(leaves);
        drop(held);
        assert!(stays.as_mut().poll(&mut context).is_ready());
    }
}
