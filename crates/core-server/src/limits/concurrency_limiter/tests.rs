//! First come, first served, within bounds; and against a plain model of the queue.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_util::poll;
use proptest::prelude::*;

use super::*;

fn limiter(count: usize, queue: usize) -> Arc<ConcurrencyLimiter> {
    ConcurrencyLimiter::new(count, queue, Duration::from_secs(30))
}

#[tokio::test(start_paused = true)]
async fn first_come_first_served() {
    let limiter = limiter(1, 10);
    let first = limiter.acquire(|_| unreachable!()).await.unwrap();
    let waiters: Vec<_> = (0..3)
        .map(|number| {
            let limiter = Arc::clone(&limiter);
            async move { (limiter.acquire(|_| {}).await.map(drop), number) }
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
    assert_eq!(limiter.load().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn places_are_told_as_they_fall() {
    let limiter = limiter(1, 10);
    let held = limiter.acquire(|_| {}).await.unwrap();
    let mut ahead = pin!(limiter.acquire(|_| {}));
    let mut context = Context::from_waker(Waker::noop());
    assert!(ahead.as_mut().poll(&mut context).is_pending());
    let positions = Mutex::new(Vec::new());
    {
        let mut last = pin!(limiter.acquire(|position| positions.lock().unwrap().push(position)));
        assert!(last.as_mut().poll(&mut context).is_pending());
        drop(held);
        let Poll::Ready(next) = ahead.as_mut().poll(&mut context) else { panic!("not next") };
        tokio::time::advance(POSITION_UPDATE_INTERVAL).await;
        assert!(last.as_mut().poll(&mut context).is_pending());
        drop(next);
        assert!(last.as_mut().poll(&mut context).is_ready());
    }
    assert_eq!(*positions.lock().unwrap(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_a_long_wait_ends() {
    let limiter = limiter(1, 1);
    let held = limiter.acquire(|_| {}).await.unwrap();
    let mut waiting = pin!(limiter.acquire(|_| {}));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let full = LimiterSaturated { retry_after: Duration::from_secs(30) };
    assert_eq!(limiter.reserve().map(drop), Err(full));
    assert_eq!(limiter.acquire(|_| {}).await.map(drop), Err(full));
    assert_eq!(waiting.await.map(drop), Err(full));
    drop(held);
    assert_eq!(limiter.load().in_use, 0, "who gave up took no slot along");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_end_in_time_does_not_begin() {
    let limiter = limiter(2, 1_000);
    let held = [limiter.acquire(|_| {}).await.unwrap(), limiter.acquire(|_| {}).await.unwrap()];
    tokio::time::advance(Duration::from_secs(10)).await;
    held.into_iter().for_each(ConcurrencyPermit::complete);
    // Ten seconds each on two slots: six wait for 30 seconds and less.
    let _held = [limiter.acquire(|_| {}).await.unwrap(), limiter.acquire(|_| {}).await.unwrap()];
    let mut context = Context::from_waker(Waker::noop());
    let mut waiting: Vec<_> = (0..6).map(|_| Box::pin(limiter.acquire(|_| {}))).collect();
    for waits in &mut waiting {
        assert!(waits.as_mut().poll(&mut context).is_pending());
    }
    let full = LimiterSaturated { retry_after: Duration::from_secs(20) };
    assert_eq!(limiter.reserve().map(drop), Err(full));
    assert_eq!(limiter.acquire(|_| {}).await.map(drop), Err(full));
}

/// Else a few people who press stop make the wait look short, and the queue fills with messages that time out.
#[tokio::test(start_paused = true)]
async fn only_completed_holds_count_for_the_reckoned_wait() {
    let limiter = limiter(1, 1_000);
    let held = limiter.acquire(|_| {}).await.unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    held.complete();
    for _ in 0..100 {
        let stopped = limiter.acquire(|_| {}).await.unwrap();
        tokio::time::advance(Duration::from_millis(1)).await;
        drop(stopped);
    }
    // Ten seconds each: the slot, and three that wait for 30 seconds and less.
    let reserved: Vec<_> = std::iter::from_fn(|| limiter.reserve().ok()).collect();
    assert_eq!(reserved.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn leaving_the_queue_keeps_everyone_elses_place() {
    let limiter = limiter(1, 10);
    let held = limiter.acquire(|_| {}).await.unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut leaves = Box::pin(limiter.acquire(|_| {}));
    assert!(leaves.as_mut().poll(&mut context).is_pending());
    let mut stays = pin!(limiter.acquire(|_| {}));
    assert!(stays.as_mut().poll(&mut context).is_pending());
    drop(leaves);
    drop(held);
    assert!(stays.as_mut().poll(&mut context).is_ready());
}

#[tokio::test(start_paused = true)]
async fn fewer_slots_end_no_hold_and_more_let_in_those_who_wait() {
    let limiter = limiter(2, 10);
    let held = [limiter.acquire(|_| {}).await.unwrap(), limiter.acquire(|_| {}).await.unwrap()];
    limiter.resize(1, 1);
    let mut context = Context::from_waker(Waker::noop());
    let mut next = pin!(limiter.acquire(|_| {}));
    assert!(next.as_mut().poll(&mut context).is_pending());
    limiter.wait_for_demand().await;
    assert_eq!(limiter.load(), LimiterLoad { count: 1, in_use: 2, waiting: 1 });
    let [first, _second] = held;
    drop(first);
    assert!(next.as_mut().poll(&mut context).is_pending(), "one slot is left, and held");
    limiter.resize(2, 2);
    assert!(next.as_mut().poll(&mut context).is_ready());
}

/// A core that has just come back holds one slot, while others have not given back theirs yet.
#[tokio::test(start_paused = true)]
async fn a_wait_is_reckoned_by_the_slots_there_soon_are() {
    let limiter = limiter(1, 1_000);
    let held = limiter.acquire(|_| {}).await.unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    held.complete();
    limiter.resize(1, 4);
    // Ten seconds each: one slot has done with four of them in time, four have with thirteen.
    let reserved: Vec<_> = (0..13).map(|_| limiter.reserve().unwrap()).collect();
    assert_eq!(limiter.reserve().map(drop), Err(LimiterSaturated { retry_after: Duration::from_millis(17_500) }));
    drop(reserved);
}

#[tokio::test(start_paused = true)]
async fn what_is_promised_is_not_promised_twice() {
    let limiter = limiter(1, 1);
    let (first, second) = (limiter.reserve().unwrap(), limiter.reserve().unwrap());
    assert!(limiter.reserve().is_err(), "one for the slot, one for the queue");
    let beyond = limiter.force_reserve();
    drop(second);
    assert!(limiter.reserve().is_err());
    drop(beyond);
    let again = limiter.reserve().unwrap();
    let held = first.acquire(Priority::Ordinary, |_| {}).await.unwrap();
    assert!(limiter.reserve().is_err());
    let mut waiting = pin!(again.acquire(Priority::Ordinary, |_| {}));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(held);
    assert!(waiting.await.is_ok());
    assert_eq!(limiter.load(), LimiterLoad { count: 1, in_use: 0, waiting: 0 });
}

/// What may happen to the slots.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Somebody comes, and asks for a slot if there is room.
    Come,
    /// One of those who hold a slot ends.
    End(usize),
    /// One of those who wait leaves.
    Leave(usize),
    /// There are so many slots from now on.
    Resize(usize),
}

/// The queue as one would write it down: who holds a slot and who waits, in order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Plain {
    holds: Vec<usize>,
    waits: Vec<usize>,
}

impl Plain {
    fn come(&mut self, number: usize, count: usize, queue_max: usize) -> bool {
        let fits = (self.holds.len() + self.waits.len()).checked_sub(count).is_none_or(|ahead| ahead < queue_max);
        if fits {
            self.waits.push(number);
            self.let_in(count);
        }
        fits
    }

    fn let_in(&mut self, count: usize) {
        while self.holds.len() < count && !self.waits.is_empty() {
            self.holds.push(self.waits.remove(0));
        }
    }
}

type Waits = std::pin::Pin<Box<dyn Future<Output = Result<ConcurrencyPermit, LimiterSaturated>>>>;

/// The real thing, with the numbers of those who hold and wait.
struct Real {
    limiter: Arc<ConcurrencyLimiter>,
    holds: Vec<(usize, ConcurrencyPermit)>,
    waits: Vec<(usize, Waits)>,
}

impl Real {
    fn come(&mut self, number: usize) -> bool {
        let Ok(room) = self.limiter.reserve() else { return false };
        self.waits.push((number, Box::pin(room.acquire(Priority::Ordinary, |_| {}))));
        true
    }

    /// Polls everyone who waits, in whatever order they are.
    fn look(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut still = Vec::new();
        for (number, mut waits) in std::mem::take(&mut self.waits) {
            match waits.as_mut().poll(&mut context) {
                Poll::Ready(slot) => self.holds.push((number, slot.unwrap())),
                Poll::Pending => still.push((number, waits)),
            }
        }
        self.waits = still;
    }

    fn written_down(&self) -> Plain {
        let mut holds: Vec<_> = self.holds.iter().map(|(number, _)| *number).collect();
        holds.sort_unstable();
        Plain { holds, waits: self.waits.iter().map(|(number, _)| *number).collect() }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Come),
        2 => (0..9usize).prop_map(Step::End),
        1 => (0..9usize).prop_map(Step::Leave),
        1 => (0..5usize).prop_map(Step::Resize),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    /// Whoever comes, ends, leaves, and however many slots there are: the same people hold a slot,
    /// wait and are sent away as in the plain queue.
    #[test]
    fn the_queue_is_the_plain_one(queue_max in 0usize..5, steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut count = 2;
            let mut plain = Plain::default();
            let mut real = Real { limiter: limiter(count, queue_max), holds: Vec::new(), waits: Vec::new() };
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Come => prop_assert_eq!(plain.come(number, count, queue_max), real.come(number)),
                    Step::End(which) if !plain.holds.is_empty() => {
                        let ended = plain.holds.remove(which % plain.holds.len());
                        real.holds.retain(|(number, _)| *number != ended);
                    }
                    Step::Leave(which) if !plain.waits.is_empty() => {
                        let left = plain.waits.remove(which % plain.waits.len());
                        real.waits.retain(|(number, _)| *number != left);
                    }
                    Step::Resize(to) => {
                        count = to;
                        real.limiter.resize(count, count);
                    }
                    Step::End(_) | Step::Leave(_) => {}
                }
                plain.let_in(count);
                real.look();
                plain.holds.sort_unstable();
                prop_assert_eq!(&plain, &real.written_down());
                let load = LimiterLoad { count, in_use: plain.holds.len(), waiting: plain.waits.len() };
                prop_assert_eq!(load, real.limiter.load());
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn priority_goes_first_within_its_share() {
    use Priority::{First, Ordinary};
    for (count, want) in [(1, [2, 3, 0, 1]), (4, [2, 0, 1, 3])] {
        // Of four slots one is for those who come before their turn: while it is held they wait like others.
        let limiter = ConcurrencyLimiter::new(count, 100, Duration::from_secs(60));
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(limiter.acquire(|_| {}).await.unwrap());
        }
        let mut waiting =
            [Ordinary, Ordinary, First, First].map(|priority| Box::pin(limiter.acquire_as(priority, |_| {})));
        for waiting in &mut waiting {
            assert!(poll!(waiting.as_mut()).is_pending());
        }
        let mut got = Vec::new();
        while let Some(slot) = held.pop() {
            drop(slot);
            for (number, waiting) in waiting.iter_mut().enumerate() {
                if !got.contains(&number)
                    && let Poll::Ready(slot) = poll!(waiting.as_mut())
                {
                    got.push(number);
                    if count == 1 {
                        held.push(slot.unwrap());
                    } else {
                        // Everyone who gets one keeps it.
                        std::mem::forget(slot.unwrap());
                    }
                }
            }
        }
        assert_eq!(got, want, "of {count}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_got_before_its_turn_is_given_back_as_one() {
    let limiter = ConcurrencyLimiter::new(1, 100, Duration::from_secs(60));
    let held = limiter.acquire(|_| {}).await.unwrap();
    let mut ordinary = pin!(limiter.acquire(|_| {}));
    let mut first = Box::pin(limiter.acquire_as(Priority::First, |_| {}));
    assert!(poll!(ordinary.as_mut()).is_pending() && poll!(first.as_mut()).is_pending());
    drop(held);
    let slot = first.as_mut().await.unwrap();
    assert_eq!(limiter.state().out_of_turn, 1);
    drop(slot);
    assert_eq!(limiter.state().out_of_turn, 0);
    assert!(poll!(ordinary.as_mut()).is_ready());
    // One that leaves the queue takes nothing with it.
    let _held = limiter.acquire(|_| {}).await.unwrap();
    let mut gone = Box::pin(limiter.acquire_as(Priority::First, |_| {}));
    assert!(poll!(gone.as_mut()).is_pending());
    drop(gone);
    assert_eq!(limiter.load().waiting, 0);
}
