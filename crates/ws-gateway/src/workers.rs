//! Worker threads that run the connections.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Single-threaded runtimes; connections are assigned round-robin.
///
/// A connection stays on its thread. Without work stealing and cross-thread wake-ups a message costs about a tenth less
/// CPU than on one multi-threaded runtime.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<Handle>,
    next: AtomicUsize,
    stop: CancellationToken,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads, which stop when this is dropped.
    ///
    /// # Errors
    ///
    /// A thread or its runtime cannot be created.
    pub fn start(count: usize) -> io::Result<Self> {
        let mut workers = Self::over(Vec::new());
        for index in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            workers.handles.push(runtime.handle().clone());
            let stop = workers.stop.clone();
            let worker = thread::Builder::new().name(format!("worker-{index}"));
            let run = move || {
                runtime.block_on(stop.cancelled());
                // In the background: a blocking DNS look-up must not delay the exit.
                runtime.shutdown_background();
            };
            workers.threads.push(worker.spawn(run)?);
        }
        Ok(workers)
    }

    /// Runs connections on the caller's runtime, for tests.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub fn current() -> Self {
        Self::over(vec![Handle::current()])
    }

    fn over(handles: Vec<Handle>) -> Self {
        Self { handles, next: AtomicUsize::new(0), stop: CancellationToken::new(), threads: Vec::new() }
    }

    /// Returns the next runtime in rotation.
    pub(crate) fn next(&self) -> &Handle {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len();
        &self.handles[index]
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // The panic hook has reported it already.
            let _panicked = thread.join();
        }
    }
}
