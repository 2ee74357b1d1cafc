//! People who write and wait for answers.

pub(crate) mod person;
mod report;
pub(crate) mod tally;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use protocol::Face;
use tokio::time::Instant;

pub use report::ChatReport;
use tally::Tally;

use crate::disk::{self, Floor};
use crate::error::LoadError;
use crate::observed::{Observed, Watch};
use crate::via::{Client, Via};

/// What the people do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where they connect.
    pub via: Via,
    /// What they speak.
    pub face: Face,
    /// How many there are.
    pub people: usize,
    /// How many messages each writes.
    pub messages: usize,
    /// What they write.
    pub text: String,
    /// Turns per second of all of them together, whatever the answers take (open loop).
    /// `None`: each writes as soon as the last answer is there (closed loop).
    pub rate: Option<f64>,
    /// In the closed loop: how long each waits before the next message.
    pub think: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// No message is sent after this long.
    pub limit: Duration,
    /// Processes to watch.
    pub observed: Vec<Observed>,
    /// A folder whose disk is measured first, as the floor of `accepted`.
    pub disk: Option<PathBuf>,
}

/// Runs it: connects everybody first, looks at the disk, then measures from the first message to the last answer.
///
/// # Errors
///
/// Somebody cannot connect, or a process or a disk cannot be measured. What goes wrong later is counted.
pub async fn run(options: &Options) -> Result<ChatReport, LoadError> {
    let clients = options.via.open(options.people, options.face).await?;
    let disk = match &options.disk {
        Some(folder) => Some(disk_floor(folder.clone()).await?),
        None => None,
    };
    let tally = RefCell::new(Tally::default());
    let watch = Watch::start(&options.observed)?;
    // Connections stay open until everybody is done, as people's would.
    let (_clients, elapsed) = talk(clients, options, &tally).await;
    let tally = tally.into_inner();
    let costs = watch.costs(tally.turns)?;
    Ok(ChatReport { disk, ..ChatReport::new(options, &tally, elapsed, costs) })
}

/// Lets everybody chat; gives the connections back, and the time from the first message to the last answer.
pub(crate) async fn talk(clients: Vec<Client>, options: &Options, tally: &RefCell<Tally>) -> (Vec<Client>, Duration) {
    let plan = Plan { options, start: Instant::now(), next_turn: Cell::new(0) };
    let clients = join_all(clients.into_iter().map(|client| person::chat(client, &plan, tally))).await;
    (clients, plan.start.elapsed())
}

async fn disk_floor(folder: PathBuf) -> Result<Floor, LoadError> {
    let measured = tokio::task::spawn_blocking(move || {
        disk::measure(&folder).map_err(|source| LoadError::File { path: folder, source })
    });
    measured.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// When the next turn is due.
struct Plan<'a> {
    options: &'a Options,
    start: Instant,
    /// Turns that somebody has taken on.
    next_turn: Cell<u32>,
}

impl Plan<'_> {
    /// The time of the next turn; `None` when time is up. In the open loop it may lie in
    /// the past: then everybody was busy, and the wait counts as latency.
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
