//! A bounded number of things at once, first come first served; a share of them goes to those with priority.

mod background;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

pub use background::BackgroundPermit;

/// How often someone who waits is told a new place in the queue, at most.
const POSITION_UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// What the mean time in a slot takes over of each new one: about the last twenty count.
const EWMA_ALPHA: f64 = 0.05;
/// The shortest time after which it makes sense to come back.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
/// One slot in so many, at least one, may be held at a time by those who got it before their turn.
const PRIORITY_SHARE: usize = 4;

/// In which order waiters get a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// First come, first served.
    Ordinary,
    /// Before those, as long as few hold a slot that way; else like them.
    First,
}

/// There is no slot, and no use in waiting for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no permit becomes free in time")]
pub struct LimiterSaturated {
    /// When there may be room.
    pub retry_after: Duration,
}

/// How slots are used at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimiterLoad {
    /// Slots there are.
    pub count: usize,
    /// Slots somebody has: more than there are for a while after there have become fewer.
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
/// one more gets no [`PermitReservation`], and is refused before it is accepted; who waits longer than the time
/// limit is refused then.
#[derive(Debug)]
pub struct ConcurrencyLimiter {
    queue_max: usize,
    queue_timeout: Duration,
    state: Mutex<State>,
    /// The queue has become shorter at its front.
    queue_moved: Notify,
    /// Someone has begun to wait: there may be more slots elsewhere.
    demand: Notify,
    /// Somebody waits: whoever holds an [`BackgroundPermit`] is to let go of it.
    contended: Notify,
}

#[derive(Debug)]
struct State {
    count: usize,
    /// As many as there soon are when many wait.
    target_count: usize,
    /// More than `count` for a while after there have become fewer.
    held: usize,
    /// Those of them that are let go of as soon as somebody waits.
    background: usize,
    /// Slots that were promised to some who are not here yet.
    reserved: usize,
    /// Everyone who has a ticket below the first one here has left the queue.
    ordinary: VecDeque<Waiter>,
    /// The same of those with priority.
    prioritized: VecDeque<Waiter>,
    /// Slots held by some who got them before their turn.
    out_of_turn: usize,
    next_number: u64,
    /// Time for which a completed slot was held, as a moving mean; 0 until one was.
    mean_hold: Duration,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    grant: oneshot::Sender<ConcurrencyPermit>,
}

/// The right to one thing at a time; dropping it lets the next one in. How long it was held counts
/// only if it was completed: one that was stopped says nothing about how long others will take.
#[derive(Debug)]
pub struct ConcurrencyPermit {
    limiter: Option<Arc<ConcurrencyLimiter>>,
    since: Instant,
    is_out_of_turn: bool,
}

/// The promise of a slot in time; dropping it gives it up.
#[derive(Debug)]
pub struct PermitReservation {
    limiter: Arc<ConcurrencyLimiter>,
}

/// A place in the queue; dropping it leaves the queue.
struct QueueTicket<'a> {
    limiter: &'a ConcurrencyLimiter,
    number: u64,
    priority: Priority,
}

impl ConcurrencyLimiter {
    /// `count` slots, and a queue for `queue_max` more that wait up to `queue_timeout` each.
    pub fn new(count: usize, queue_max: usize, queue_timeout: Duration) -> Arc<Self> {
        let state = State {
            count,
            target_count: count,
            held: 0,
            background: 0,
            reserved: 0,
            ordinary: VecDeque::new(),
            prioritized: VecDeque::new(),
            out_of_turn: 0,
            next_number: 0,
            mean_hold: Duration::ZERO,
        };
        Arc::new(Self {
            queue_max,
            queue_timeout,
            state: Mutex::new(state),
            queue_moved: Notify::new(),
            demand: Notify::new(),
            contended: Notify::new(),
        })
    }

    /// Changes how many slots there are, and how many there soon are `target_count`, when many wait: by these a
    /// wait is reckoned. Who holds one keeps it: where there are fewer now, nobody is let in until enough
    /// have left.
    pub fn resize(self: &Arc<Self>, count: usize, target_count: usize) {
        {
            let mut state = self.state();
            state.count = count;
            state.target_count = target_count;
        }
        self.grant_next();
    }

    /// Waits until someone begins to wait for a slot, or has since the last call.
    pub async fn wait_for_demand(&self) {
        self.demand.notified().await;
    }

    /// Promises one more a slot, or a place in the queue from which it gets one in time.
    ///
    /// # Errors
    ///
    /// [`LimiterSaturated`] when the queue is full, or too long for the time limit. What was promised
    /// counts as if it were here.
    pub fn reserve(self: &Arc<Self>) -> Result<PermitReservation, LimiterSaturated> {
        let mut state = self.state();
        self.check_capacity(&state)?;
        Ok(self.reserve_unchecked(&mut state))
    }

    fn reserve_unchecked(self: &Arc<Self>, state: &mut State) -> PermitReservation {
        state.reserved += 1;
        PermitReservation { limiter: Arc::clone(self) }
    }

    fn check_capacity(&self, state: &State) -> Result<(), LimiterSaturated> {
        // Who holds an idle slot lets go of it.
        let taken = state.held - state.background + state.reserved + state.queued();
        let Some(ahead) = taken.checked_sub(state.count) else { return Ok(()) };
        let share = f64::from(u32::try_from(ahead + 1).unwrap_or(u32::MAX))
            / f64::from(u32::try_from(state.count.max(state.target_count).max(1)).unwrap_or(u32::MAX));
        let expected = state.mean_hold.mul_f64(share);
        if ahead < self.queue_max && expected <= self.queue_timeout {
            return Ok(());
        }
        // When the one who would be last now could wait in time again, or has got a slot.
        let retry_after =
            if expected.is_zero() { self.queue_timeout } else { expected.saturating_sub(self.queue_timeout / 2) };
        Err(LimiterSaturated { retry_after: retry_after.max(MIN_RETRY_AFTER) })
    }

    /// How the slots are used.
    pub fn load(&self) -> LimiterLoad {
        let state = self.state();
        let waiting = state.queued();
        LimiterLoad { count: state.count, in_use: state.held, waiting }
    }

    /// Someone waited as long as anyone may: it takes about as long for those behind to be gone.
    fn timed_out(&self) -> LimiterSaturated {
        LimiterSaturated { retry_after: self.queue_timeout.max(MIN_RETRY_AFTER) }
    }

    fn acquire_or_enqueue(self: &Arc<Self>, priority: Priority) -> Acquisition<'_> {
        let mut state = self.state();
        if state.has_free() {
            state.held += 1;
            return Acquisition::Granted(self.permit(false));
        }
        let number = state.next_number;
        state.next_number += 1;
        let (grant, granted) = oneshot::channel();
        state.queue(priority).push_back(Waiter { number, grant });
        self.demand.notify_one();
        self.contended.notify_waiters();
        Acquisition::Queued(QueueTicket { limiter: self, number, priority }, granted)
    }

    fn permit(self: &Arc<Self>, is_out_of_turn: bool) -> ConcurrencyPermit {
        ConcurrencyPermit { limiter: Some(Arc::clone(self)), since: Instant::now(), is_out_of_turn }
    }

    /// Gives the slots that are free to the first who still wait.
    fn grant_next(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            if state.count <= state.held {
                return;
            }
            let Some((waiter, is_out_of_turn)) = state.next_waiter() else { return };
            state.held += 1;
            state.out_of_turn += usize::from(is_out_of_turn);
            drop(state);
            self.queue_moved.notify_waiters();
            let permit = self.permit(is_out_of_turn);
            if let Err(mut permit) = waiter.grant.send(permit) {
                // They left in this very moment. Disarm the slot: the loop passes it on.
                permit.limiter = None;
                self.state().release(is_out_of_turn);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PermitReservation {
    /// Waits for the slot, in the order of `priority`. `on_position` hears how many are ahead:
    /// at once if there is a wait, then when it changes, at most once a second.
    ///
    /// # Errors
    ///
    /// [`LimiterSaturated`] when the wait was too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the queue; nobody else loses their place.
    pub async fn acquire(
        self,
        priority: Priority,
        mut on_position: impl FnMut(usize),
    ) -> Result<ConcurrencyPermit, LimiterSaturated> {
        let limiter = Arc::clone(&self.limiter);
        let acquisition = limiter.acquire_or_enqueue(priority);
        // Kept until now: nobody else was promised the same.
        drop(self);
        let (ticket, mut granted) = match acquisition {
            Acquisition::Granted(permit) => return Ok(permit),
            Acquisition::Queued(ticket, granted) => (ticket, granted),
        };
        let deadline = Instant::now() + limiter.queue_timeout;
        let wait = async {
            let mut reported = ticket.ahead();
            on_position(reported);
            loop {
                tokio::select! {
                    biased;
                    permit = &mut granted => return permit.map_err(|_| limiter.timed_out()),
                    ahead = ticket.position_below(reported) => {
                        reported = ahead;
                        on_position(ahead);
                    }
                }
            }
        };
        timeout_at(deadline, wait).await.unwrap_or_else(|_| Err(limiter.timed_out()))
    }
}

impl Drop for PermitReservation {
    fn drop(&mut self) {
        self.limiter.state().reserved -= 1;
    }
}

impl State {
    fn has_free(&self) -> bool {
        self.held < self.count && self.queued() == 0
    }

    /// How many wait.
    fn queued(&self) -> usize {
        self.ordinary.len() + self.prioritized.len()
    }

    fn queue(&mut self, priority: Priority) -> &mut VecDeque<Waiter> {
        match priority {
            Priority::Ordinary => &mut self.ordinary,
            Priority::First => &mut self.prioritized,
        }
    }

    /// Takes the next one out of the queue, and says whether it comes before its turn.
    fn next_waiter(&mut self) -> Option<(Waiter, bool)> {
        let ticket = |queue: &VecDeque<Waiter>| queue.front().map(|waiter| waiter.number);
        let is_in_turn = match (ticket(&self.prioritized), ticket(&self.ordinary)) {
            (Some(first), Some(ordinary)) => first < ordinary,
            (first, _) => first.is_some(),
        };
        let has_share = self.out_of_turn < (self.count / PRIORITY_SHARE).max(1);
        if (is_in_turn || has_share)
            && let Some(waiter) = self.prioritized.pop_front()
        {
            return Some((waiter, !is_in_turn));
        }
        self.ordinary.pop_front().map(|waiter| (waiter, false))
    }

    fn release(&mut self, is_out_of_turn: bool) {
        self.held -= 1;
        self.out_of_turn -= usize::from(is_out_of_turn);
    }

    fn record_hold(&mut self, held: Duration) {
        self.mean_hold = if self.mean_hold.is_zero() {
            held
        } else {
            self.mean_hold.mul_f64(1.0 - EWMA_ALPHA) + held.mul_f64(EWMA_ALPHA)
        };
    }
}

impl ConcurrencyPermit {
    /// Gives the slot back after what it was for has ended by itself.
    pub fn complete(self) {
        if let Some(limiter) = &self.limiter {
            limiter.state().record_hold(self.since.elapsed());
        }
    }
}

enum Acquisition<'a> {
    Granted(ConcurrencyPermit),
    Queued(QueueTicket<'a>, oneshot::Receiver<ConcurrencyPermit>),
}

impl QueueTicket<'_> {
    /// Waits at least [`POSITION_UPDATE_INTERVAL`] and until fewer than `reported` are ahead; gives the number.
    async fn position_below(&self, reported: usize) -> usize {
        sleep(POSITION_UPDATE_INTERVAL).await;
        loop {
            // Made before the look: a move in between is not missed.
            let queue_moved = self.limiter.queue_moved.notified();
            let ahead = self.ahead();
            if ahead < reported {
                return ahead;
            }
            queue_moved.await;
        }
    }

    fn ahead(&self) -> usize {
        let mut state = self.limiter.state();
        let number = self.number;
        let before = state.queue(self.priority).partition_point(|waiter| waiter.number < number);
        match self.priority {
            Priority::Ordinary => before + state.prioritized.len(),
            Priority::First => before,
        }
    }
}

impl Drop for QueueTicket<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        let queue = state.queue(self.priority);
        let at = queue.partition_point(|waiter| waiter.number < self.number);
        if queue.get(at).is_some_and(|waiter| waiter.number == self.number) {
            queue.remove(at);
            drop(state);
            self.limiter.queue_moved.notify_waiters();
        }
    }
}

impl Drop for ConcurrencyPermit {
    fn drop(&mut self) {
        if let Some(limiter) = self.limiter.take() {
            limiter.state().release(self.is_out_of_turn);
            limiter.grant_next();
        }
    }
}

#[cfg(test)]
impl ConcurrencyLimiter {
    /// Promises a slot, however many there are.
    pub(crate) fn force_reserve(self: &Arc<Self>) -> PermitReservation {
        self.reserve_unchecked(&mut self.state())
    }

    /// Room, and then the slot.
    async fn acquire(self: &Arc<Self>, on_position: impl FnMut(usize)) -> Result<ConcurrencyPermit, LimiterSaturated> {
        self.acquire_as(Priority::Ordinary, on_position).await
    }

    async fn acquire_as(
        self: &Arc<Self>,
        priority: Priority,
        on_position: impl FnMut(usize),
    ) -> Result<ConcurrencyPermit, LimiterSaturated> {
        self.reserve()?.acquire(priority, on_position).await
    }
}

#[cfg(test)]
mod tests;
