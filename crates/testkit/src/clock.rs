//! Paused clock for tests with real sockets and threads.
//!
//! Tokio advances a paused clock as soon as its runtime is idle. With sockets or threads, "idle" also means that bytes
//! or a commit are in transit, so timeouts would fire spuriously. [`FrozenClock`] prevents that, [`settle`] waits for
//! work in transit, and [`advance`] moves the clock by hand. All of it requires a current-thread runtime.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{spawn_blocking, yield_now};

/// Stops a paused clock until dropped.
#[derive(Debug)]
pub struct FrozenClock {
    /// Its drop ends the blocking task whose presence keeps tokio from advancing the clock.
    _hold: mpsc::SyncSender<()>,
}

impl FrozenClock {
    /// Freezes the clock of the current runtime.
    pub fn freeze() -> Self {
        let (hold, held) = mpsc::sync_channel(0);
        // An error means that the guard was dropped.
        spawn_blocking(move || held.recv());
        Self { _hold: hold }
    }
}

/// Interval at which [`settle`] samples the runtime.
const SLICE: Duration = Duration::from_micros(300);
/// Idle time after which the runtime counts as settled.
const QUIET: Duration = Duration::from_micros(1_200);
/// Bound for a runtime that is never idle: about a second.
const MOST_SLICES: u32 = 3_000;

/// Waits, in real time and with the clock stopped, until the runtime has been idle for about a millisecond. Work of
/// other threads is seen only when it wakes this runtime.
pub async fn settle() {
    settle_for(QUIET).await;
}

/// Like [`settle`], for runtimes whose work passes through other threads: `quiet` must exceed their longest step.
pub async fn settle_for(quiet: Duration) {
    let _frozen = FrozenClock::freeze();
    let metrics = Handle::current().metrics();
    let quiet_slices = quiet.as_nanos().div_ceil(SLICE.as_nanos()).max(1);
    let mut quiet = 0;
    for _ in 0..MOST_SLICES {
        let parks = metrics.worker_park_count(0);
        // An error means that the runtime is shutting down.
        let _ = spawn_blocking(|| thread::sleep(SLICE)).await;
        // Waiting for the slice parks once; every wake-up from outside parks once more.
        quiet = if metrics.worker_park_count(0) - parks <= 1 { quiet + 1 } else { 0 };
        if quiet == quiet_slices {
            return;
        }
    }
}

/// Smallest step of [`advance`], and the maximum number of steps.
const STEP: Duration = Duration::from_millis(5);
const MOST_STEPS: u32 = 2_000;
/// Task switches, over sockets too, that one timer may cause within a step.
const HOPS_PER_STEP: u32 = 24;

/// Advances a paused clock by `by`, in steps, so that timers armed by other timers start at the right time. Settles
/// before the first step and after the last.
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
