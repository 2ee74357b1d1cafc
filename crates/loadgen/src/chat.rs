//! Chat load: users who write and wait for answers.

mod report;
pub(crate) mod tally;
pub(crate) mod user;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use protocol::Face;
use tokio::time::Instant;

pub use report::ChatReport;
use tally::Tally;

use crate::disk::{self, DiskBaseline};
use crate::error::LoadError;
use crate::target::{Client, Target};
use crate::watched_process::{Watch, WatchedProcess};

/// Options of a chat run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Server to connect to.
    pub target: Target,
    /// Plain lines or frames.
    pub face: Face,
    /// Number of users.
    pub people: usize,
    /// Messages per user.
    pub messages: usize,
    /// Text of every message.
    pub text: String,
    /// Open loop: turns per second of all users together, independent of answers. `None` is the
    /// closed loop: each user writes once the last answer has arrived.
    pub rate: Option<f64>,
    /// Pause of a user between an answer and the next message, in the closed loop.
    pub think: Duration,
    /// Timeout of an answer.
    pub timeout: Duration,
    /// No message is sent after this time.
    pub limit: Duration,
    /// Processes to measure.
    pub watched: Vec<WatchedProcess>,
    /// Folder whose disk is measured first, as the baseline of `accepted`.
    pub disk: Option<PathBuf>,
}

/// Connects all users, measures the disk, then the load from the first message to the last answer.
///
/// # Errors
///
/// A user cannot connect, or a process or disk cannot be measured. Later failures are counted.
pub async fn run(options: &Options) -> Result<ChatReport, LoadError> {
    let clients = options.target.open(options.people, options.face).await?;
    let disk = match &options.disk {
        Some(folder) => Some(measure_disk(folder.clone()).await?),
        None => None,
    };
    let tally = RefCell::new(Tally::default());
    let watch = Watch::start(&options.watched)?;
    // Connections stay open until all users are done, as real ones would.
    let (_clients, elapsed) = run_users(clients, options, &tally).await;
    let tally = tally.into_inner();
    let costs = watch.costs(tally.turns)?;
    Ok(ChatReport { disk, ..ChatReport::new(options, &tally, elapsed, costs) })
}

/// Runs all users; returns the connections and the time from the first message to the last answer.
pub(crate) async fn run_users(
    clients: Vec<Client>,
    options: &Options,
    tally: &RefCell<Tally>,
) -> (Vec<Client>, Duration) {
    let schedule = Schedule { options, start: Instant::now(), next_turn: Cell::new(0) };
    let clients = join_all(clients.into_iter().map(|client| user::chat(client, &schedule, tally))).await;
    (clients, schedule.start.elapsed())
}

async fn measure_disk(folder: PathBuf) -> Result<DiskBaseline, LoadError> {
    let measured = tokio::task::spawn_blocking(move || {
        disk::measure(&folder).map_err(|source| LoadError::File { path: folder, source })
    });
    measured.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Schedule of turns.
struct Schedule<'a> {
    options: &'a Options,
    start: Instant,
    /// Turns taken by users so far.
    next_turn: Cell<u32>,
}

impl Schedule<'_> {
    /// Time of the next turn; `None` after the limit. In the open loop it may lie in the past:
    /// then all users were busy, and the wait counts as latency (no coordinated omission).
    fn due(&self) -> Option<Instant> {
        let due = match self.options.rate {
            None => Instant::now(),
            Some(rate) => {
                let turn = self.next_turn.get();
                self.next_turn.set(turn + 1);
                self.start + Duration::from_secs_f64(f64::from(turn) / rate)
            }
        };
        (due.duration_since(self.start) < self.options.limit).then_some(due)
    }
}
