//! Log lines of a process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Maximum number of lines kept; the oldest are dropped.
const MOST_LINES: usize = 200_000;

/// Collects lines until both streams have ended.
#[derive(Debug)]
pub(super) struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Total number of lines.
    count: watch::Receiver<usize>,
    /// True while the streams are read.
    reading: watch::Sender<bool>,
    tasks: TaskTracker,
}

impl Log {
    /// Collects the lines of both streams in order of arrival.
    pub(super) fn of<O, E>(stdout: Option<O>, stderr: Option<E>) -> Self
    where
        O: AsyncRead + Send + Unpin + 'static,
        E: AsyncRead + Send + Unpin + 'static,
    {
        let lines = Arc::default();
        let (written, count) = watch::channel(0);
        let (reading, is_read) = watch::channel(true);
        let tasks = TaskTracker::new();
        if let Some(stdout) = stdout {
            tasks.spawn(collect(stdout, Arc::clone(&lines), written.clone(), is_read.clone()));
        }
        if let Some(stderr) = stderr {
            tasks.spawn(collect(stderr, Arc::clone(&lines), written, is_read));
        }
        tasks.close();
        Self { lines, count, reading, tasks }
    }

    /// Resumes or pauses reading.
    pub(super) fn read(&self, on: bool) {
        self.reading.send_replace(on);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        lock(&self.lines).iter().cloned().collect()
    }

    /// Returns the first line that satisfies `condition`; `None` if none can follow.
    pub(super) async fn find(&self, mut condition: impl FnMut(&str) -> bool) -> Option<String> {
        let mut count = self.count.clone();
        let mut seen = 0;
        loop {
            {
                let lines = lock(&self.lines);
                let total = *count.borrow_and_update();
                let known = lines.len().saturating_sub(total - seen);
                if let Some(line) = lines.iter().skip(known).find(|line| condition(line)) {
                    return Some(line.clone());
                }
                seen = total;
            }
            count.changed().await.ok()?;
        }
    }

    /// Waits until both streams have ended.
    pub(super) async fn ended(&self) {
        self.tasks.wait().await;
    }
}

async fn collect<R>(
    stream: R,
    lines: Arc<Mutex<VecDeque<String>>>,
    written: watch::Sender<usize>,
    mut is_read: watch::Receiver<bool>,
) where
    R: AsyncRead + Unpin,
{
    let mut stream = BufReader::new(stream);
    let mut bytes = Vec::new();
    // A read error ends the stream.
    while stream.read_until(b'\n', &mut bytes).await.is_ok_and(|read| 0 < read) {
        let line = String::from_utf8_lossy(bytes.strip_suffix(b"\n").unwrap_or(&bytes)).into_owned();
        bytes.clear();
        // An error means that the log was dropped: read to the end, so that the process never blocks on a full pipe.
        let _ = is_read.wait_for(|on| *on).await;
        // Incremented under the lock, so that the count always agrees with the lines.
        let mut lines = lock(&lines);
        if MOST_LINES <= lines.len() {
            lines.pop_front();
        }
        lines.push_back(line);
        written.send_modify(|count| *count += 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
