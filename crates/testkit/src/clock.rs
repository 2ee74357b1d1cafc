//! A paused clock that real sockets and threads can live with.
//!
//! Tokio moves a paused clock forward as soon as its runtime is idle. That is right for
//! a program that lives in the runtime alone; with sockets or threads, "idle" also means
//! that bytes or a commit are on their way, and time-outs fire that nobody waited for.
//! [`FrozenClock`] stops that, [`settle`] waits for what is on its way, and [`advance`] moves
//! the clock by hand. All of it needs a current-thread runtime.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{spawn_blocking, yield_now};

/// Keeps a paused clock where it is until dropped.
#[derive(Debug)]
pub struct FrozenClock {
    /// Its drop ends the blocking task whose presence tells tokio not to move the clock.
    _hold: mpsc::SyncSender<()>,
}

impl FrozenClock {
    /// Freezes the clock of the current runtime.
    pub fn freeze() -> Self {
        let (hold, held) = mpsc::sync_channel(0);
        // An error says that the guard is gone, which is what it waits for.
        spawn_blocking(move || held.recv());
        Self { _hold: hold }
    }
}

/// How often [`settle`] looks whether the runtime has had nothing to do.
const SLICE: Duration = Duration::from_micros(300);
/// How long it has to have had nothing to do.
const QUIET: Duration = Duration::from_micros(1_200);
/// Where to stop waiting for a runtime that is never quiet.
const MOST_SLICES: u32 = 3_000;

/// Waits, in real time and with the clock standing still, until nothing has run in this
/// runtime for about a millisecond. Sees work that other threads do only by what they wake.
pub async fn settle() {
    settle_for(QUIET).await;
}

/// Like [`settle`], for runtimes whose work goes through other threads: `quiet` has to be
/// longer than what they may take before they wake this one.
pub async fn settle_for(quiet: Duration) {
    let _frozen = FrozenClock::freeze();
    let metrics = Handle::current().metrics();
    let quiet_slices = quiet.as_nanos().div_ceil(SLICE.as_nanos()).max(1);
    let mut quiet = 0;
    for _ in 0..MOST_SLICES {
        let parks = metrics.worker_park_count(0);
        // An error says that the runtime is shutting down.
        let _ = spawn_blocking(|| thread::sleep(SLICE)).await;
        // Waiting for the slice is one; every task that was woken from outside makes one more.
        quiet = if metrics.worker_park_count(0) - parks <= 1 { quiet + 1 } else { 0 };
        if quiet == quiet_slices {
            return;
        }
    }
}

/// Finest step of [`advance`], and the most steps it takes.
const STEP: Duration = Duration::from_millis(5);
const MOST_STEPS: u32 = 2_000;
/// How many hops from task to task, over sockets too, what a timer starts may take in one step.
const HOPS_PER_STEP: u32 = 24;

/// Moves a paused clock by `by`, in steps, so that timers set by what other timers start
/// are set at the right time. Settles before the first step and after the last.
pub async fn advance(by: Duration) {
    let _frozen = FrozenClock::freeze();
    settle().await;
    let step = STEP.max(by / MOST_STEPS);
    let mut left = by;
    while !left.is_zero() {
        let now = step.min(left);
        tokio::time::advance(now).await;
        for _ in 0..HOPS_PER_STEP {
            yield_now().await;
        }
        left -= now;
    }
    settle().await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn frozen_stands_still_while_others_work() {
        let start = Instant::now();
        let timer = async {
            sleep(Duration::from_secs(1)).await;
            Instant::now() - start
        };
        let mut timer = std::pin::pin!(timer);
        {
            let _frozen = FrozenClock::freeze();
            let work = spawn_blocking(|| thread::sleep(Duration::from_millis(20)));
            tokio::select! {
                _ = &mut timer => panic!("the clock moved"),
                done = work => done.unwrap(),
            }
            assert_eq!(Instant::now(), start);
        }
        assert_eq!(timer.await, Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn settle_lets_sockets_finish() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let echo = tokio_util::task::TaskTracker::new();
        echo.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        let start = Instant::now();
        for _ in 0..20 {
            stream.write_all(b"hola").await.unwrap();
            settle().await;
            let mut back = [0; 8];
            assert_eq!(stream.try_read(&mut back).unwrap(), 4);
        }
        assert_eq!(Instant::now(), start);
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn advance_runs_timers_that_start_timers() {
        let start = Instant::now();
        let tasks = tokio_util::task::TaskTracker::new();
        let chain = tasks.spawn(async move {
            for _ in 0..3 {
                sleep(Duration::from_millis(500)).await;
            }
            Instant::now() - start
        });
        advance(Duration::from_millis(1_600)).await;
        assert_eq!(Instant::now() - start, Duration::from_millis(1_600));
        let took = chain.await.unwrap();
        assert!(took < Duration::from_millis(1_520), "{took:?}");
    }
}
