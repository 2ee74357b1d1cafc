//! Standard output that never blocks those who log.
//!
//! Lines go through a bounded queue to a thread of their own. While nothing reads the pipe, lines beyond
//! the queue are dropped and counted; once it flows again, one line says how many. The writer is not
//! `tracing-appender`'s: that one neither reports a gap in the log nor keeps from writing to standard
//! error at the end, which in a container is often the same pipe that nothing reads.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written: some 2 MiB.
const QUEUE_LINES: usize = 8_192;
/// Bytes gathered for one write.
const BATCH_BYTES: usize = 64 * 1_024;
/// Time in which lines are gathered after a write. Waking the thread for each of them cost a fifth of the processor
/// time of a turn; a line that comes after a pause is written at once.
const GATHER: Duration = Duration::from_millis(10);
/// Time for the last lines to be written at the end of the process. Longer would hold up a restart for the
/// sake of a reader that has gone.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Log lines this process has dropped so far.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Returns how many log lines this process has dropped, because nothing read its standard output.
pub fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Queues lines; each call of [`Write::write`] is one. Clones share the queue.
#[derive(Debug, Clone)]
pub(super) struct LogWriter {
    lines: SyncSender<Vec<u8>>,
}

/// Writes what is queued when it is dropped, within a limit.
#[derive(Debug)]
pub(super) struct FlushGuard {
    lines: SyncSender<Vec<u8>>,
    end: Arc<Shutdown>,
}

#[derive(Debug, Default)]
struct Shutdown {
    /// The process ends: the queue is to be emptied, and nothing awaited after that.
    requested: AtomicBool,
    reached: Mutex<bool>,
    changed: Condvar,
}

impl LogWriter {
    /// A writer to `sink`, from a thread of its own. Calls `report` on that thread with the number of
    /// lines dropped, once lines can be written again.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub(super) fn start(
        sink: impl Write + Send + 'static,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<(Self, FlushGuard)> {
        let (lines, queue) = sync_channel(QUEUE_LINES);
        let end = Arc::new(Shutdown::default());
        let ending = Arc::clone(&end);
        let before = dropped_lines();
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            write_all(&queue, sink, (before, report), &ending.requested);
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

/// Writes lines until the process ends. A sink that fails loses them, as it did without a queue. Of the lines
/// dropped, `reported` are known.
fn write_all(
    queue: &Receiver<Vec<u8>>,
    mut sink: impl Write,
    (mut reported, report): (u64, impl Fn(u64)),
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
        // Not a wait for the queue: that would be woken by the next line.
        if !ending.load(Ordering::Acquire) {
            thread::sleep(GATHER);
        }
    }
}

/// The next line; `None` once the process ends and the queue is empty.
fn next_line(queue: &Receiver<Vec<u8>>, ending: &AtomicBool) -> Option<Vec<u8>> {
    // Before the look at the queue: what was queued before the end is written.
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
        // At the limit the process ends with the thread in the middle of a write.
        drop(self.changed.wait_timeout_while(reached, FLUSH_LIMIT, |reached| !*reached));
    }
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        self.end.requested.store(true, Ordering::Release);
        // Wakes the thread. Where the queue is full it is awake, and looks when it has emptied it.
        let _ = self.lines.try_send(Vec::new());
        self.end.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pipe: takes a batch only when the test reads it.
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

    /// One test, because the number of dropped lines is one for the process.
    #[test]
    fn never_blocks_on_the_reader_and_reports_dropped_lines() {
        let (pipe, reader) = sync_channel(0);
        let (reports, reported) = mpsc::channel();
        let (writer, flush) = LogWriter::start(Pipe(pipe), move |dropped| reports.send(dropped).unwrap()).unwrap();
        // More than the queue and the first batch hold together.
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

        // What is queued at the end is written, if it is read.
        for _ in 0..100 {
            writer.make_writer().write_all(b"a line\n").unwrap();
        }
        let read = thread::spawn(move || reader.iter().map(|batch| lines(&batch)).sum::<usize>());
        drop(flush);
        drop(writer);
        assert_eq!(read.join().unwrap(), 100);

        // Without a reader the end does not wait for ever.
        let (pipe, _unread) = sync_channel(0);
        let (mut writer, flush) = LogWriter::start(Pipe(pipe), |_| {}).unwrap();
        writer.write_all(b"a line\n").unwrap();
        drop(flush);
    }
}
