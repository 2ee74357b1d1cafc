//! Queue order and bounds by example, and against a model of the queue.

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
async fn grants_in_fifo_order() {
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
async fn reports_falling_positions() {
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
async fn rejects_when_full_and_on_timeout() {
    let limiter = limiter(1, 1);
    let held = limiter.acquire(|_| {}).await.unwrap();
    let mut waiting = pin!(limiter.acquire(|_| {}));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let full = LimiterSaturated { retry_after: Duration::from_secs(30) };
    assert_eq!(limiter.reserve().map(drop), Err(full));
    assert_eq!(limiter.acquire(|_| {}).await.map(drop), Err(full));
    assert_eq!(waiting.await.map(drop), Err(full));
    drop(held);
    assert_eq!(limiter.load().in_use, 0, "a waiter that timed out holds no permit");
}

#[tokio::test(start_paused = true)]
async fn rejects_a_wait_that_cannot_end_in_time() {
    let limiter = limiter(2, 1_000);
    let held = [limiter.acquire(|_| {}).await.unwrap(), limiter.acquire(|_| {}).await.unwrap()];
    tokio::time::advance(Duration::from_secs(10)).await;
    held.into_iter().for_each(ConcurrencyPermit::complete);
    // Ten seconds each on two permits: six wait for 30 seconds and less.
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

/// Otherwise a few cancelled answers make the wait look short, and the queue fills with messages that time out.
#[tokio::test(start_paused = true)]
async fn estimates_waits_from_completed_holds_only() {
    let limiter = limiter(1, 1_000);
    let held = limiter.acquire(|_| {}).await.unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    held.complete();
    for _ in 0..100 {
        let stopped = limiter.acquire(|_| {}).await.unwrap();
        tokio::time::advance(Duration::from_millis(1)).await;
        drop(stopped);
    }
    // Ten seconds each: the permit, and three that wait for 30 seconds and less.
    let reserved: Vec<_> = std::iter::from_fn(|| limiter.reserve().ok()).collect();
    assert_eq!(reserved.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn leaving_the_queue_keeps_the_order_of_the_others() {
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
async fn shrinking_keeps_held_permits_and_growing_grants_waiters() {
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
    assert!(next.as_mut().poll(&mut context).is_pending(), "one permit is left, and held");
    limiter.resize(2, 2);
    assert!(next.as_mut().poll(&mut context).is_ready());
}

/// A core that has just rejoined has one permit, while the others have not released theirs yet.
#[tokio::test(start_paused = true)]
async fn estimates_waits_by_the_target_count() {
    let limiter = limiter(1, 1_000);
    let held = limiter.acquire(|_| {}).await.unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    held.complete();
    limiter.resize(1, 4);
    // Ten seconds each: one permit serves four of them in time, four serve thirteen.
    let reserved: Vec<_> = (0..13).map(|_| limiter.reserve().unwrap()).collect();
    assert_eq!(limiter.reserve().map(drop), Err(LimiterSaturated { retry_after: Duration::from_millis(17_500) }));
    drop(reserved);
}

#[tokio::test(start_paused = true)]
async fn reserves_each_place_once() {
    let limiter = limiter(1, 1);
    let (first, second) = (limiter.reserve().unwrap(), limiter.reserve().unwrap());
    assert!(limiter.reserve().is_err(), "one for the permit, one for the queue");
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

/// Event of the property test.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A new waiter tries to reserve.
    Join,
    /// A holder drops its permit.
    Release(usize),
    /// A waiter leaves the queue.
    Leave(usize),
    /// The limit becomes this.
    Resize(usize),
}

/// Model of the limiter: the holders, and the waiters in order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct ModelQueue {
    holds: Vec<usize>,
    waits: Vec<usize>,
}

impl ModelQueue {
    fn join(&mut self, number: usize, count: usize, queue_max: usize) -> bool {
        let fits = (self.holds.len() + self.waits.len()).checked_sub(count).is_none_or(|ahead| ahead < queue_max);
        if fits {
            self.waits.push(number);
            self.grant(count);
        }
        fits
    }

    fn grant(&mut self, count: usize) {
        while self.holds.len() < count && !self.waits.is_empty() {
            self.holds.push(self.waits.remove(0));
        }
    }
}

type Waits = std::pin::Pin<Box<dyn Future<Output = Result<ConcurrencyPermit, LimiterSaturated>>>>;

/// The limiter, with the numbers of its holders and waiters.
struct Subject {
    limiter: Arc<ConcurrencyLimiter>,
    holds: Vec<(usize, ConcurrencyPermit)>,
    waits: Vec<(usize, Waits)>,
}

impl Subject {
    fn join(&mut self, number: usize) -> bool {
        let Ok(reservation) = self.limiter.reserve() else { return false };
        self.waits.push((number, Box::pin(reservation.acquire(Priority::Ordinary, |_| {}))));
        true
    }

    /// Polls every waiter.
    fn poll(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut still = Vec::new();
        for (number, mut waits) in std::mem::take(&mut self.waits) {
            match waits.as_mut().poll(&mut context) {
                Poll::Ready(permit) => self.holds.push((number, permit.unwrap())),
                Poll::Pending => still.push((number, waits)),
            }
        }
        self.waits = still;
    }

    fn snapshot(&self) -> ModelQueue {
        let mut holds: Vec<_> = self.holds.iter().map(|(number, _)| *number).collect();
        holds.sort_unstable();
        ModelQueue { holds, waits: self.waits.iter().map(|(number, _)| *number).collect() }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Join),
        2 => (0..9usize).prop_map(Step::Release),
        1 => (0..9usize).prop_map(Step::Leave),
        1 => (0..5usize).prop_map(Step::Resize),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    /// For any sequence of events the same numbers hold, wait and are rejected as in the model.
    #[test]
    fn queue_matches_model(queue_max in 0usize..5, steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut count = 2;
            let mut model = ModelQueue::default();
            let mut subject = Subject { limiter: limiter(count, queue_max), holds: Vec::new(), waits: Vec::new() };
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Join => prop_assert_eq!(model.join(number, count, queue_max), subject.join(number)),
                    Step::Release(which) if !model.holds.is_empty() => {
                        let released = model.holds.remove(which % model.holds.len());
                        subject.holds.retain(|(number, _)| *number != released);
                    }
                    Step::Leave(which) if !model.waits.is_empty() => {
                        let left = model.waits.remove(which % model.waits.len());
                        subject.waits.retain(|(number, _)| *number != left);
                    }
                    Step::Resize(to) => {
                        count = to;
                        subject.limiter.resize(count, count);
                    }
                    Step::Release(_) | Step::Leave(_) => {}
                }
                model.grant(count);
                subject.poll();
                model.holds.sort_unstable();
                prop_assert_eq!(&model, &subject.snapshot());
                let load = LimiterLoad { count, in_use: model.holds.len(), waiting: model.waits.len() };
                prop_assert_eq!(load, subject.limiter.load());
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn priority_is_granted_first_within_its_share() {
    use Priority::{First, Ordinary};
    for (count, want) in [(1, [2, 3, 0, 1]), (4, [2, 0, 1, 3])] {
        // Of four permits one may be held out of turn: while it is, priority waits in FIFO order.
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
        while let Some(permit) = held.pop() {
            drop(permit);
            for (number, waiting) in waiting.iter_mut().enumerate() {
                if !got.contains(&number)
                    && let Poll::Ready(permit) = poll!(waiting.as_mut())
                {
                    got.push(number);
                    if count == 1 {
                        held.push(permit.unwrap());
                    } else {
                        // Held to the end of the test.
                        std::mem::forget(permit.unwrap());
                    }
                }
            }
        }
        assert_eq!(got, want, "of {count}");
    }
}

#[tokio::test(start_paused = true)]
async fn releases_the_share_with_the_permit() {
    let limiter = ConcurrencyLimiter::new(1, 100, Duration::from_secs(60));
    let held = limiter.acquire(|_| {}).await.unwrap();
    let mut ordinary = pin!(limiter.acquire(|_| {}));
    let mut first = Box::pin(limiter.acquire_as(Priority::First, |_| {}));
    assert!(poll!(ordinary.as_mut()).is_pending() && poll!(first.as_mut()).is_pending());
    drop(held);
    let permit = first.as_mut().await.unwrap();
    assert_eq!(limiter.state().out_of_turn, 1);
    drop(permit);
    assert_eq!(limiter.state().out_of_turn, 0);
    assert!(poll!(ordinary.as_mut()).is_ready());
    // A waiter that leaves the queue holds no share.
    let _held = limiter.acquire(|_| {}).await.unwrap();
    let mut gone = Box::pin(limiter.acquire_as(Priority::First, |_| {}));
    assert!(poll!(gone.as_mut()).is_pending());
    drop(gone);
    assert_eq!(limiter.load().waiting, 0);
}
