//! Concurrency limiter with a bounded FIFO queue and a priority class that has a share of the permits.

mod background;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

pub use background::BackgroundPermit;

/// Minimum time between two reports of one waiter's queue position: a moving queue must not flood the client.
const POSITION_UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// Weight of the newest sample in the moving mean of hold times: about the last twenty count.
const EWMA_ALPHA: f64 = 0.05;
/// Lower bound of every `retry_after`.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Divisor of the limit: a quarter of the permits, at least one, may be held out of turn at a time.
const PRIORITY_SHARE: usize = 4;

/// Order in which waiters are granted permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// FIFO.
    Ordinary,
    /// Ahead of the ordinary ones within the share for permits out of turn, else FIFO among them.
    First,
}

/// Rejection: no permit becomes free within the queue timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no permit becomes free in time")]
pub struct LimiterSaturated {
    /// Expected time until the queue accepts a waiter again.
    pub retry_after: Duration,
}

/// Usage at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimiterLoad {
    /// Permits in total.
    pub count: usize,
    /// Permits held; exceeds `count` for a while after a shrink.
    pub in_use: usize,
    /// Waiters in the queue.
    pub waiting: usize,
}

/// Concurrency limiter with a bounded queue.
///
/// Fair between people: a session runs its turns one after another, so that it has one waiter at most, however many
/// messages are pending.
///
/// [`reserve`](Self::reserve) fails fast where the queue is full, or so long that its timeout would expire first, so
/// that a message is rejected before it is accepted. A waiter whose timeout expires nevertheless is rejected then.
#[derive(Debug)]
pub struct ConcurrencyLimiter {
    queue_max: usize,
    queue_timeout: Duration,
    /// Must not be held while a permit is sent or dropped: its drop locks it.
    state: Mutex<State>,
    /// Notified when a waiter left the queue, granted or not.
    queue_moved: Notify,
    /// Notified when a waiter joins: the cluster may have permits to spare.
    demand: Notify,
    /// Notified when a waiter joins: holders of a [`BackgroundPermit`] must release it.
    contended: Notify,
}

#[derive(Debug)]
struct State {
    count: usize,
    /// Limit expected under contention; wait estimates use it.
    target_count: usize,
    /// Permits held; exceeds `count` for a while after a shrink.
    held: usize,
    /// Held permits that can be preempted.
    background: usize,
    /// Reservations that have not been redeemed.
    reserved: usize,
    /// Ordinary waiters by ascending number: a number below the first one has left the queue.
    ordinary: VecDeque<Waiter>,
    /// Waiters with priority, likewise.
    prioritized: VecDeque<Waiter>,
    /// Permits held that were granted out of turn.
    out_of_turn: usize,
    next_number: u64,
    /// Moving mean of the hold times of completed permits; zero before the first.
    mean_hold: Duration,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    grant: oneshot::Sender<ConcurrencyPermit>,
}

/// RAII permit; dropping it grants the next waiter. Its hold time enters the mean only by
/// [`complete`](Self::complete): a cancelled hold says nothing about the duration of others.
#[derive(Debug)]
pub struct ConcurrencyPermit {
    limiter: Option<Arc<ConcurrencyLimiter>>,
    since: Instant,
    is_out_of_turn: bool,
}

/// Reserved place in the permits or in the queue; released on drop.
#[derive(Debug)]
pub struct PermitReservation {
    limiter: Arc<ConcurrencyLimiter>,
}

/// Queue entry of one waiter; leaves the queue on drop.
struct QueueTicket<'a> {
    limiter: &'a ConcurrencyLimiter,
    number: u64,
    priority: Priority,
}

impl ConcurrencyLimiter {
    /// Creates a limiter of `count` permits with a queue for `queue_max` waiters of up to `queue_timeout` each.
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

    /// Changes the limit to `count`, and the limit that waits are estimated by to `target_count`. Held permits stay
    /// valid: after a shrink none is granted until enough have been released.
    pub fn resize(self: &Arc<Self>, count: usize, target_count: usize) {
        {
            let mut state = self.state();
            state.count = count;
            state.target_count = target_count;
        }
        self.grant_next();
    }

    /// Waits until a waiter joins the queue; returns at once if one has since the last call.
    pub async fn wait_for_demand(&self) {
        self.demand.notified().await;
    }

    /// Reserves a permit, or a place in the queue from which one is expected in time. Counts as used from now on.
    ///
    /// # Errors
    ///
    /// [`LimiterSaturated`] when the queue is full, or too long for its timeout.
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
        // Background permits do not count: they are released as soon as a waiter joins.
        let taken = state.held - state.background + state.reserved + state.queued();
        let Some(ahead) = taken.checked_sub(state.count) else { return Ok(()) };
        let share = f64::from(u32::try_from(ahead + 1).unwrap_or(u32::MAX))
            / f64::from(u32::try_from(state.count.max(state.target_count).max(1)).unwrap_or(u32::MAX));
        let expected = state.mean_hold.mul_f64(share);
        if ahead < self.queue_max && expected <= self.queue_timeout {
            return Ok(());
        }
        // By then the queue has drained to where a new waiter's expected wait fits the timeout again.
        let retry_after =
            if expected.is_zero() { self.queue_timeout } else { expected.saturating_sub(self.queue_timeout / 2) };
        Err(LimiterSaturated { retry_after: retry_after.max(MIN_RETRY_AFTER) })
    }

    /// Returns the usage.
    pub fn load(&self) -> LimiterLoad {
        let state = self.state();
        let waiting = state.queued();
        LimiterLoad { count: state.count, in_use: state.held, waiting }
    }

    /// Rejection of a waiter whose timeout expired: the waiters behind it need about as long to drain.
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

    /// Grants free permits to the first waiters.
    ///
    /// The lock is released before each send: a permit that is dropped takes it again.
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
                // The waiter was dropped in between. Disarm its permit, whose drop would recurse; the loop grants it
                // on.
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
    /// Acquires the permit, in the order of `priority`. `on_position` is called with the number of waiters ahead: at
    /// once if there is a wait, then as it falls, at most once a second.
    ///
    /// # Errors
    ///
    /// [`LimiterSaturated`] when the queue timeout expires.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the queue; the order of the others stays.
    pub async fn acquire(
        self,
        priority: Priority,
        mut on_position: impl FnMut(usize),
    ) -> Result<ConcurrencyPermit, LimiterSaturated> {
        let limiter = Arc::clone(&self.limiter);
        let acquisition = limiter.acquire_or_enqueue(priority);
        // Released only *after* the waiter is queued: in between, the same place would be reserved twice.
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

    fn queued(&self) -> usize {
        self.ordinary.len() + self.prioritized.len()
    }

    fn queue(&mut self, priority: Priority) -> &mut VecDeque<Waiter> {
        match priority {
            Priority::Ordinary => &mut self.ordinary,
            Priority::First => &mut self.prioritized,
        }
    }

    /// Removes the next waiter; true if it is granted out of turn.
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
    /// Releases the permit after its work ran to completion, and records the hold time.
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
    /// Waits for at least [`POSITION_UPDATE_INTERVAL`], and until fewer than `reported` waiters are ahead; returns
    /// their number.
    async fn position_below(&self, reported: usize) -> usize {
        sleep(POSITION_UPDATE_INTERVAL).await;
        loop {
            // Subscribed *before* the check, or a move in between would be missed.
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
    /// Reserves beyond the limit.
    fn force_reserve(self: &Arc<Self>) -> PermitReservation {
        self.reserve_unchecked(&mut self.state())
    }

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
