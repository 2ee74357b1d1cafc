//! People who talk while others do what they can to be in the way. Three kinds of phases take turns in one run: a
//! quiet one; one in which others' services on this machine are under pressure, which costs people what the machine
//! has to give to anybody; and one in which the services are that people use.

mod people;
mod report;
mod siege;

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
use crate::town::{Binaries, Place, Setting, Town};
use crate::via::Client;
pub use report::{Kind, Part, PressureReport, Ratio, Row};
use siege::{Fates, Siege};

/// Between two looks at the memory of the services.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// What those say who want a long answer.
const ASK_FOR_MUCH: &str = "Contame todo lo que sepas";
/// The address that gateway and people share, and the only one whose PROXY headers are believed.
const HOME: &str = "127.0.0.1/32";

/// Who does what, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the programs are.
    pub binaries: Binaries,
    /// Folder in which the database is made.
    pub disk: PathBuf,
    /// People who talk.
    pub people: usize,
    /// How long each waits between an answer and the next message, on average.
    pub think: Duration,
    /// How long each phase takes.
    pub phase: Duration,
    /// Between a phase and the next; also before the first, when everyone begins to talk.
    pub pause: Duration,
    /// Phases of each kind; there is one quiet phase more.
    pub rounds: usize,
    /// Connections a second that the flood makes.
    pub flood_per_second: u32,
    /// How far those in the way come behind others for a processor: from 0, not at all, to 19 (`setpriority(2)`).
    pub siege_nice: u8,
    /// Where randomness begins.
    pub seed: u64,
}

/// Runs it.
///
/// # Errors
///
/// Something cannot be started or measured, or somebody cannot connect.
pub async fn run(options: &Options) -> Result<PressureReport, LoadError> {
    let [core, gateway] = settings();
    let start = || Town::start(&options.binaries, &options.disk, Fallback::Reply(answer), [&core, &gateway]);
    let (town, elsewhere) = (start().await?, start().await?);
    let folder = town.folder().to_owned();
    let floor = disk::measure(&folder).map_err(|source| LoadError::File { path: folder, source })?;
    let clients = town.via_gateway().open(options.people, Face::Frames).await?;
    let stage = Stage::new(options);
    let talk = clients.into_iter().enumerate().map(|(number, client)| people::talk(client, number, &stage));
    let direction = async {
        let directed = direct(options, [&town, &elsewhere], &stage).await;
        stage.over.set(true);
        directed
    };
    // Connections stay open until everything is measured.
    let (_clients, fates): (Vec<Client>, _) = join(join_all(talk), direction).await;
    let fates = fates?;
    let looks = stage.looks.into_inner();
    Ok(PressureReport::new(options, floor, &looks, fates, [&town.core, &town.gateway].map(Place::logs)))
}

/// Of the core and of the gateway. Everybody lives at a few addresses here, and nobody pays for the model.
fn settings() -> [Vec<Setting>; 2] {
    let trusted = ("TRUSTED_PROXIES", HOME.to_owned());
    let free = [("RATE_MAX_MESSAGES", "100000".to_owned()), ("MAX_IN_FLIGHT", "200".to_owned())];
    [free.into_iter().chain([trusted.clone()]).collect(), vec![trusted]]
}

/// Eight pieces, 20 ms to the first and 10 ms from one to the next; much, and faster, for those who ask for much.
fn answer(_: u64, said: &str) -> Answer {
    if said.starts_with(ASK_FOR_MUCH) {
        Answer::pieces((0..320).map(|_| "x".repeat(100))).paced(20, 2)
    } else {
        Answer::chunks(8).paced(20, 10)
    }
}

/// What everybody knows of the run.
#[derive(Debug)]
struct Stage<'a> {
    options: &'a Options,
    /// What is counted now.
    now: Cell<usize>,
    over: Cell<bool>,
    looks: RefCell<Vec<Look>>,
    /// For each phase, and at the end for what happens between them.
    tallies: Vec<RefCell<Tally>>,
}

impl<'a> Stage<'a> {
    fn new(options: &'a Options) -> Self {
        let phases = Kind::CYCLE.len() * options.rounds + 1;
        let tallies: Vec<_> = (0..=phases).map(|_| RefCell::default()).collect();
        Self { options, now: Cell::new(phases), over: Cell::new(false), looks: RefCell::default(), tallies }
    }

    fn tally(&self) -> &RefCell<Tally> {
        &self.tallies[self.now.get()]
    }

    fn phases(&self) -> usize {
        self.tallies.len() - 1
    }
}

/// One phase as it was.
#[derive(Debug)]
struct Look {
    kind: Kind,
    tally: Tally,
    /// Of the core, the gateway and this program.
    parts: [Part; 3],
    /// Processors that the host gave to others meanwhile.
    stolen: f64,
}

async fn direct(options: &Options, [town, elsewhere]: [&Town; 2], stage: &Stage<'_>) -> Result<Fates, LoadError> {
    let (mut fates, pids) = (Fates::default(), [town.core.pid, town.gateway.pid, std::process::id()]);
    sleep(options.pause + options.think).await;
    for (phase, kind) in (0..stage.phases()).zip(Kind::CYCLE.into_iter().cycle()) {
        let begin = Instant::now();
        let end = begin + options.phase;
        let (before, stolen) = (footprints(pids)?, steal_time()?);
        stage.now.set(phase);
        let measure = async {
            let peaks = peaks(pids, end).await?;
            stage.now.set(stage.phases());
            Ok::<_, LoadError>((peaks, footprints(pids)?, steal_time()?.saturating_sub(stolen), begin.elapsed()))
        };
        let besieged = match kind {
            Kind::Quiet => None,
            Kind::Elsewhere => Some(elsewhere),
            Kind::Pressure => Some(town),
        };
        let siege = besieged.map(|besieged| Siege::new(besieged, options, end).lay_apart());
        let (measured, laid) = join(measure, OptionFuture::from(siege)).await;
        let laid = laid.transpose()?.unwrap_or_default();
        if kind == Kind::Pressure {
            fates.merge(laid);
        }
        let (peaks, after, stolen, took) = measured?;
        let stolen = stolen.as_secs_f64() / took.as_secs_f64();
        let parts = [0, 1, 2].map(|part| Part::new(&before[part], &after[part], peaks[part], took));
        sleep(options.pause).await;
        let tally = stage.tallies[phase].take();
        stage.looks.borrow_mut().push(Look { kind, tally, parts, stolen });
    }
    Ok(fates)
}

fn footprints(pids: [u32; 3]) -> Result<Vec<Footprint>, LoadError> {
    pids.into_iter().map(|pid| Ok(Footprint::of(pid)?)).collect()
}

/// The most memory that each has until `end`.
async fn peaks(pids: [u32; 3], end: Instant) -> Result<Vec<u64>, LoadError> {
    let mut peaks = vec![0; pids.len()];
    loop {
        for (peak, footprint) in peaks.iter_mut().zip(footprints(pids)?) {
            *peak = footprint.resident_bytes.max(*peak);
        }
        if end <= Instant::now() {
            return Ok(peaks);
        }
        sleep_until(end.min(Instant::now() + LOOK_AGAIN)).await;
    }
}
