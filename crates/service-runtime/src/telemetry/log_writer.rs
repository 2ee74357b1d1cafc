//! Non-blocking standard output for logs.
//!
//! Lines pass through a bounded queue to a dedicated thread. While the pipe is not read, lines beyond the queue are
//! dropped and counted; afterwards one line reports the number. `tracing-appender` is not used: it neither reports a
//! gap nor avoids writing to standard error at exit, which in a container is often the same blocked pipe.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Queue capacity in lines: about 2 MiB.
const QUEUE_LINES: usize = 8_192;
/// Maximum size of one write.
const BATCH_BYTES: usize = 64 * 1_024;
/// Delay after a write, to gather lines. Waking the thread for each line cost a fifth of a turn's processor time; a
/// line after an idle period is written at once.
const GATHER: Duration = Duration::from_millis(10);
/// Timeout of the final flush. A longer one would delay restarts for a reader that is gone.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Log lines dropped by this process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Returns the number of log lines dropped because standard output was not read.
pub fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Queues lines; each call of [`Write::write`] is one line. Clones share the queue.
#[derive(Debug, Clone)]
pub(super) struct LogWriter {
    lines: SyncSender<Vec<u8>>,
}

/// Flushes the queue on drop, within [`FLUSH_LIMIT`].
#[derive(Debug)]
pub(super) struct FlushGuard {
    lines: SyncSender<Vec<u8>>,
    end: Arc<Shutdown>,
}

#[derive(Debug, Default)]
struct Shutdown {
    /// Set at shutdown: the thread empties the queue and stops.
    requested: AtomicBool,
    reached: Mutex<bool>,
    changed: Condvar,
}

impl LogWriter {
    /// Creates a writer to `sink` with its own thread. After lines were dropped, `report` is called on that thread with
    /// their number, once writing works.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub(super) fn start(
        sink: impl Write + Send + 'static,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<(Self, FlushGuard)> {
        let (lines, queue) = sync_channel(QUEUE_LINES);
        let end = Arc::new(Shutdown::default());
        let ending = Arc::clone(&end);
        let before = dropped_lines();
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            write_all(&queue, sink, before, report, &ending.requested);
            ending.reach();
        })?;
        Ok((Self { lines: lines.clone() }, FlushGuard { lines, end }))
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(line.to_vec()).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Writes lines until shutdown. A failing sink loses them, as it would without a queue. `reported` of the dropped lines
/// are already known.
fn write_all(
    queue: &Receiver<Vec<u8>>,
    mut sink: impl Write,
    mut reported: u64,
    report: impl Fn(u64),
    ending: &AtomicBool,
) {
    let mut batch = Vec::new();
    while let Some(line) = next_line(queue, ending) {
        batch.extend_from_slice(&line);
        while batch.len() < BATCH_BYTES
            && let Ok(line) = queue.try_recv()
        {
            batch.extend_from_slice(&line);
        }
        let _ = sink.write_all(&batch).and_then(|()| sink.flush());
        batch.clear();
        let dropped = dropped_lines();
        if reported < dropped {
            report(dropped - reported);
            reported = dropped;
        }
        // A sleep, not a wait on the queue, which the next line would end.
        if !ending.load(Ordering::Acquire) {
            thread::sleep(GATHER);
        }
    }
}

/// Returns the next line; `None` at shutdown with an empty queue.
fn next_line(queue: &Receiver<Vec<u8>>, ending: &AtomicBool) -> Option<Vec<u8>> {
    // Read *before* the queue: lines queued before shutdown must still be written.
    let is_ending = ending.load(Ordering::Acquire);
    match queue.try_recv() {
        Ok(line) => Some(line),
        Err(_) if is_ending => None,
        Err(_) => queue.recv().ok(),
    }
}

impl Shutdown {
    fn reach(&self) {
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        // After the timeout the process exits while the thread is blocked in a write.
        drop(self.changed.wait_timeout_while(reached, FLUSH_LIMIT, |reached| !*reached));
    }
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        self.end.requested.store(true, Ordering::Release);
        // Wakes the thread. With a full queue it is awake and checks after emptying it.
        let _ = self.lines.try_send(Vec::new());
        self.end.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pipe that accepts a batch only when the test reads it.
    struct Pipe(SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(batch: &[u8]) -> usize {
        batch.iter().filter(|byte| **byte == b'\n').count()
    }

    /// One test, because the counter of dropped lines is global to the process.
    #[test]
    fn never_blocks_on_the_reader_and_reports_dropped_lines() {
        let (pipe, reader) = sync_channel(0);
        let (reports, reported) = mpsc::channel();
        let (writer, flush) = LogWriter::start(Pipe(pipe), move |dropped| reports.send(dropped).unwrap()).unwrap();
        // More than the queue and the first batch together.
        let written = QUEUE_LINES + 2 * BATCH_BYTES / "a line\n".len();
        for _ in 0..written {
            writer.make_writer().write_all(b"a line\n").unwrap();
        }
        let dropped = dropped_lines();
        assert!(0 < dropped && dropped < written as u64, "{dropped}");
        let mut read = 0;
        while read as u64 + dropped < written as u64 {
            read += lines(&reader.recv().unwrap());
        }
        assert_eq!(reported.recv().unwrap(), dropped);
        assert!(reported.try_recv().is_err(), "once");

        // Lines queued at shutdown are written if they are read.
        for _ in 0..100 {
            writer.make_writer().write_all(b"a line\n").unwrap();
        }
        let read = thread::spawn(move || reader.iter().map(|batch| lines(&batch)).sum::<usize>());
        drop(flush);
        drop(writer);
        assert_eq!(read.join().unwrap(), 100);

        // Without a reader the flush must time out.
        let (pipe, _unread) = sync_channel(0);
        let (mut writer, flush) = LogWriter::start(Pipe(pipe), |_| {}).unwrap();
        writer.write_all(b"a line\n").unwrap();
        drop(flush);
    }
}
