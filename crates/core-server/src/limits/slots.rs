//! A bounded number of things at once, first come first served; a share of them goes to those with priority.

mod idle;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

pub use idle::IdleSlot;

/// How often someone who waits is told a new place in the queue, at most.
const PLACE_INTERVAL: Duration = Duration::from_secs(1);

/// What the mean time in a slot takes over of each new one: about the last twenty count.
const NEWEST_SHARE: f64 = 0.05;
/// The shortest time after which it makes sense to come back.
const RETRY_MIN: Duration = Duration::from_secs(1);
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
/// one more gets no [`Room`], and is refused before it is accepted; who waits longer than the time
/// limit is refused then.
#[derive(Debug)]
pub struct Slots {
    queue_max: usize,
    queue_timeout: Duration,
    state: Mutex<State>,
    /// The queue has become shorter at its front.
    moved: Notify,
    /// Someone has begun to wait: there may be more slots elsewhere.
    wanted: Notify,
    /// Somebody waits: whoever holds an [`IdleSlot`] is to let go of it.
    crowded: Notify,
}

#[derive(Debug)]
struct State {
    count: usize,
    /// As many as there soon are when many wait.
    at_need: usize,
    /// More than `count` for a while after there have become fewer.
    held: usize,
    /// Those of them that are let go of as soon as somebody waits.
    idle: usize,
    /// Slots that were promised to some who are not here yet.
    promised: usize,
    /// Everyone who has a ticket below the first one here has left the queue.
    waiting: VecDeque<Waiter>,
    /// The same of those with priority.
    first: VecDeque<Waiter>,
    /// Slots held by some who got them before their turn.
    before_turn: usize,
    next_ticket: u64,
    /// Time for which a completed slot was held, as a moving mean; 0 until one was.
    mean_held: Duration,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    grant: oneshot::Sender<Slot>,
}

/// The right to one thing at a time; dropping it lets the next one in. How long it was held counts
/// only if it was completed: one that was stopped says nothing about how long others will take.
#[derive(Debug)]
pub struct Slot {
    slots: Option<Arc<Slots>>,
    since: Instant,
    is_before_turn: bool,
}

/// The promise of a slot in time; dropping it gives it up.
#[derive(Debug)]
pub struct Room {
    slots: Arc<Slots>,
}

/// A place in the queue; dropping it leaves the queue.
struct Place<'a> {
    slots: &'a Slots,
    ticket: u64,
    priority: Priority,
}

impl Slots {
    /// `count` slots, and a queue for `queue_max` more that wait up to `queue_timeout` each.
    pub fn new(count: usize, queue_max: usize, queue_timeout: Duration) -> Arc<Self> {
        let state = State {
            count,
            at_need: count,
            held: 0,
            idle: 0,
            promised: 0,
            waiting: VecDeque::new(),
            first: VecDeque::new(),
            before_turn: 0,
            next_ticket: 0,
            mean_held: Duration::ZERO,
        };
        Arc::new(Self {
            queue_max,
            queue_timeout,
            state: Mutex::new(state),
            moved: Notify::new(),
            wanted: Notify::new(),
            crowded: Notify::new(),
        })
    }

    /// Changes how many slots there are, and how many there soon are `at_need`, when many wait: by these a
    /// wait is reckoned. Who holds one keeps it: where there are fewer now, nobody is let in until enough
    /// have left.
    pub fn set_count(self: &Arc<Self>, count: usize, at_need: usize) {
        {
            let mut state = self.state();
            state.count = count;
            state.at_need = at_need;
        }
        self.pass_on();
    }

    /// Waits until someone begins to wait for a slot, or has since the last call.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Promises one more a slot, or a place in the queue from which it gets one in time.
    ///
    /// # Errors
    ///
    /// [`SlotsFull`] when the queue is full, or too long for the time limit. What was promised
    /// counts as if it were here.
    pub fn room(self: &Arc<Self>) -> Result<Room, SlotsFull> {
        let mut state = self.state();
        self.check(&state)?;
        Ok(self.promise(&mut state))
    }

    fn promise(self: &Arc<Self>, state: &mut State) -> Room {
        state.promised += 1;
        Room { slots: Arc::clone(self) }
    }

    fn check(&self, state: &State) -> Result<(), SlotsFull> {
        // Who holds an idle slot lets go of it.
        let taken = state.held - state.idle + state.promised + state.queued();
        let Some(ahead) = taken.checked_sub(state.count) else { return Ok(()) };
        let share = f64::from(u32::try_from(ahead + 1).unwrap_or(u32::MAX))
            / f64::from(u32::try_from(state.count.max(state.at_need).max(1)).unwrap_or(u32::MAX));
        let expected = state.mean_held.mul_f64(share);
        if ahead < self.queue_max && expected <= self.queue_timeout {
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
        let waiting = state.queued();
        SlotsLoad { count: state.count, in_use: state.held, waiting }
    }

    /// Someone waited as long as anyone may: it takes about as long for those behind to be gone.
    fn gave_up(&self) -> SlotsFull {
        SlotsFull { retry_after: self.queue_timeout.max(RETRY_MIN) }
    }

    fn enter(self: &Arc<Self>, priority: Priority) -> Entered<'_> {
        let mut state = self.state();
        if state.has_free() {
            state.held += 1;
            return Entered::Slot(self.slot(false));
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let (grant, granted) = oneshot::channel();
        state.queue(priority).push_back(Waiter { ticket, grant });
        self.wanted.notify_one();
        self.crowded.notify_waiters();
        Entered::Queue(Place { slots: self, ticket, priority }, granted)
    }

    fn slot(self: &Arc<Self>, is_before_turn: bool) -> Slot {
        Slot { slots: Some(Arc::clone(self)), since: Instant::now(), is_before_turn }
    }

    /// Gives the slots that are free to the first who still wait.
    fn pass_on(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            if state.count <= state.held {
                return;
            }
            let Some((waiter, is_before_turn)) = state.next_waiter() else { return };
            state.held += 1;
            state.before_turn += usize::from(is_before_turn);
            drop(state);
            self.moved.notify_waiters();
            let slot = self.slot(is_before_turn);
            if let Err(mut slot) = waiter.grant.send(slot) {
                // They left in this very moment. Disarm the slot: the loop passes it on.
                slot.slots = None;
                self.state().give_back(is_before_turn);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Waits for the slot, in the order of `priority`. `on_place` hears how many are ahead:
    /// at once if there is a wait, then when it changes, at most once a second.
    ///
    /// # Errors
    ///
    /// [`SlotsFull`] when the wait was too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the queue; nobody else loses their place.
    pub async fn acquire(self, priority: Priority, mut on_place: impl FnMut(usize)) -> Result<Slot, SlotsFull> {
        let slots = Arc::clone(&self.slots);
        let entered = slots.enter(priority);
        // Kept until now: nobody else was promised the same.
        drop(self);
        let (place, mut granted) = match entered {
            Entered::Slot(slot) => return Ok(slot),
            Entered::Queue(place, granted) => (place, granted),
        };
        let deadline = Instant::now() + slots.queue_timeout;
        let wait = async {
            let mut told = place.ahead();
            on_place(told);
            loop {
                tokio::select! {
                    biased;
                    slot = &mut granted => return slot.map_err(|_| slots.gave_up()),
                    ahead = place.falls_below(told) => {
                        told = ahead;
                        on_place(ahead);
                    }
                }
            }
        };
        timeout_at(deadline, wait).await.unwrap_or_else(|_| Err(slots.gave_up()))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.slots.state().promised -= 1;
    }
}

impl State {
    fn has_free(&self) -> bool {
        self.held < self.count && self.queued() == 0
    }

    /// How many wait.
    fn queued(&self) -> usize {
        self.waiting.len() + self.first.len()
    }

    fn queue(&mut self, priority: Priority) -> &mut VecDeque<Waiter> {
        match priority {
            Priority::Ordinary => &mut self.waiting,
            Priority::First => &mut self.first,
        }
    }

    /// Takes the next one out of the queue, and says whether it comes before its turn.
    fn next_waiter(&mut self) -> Option<(Waiter, bool)> {
        let ticket = |queue: &VecDeque<Waiter>| queue.front().map(|waiter| waiter.ticket);
        let is_in_turn = match (ticket(&self.first), ticket(&self.waiting)) {
            (Some(first), Some(ordinary)) => first < ordinary,
            (first, _) => first.is_some(),
        };
        let has_share = self.before_turn < (self.count / PRIORITY_SHARE).max(1);
        if (is_in_turn || has_share)
            && let Some(waiter) = self.first.pop_front()
        {
            return Some((waiter, !is_in_turn));
        }
        self.waiting.pop_front().map(|waiter| (waiter, false))
    }

    fn give_back(&mut self, is_before_turn: bool) {
        self.held -= 1;
        self.before_turn -= usize::from(is_before_turn);
    }

    fn note_held(&mut self, held: Duration) {
        self.mean_held = if self.mean_held.is_zero() {
            held
        } else {
            self.mean_held.mul_f64(1.0 - NEWEST_SHARE) + held.mul_f64(NEWEST_SHARE)
        };
    }
}

impl Slot {
    /// Gives the slot back after what it was for has ended by itself.
    pub fn complete(self) {
        if let Some(slots) = &self.slots {
            slots.state().note_held(self.since.elapsed());
        }
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
        let mut state = self.slots.state();
        let ticket = self.ticket;
        let before = state.queue(self.priority).partition_point(|waiter| waiter.ticket < ticket);
        match self.priority {
            Priority::Ordinary => before + state.first.len(),
            Priority::First => before,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        let queue = state.queue(self.priority);
        let at = queue.partition_point(|waiter| waiter.ticket < self.ticket);
        if queue.get(at).is_some_and(|waiter| waiter.ticket == self.ticket) {
            queue.remove(at);
            drop(state);
            self.slots.moved.notify_waiters();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.slots.take() {
            slots.state().give_back(self.is_before_turn);
            slots.pass_on();
        }
    }
}

#[cfg(test)]
impl Slots {
    /// Promises a slot, however many there are.
    pub(crate) fn insist(self: &Arc<Self>) -> Room {
        self.promise(&mut self.state())
    }

    /// Room, and then the slot.
    async fn acquire(self: &Arc<Self>, on_place: impl FnMut(usize)) -> Result<Slot, SlotsFull> {
        self.acquire_as(Priority::Ordinary, on_place).await
    }

    async fn acquire_as(self: &Arc<Self>, priority: Priority, on_place: impl FnMut(usize)) -> Result<Slot, SlotsFull> {
        self.room()?.acquire(priority, on_place).await
    }
}

#[cfg(test)]
mod tests;
