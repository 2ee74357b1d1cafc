//! Users under attack. Three kinds of phases alternate in one run: quiet; an attack on other services of the same
//! machine, which shows the machine's share of the slowdown; and an attack on the services of the users.

mod attack_load;
mod report;
mod users;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::{OptionFuture, join, join_all};
use protocol::Face;
use testkit::footprint::Footprint;
use testkit::llm::{Answer, Fallback};
use testkit::steal_time::steal_time;
use tokio::time::{Instant, sleep, sleep_until};

use crate::chat::tally::Tally;
use crate::disk;
use crate::error::LoadError;
use crate::service_stack::{Binaries, RunningService, ServiceStack, Setting};
use crate::target::Client;
use attack_load::{AttackLoad, Outcomes};
pub use report::{PhaseKind, PressureReport, ProcessUsage, Ratio, Row};

/// Interval between two samples of the services' memory.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Message that requests a long answer.
const ASK_FOR_MUCH: &str = "Contame todo lo que sepas";
/// Address of the gateway and the users, and the only one whose PROXY headers are trusted: attackers must not set theirs.
const SOURCE: &str = "127.0.0.1/32";

/// Options of a pressure run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Binaries of the services.
    pub binaries: Binaries,
    /// Folder for the database.
    pub disk: PathBuf,
    /// Number of users.
    pub people: usize,
    /// Mean pause of a user between an answer and the next message.
    pub think: Duration,
    /// Duration of a phase.
    pub phase: Duration,
    /// Pause between phases, and before the first while the users start.
    pub pause: Duration,
    /// Phases of each kind; one more quiet phase ends the run.
    pub rounds: usize,
    /// Connections per second of the connection flood.
    pub flood_per_second: u32,
    /// Niceness of the attackers' thread, 0 to 19 (`setpriority(2)`).
    pub attack_nice: u8,
    /// Seed of the random numbers.
    pub seed: u64,
}

/// Runs all phases.
///
/// # Errors
///
/// A service cannot be started or measured, or a user cannot connect.
pub async fn run(options: &Options) -> Result<PressureReport, LoadError> {
    let [core, gateway] = settings();
    let start = || ServiceStack::start(&options.binaries, &options.disk, Fallback::Reply(answer), [&core, &gateway]);
    let (stack, other_stack) = (start().await?, start().await?);
    let folder = stack.folder().to_owned();
    let baseline = disk::measure(&folder).map_err(|source| LoadError::File { path: folder, source })?;
    let clients = stack.gateway_target().open(options.people, Face::Frames).await?;
    let state = RunState::new(options);
    let talk = clients.into_iter().enumerate().map(|(number, client)| users::run(client, number, &state));
    let phases = async {
        let outcomes = run_phases(options, [&stack, &other_stack], &state).await;
        state.over.set(true);
        outcomes
    };
    // Connections stay open until the last phase is measured.
    let (_clients, outcomes): (Vec<Client>, _) = join(join_all(talk), phases).await;
    let outcomes = outcomes?;
    let samples = state.samples.into_inner();
    Ok(PressureReport::new(
        options,
        baseline,
        &samples,
        outcomes,
        [&stack.core, &stack.gateway].map(RunningService::logs),
    ))
}

/// Settings of the core and the gateway: users share a few addresses here, so the limits per address are lifted.
fn settings() -> [Vec<Setting>; 2] {
    let trusted = ("TRUSTED_PROXIES", SOURCE.to_owned());
    let free = [("RATE_MAX_MESSAGES", "100000".to_owned()), ("MAX_IN_FLIGHT", "200".to_owned())];
    [free.into_iter().chain([trusted.clone()]).collect(), vec![trusted]]
}

/// Model: eight deltas, the first after 20 ms, the others 10 ms apart; 32 KB for [`ASK_FOR_MUCH`].
fn answer(_: u64, said: &str) -> Answer {
    if said.starts_with(ASK_FOR_MUCH) {
        Answer::pieces((0..320).map(|_| "x".repeat(100))).paced(20, 2)
    } else {
        Answer::chunks(8).paced(20, 10)
    }
}

/// State shared by all users of a run.
#[derive(Debug)]
struct RunState<'a> {
    options: &'a Options,
    /// Index of the current phase's tally.
    now: Cell<usize>,
    over: Cell<bool>,
    samples: RefCell<Vec<PhaseSample>>,
    /// One per phase, and a last one for the time between them.
    tallies: Vec<RefCell<Tally>>,
}

impl<'a> RunState<'a> {
    fn new(options: &'a Options) -> Self {
        let phases = PhaseKind::CYCLE.len() * options.rounds + 1;
        let tallies: Vec<_> = (0..=phases).map(|_| RefCell::default()).collect();
        Self { options, now: Cell::new(phases), over: Cell::new(false), samples: RefCell::default(), tallies }
    }

    fn tally(&self) -> &RefCell<Tally> {
        &self.tallies[self.now.get()]
    }

    fn phases(&self) -> usize {
        self.tallies.len() - 1
    }
}

/// Measurements of one phase.
#[derive(Debug)]
struct PhaseSample {
    kind: PhaseKind,
    tally: Tally,
    /// Of the core, the gateway and this program.
    parts: [ProcessUsage; 3],
    /// Steal time as a fraction of one processor.
    stolen: f64,
}

async fn run_phases(
    options: &Options,
    [stack, other_stack]: [&ServiceStack; 2],
    state: &RunState<'_>,
) -> Result<Outcomes, LoadError> {
    let (mut outcomes, pids) = (Outcomes::default(), [stack.core.pid, stack.gateway.pid, std::process::id()]);
    // Users reach their steady state before the first phase.
    sleep(options.pause + options.think).await;
    for (phase, kind) in (0..state.phases()).zip(PhaseKind::CYCLE.into_iter().cycle()) {
        let begin = Instant::now();
        let end = begin + options.phase;
        let (before, stolen) = (footprints(pids)?, steal_time()?);
        state.now.set(phase);
        let measure = async {
            let peaks = peaks(pids, end).await?;
            // Messages sent from here on belong to the pause, not to the phase.
            state.now.set(state.phases());
            Ok::<_, LoadError>((peaks, footprints(pids)?, steal_time()?.saturating_sub(stolen), begin.elapsed()))
        };
        let target = match kind {
            PhaseKind::Quiet => None,
            PhaseKind::OtherStack => Some(other_stack),
            PhaseKind::Pressure => Some(stack),
        };
        let attack = target.map(|target| AttackLoad::new(target, options, end).run_on_own_thread());
        let (measured, attacked) = join(measure, OptionFuture::from(attack)).await;
        let attacked = attacked.transpose()?.unwrap_or_default();
        if kind == PhaseKind::Pressure {
            outcomes.merge(attacked);
        }
        let (peaks, after, stolen, took) = measured?;
        let stolen = stolen.as_secs_f64() / took.as_secs_f64();
        let parts = [0, 1, 2].map(|part| ProcessUsage::new(&before[part], &after[part], peaks[part], took));
        // The tally is read after the pause, which lets the phase's last answers arrive.
        sleep(options.pause).await;
        let tally = state.tallies[phase].take();
        state.samples.borrow_mut().push(PhaseSample { kind, tally, parts, stolen });
    }
    Ok(outcomes)
}

fn footprints(pids: [u32; 3]) -> Result<Vec<Footprint>, LoadError> {
    pids.into_iter().map(|pid| Ok(Footprint::of(pid)?)).collect()
}

/// Samples the peak memory of each process until `end`, in bytes.
async fn peaks(pids: [u32; 3], end: Instant) -> Result<Vec<u64>, LoadError> {
    let mut peaks = vec![0; pids.len()];
    loop {
        for (peak, footprint) in peaks.iter_mut().zip(footprints(pids)?) {
            *peak = footprint.resident_bytes.max(*peak);
        }
        if end <= Instant::now() {
            return Ok(peaks);
        }
        sleep_until(end.min(Instant::now() + POLL_INTERVAL)).await;
    }
}
