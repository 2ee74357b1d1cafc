//! Time from a message in risk to the help on the wire, while one thing after another is wrong.

mod condition;
mod crowd;
mod fault;
mod report;
mod visitor;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use testkit::process::ProcessError;
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::LoadError;
use crate::town::{Binaries, Town};
use condition::Before;
pub use condition::Condition;
use fault::{Fault, Stores};
pub use report::{GOAL, HelpReport, HelpRow};
pub use visitor::Door;
use visitor::Visitor;

/// Between one person's message and the next one's, whichever door they are at: what is measured is help, and not
/// the wait for those who came before.
const PACE: Duration = Duration::from_millis(5);
/// How long help may take before it counts as none.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long anything else may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Messages that are sent at the same time before it begins.
const AT_ONCE: usize = 64;

/// Where, and with how many people.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the programs are.
    pub binaries: Binaries,
    /// Folder in which the database is made.
    pub disk: PathBuf,
    /// People at each door, in each condition.
    pub people: usize,
    /// The server for what cores share.
    pub redis_server: PathBuf,
    /// Whether PostgreSQL is started; without it there is no Redis either, which is for several cores on one PostgreSQL.
    pub postgres: bool,
}

/// Runs it: each condition with services of its own.
///
/// # Errors
///
/// Something cannot be started, somebody cannot connect, or a condition does not come about. Who gets no help is counted.
pub async fn run(options: &Options) -> Result<HelpReport, LoadError> {
    let mut report = HelpReport::default();
    for condition in Condition::ALL {
        if options.postgres || !condition.needs_postgres() {
            measure(condition, options, &mut report).await?;
        }
    }
    Ok(report)
}

/// Adds one condition to the report, with a row for each door.
async fn measure(condition: Condition, options: &Options, report: &mut HelpReport) -> Result<(), LoadError> {
    let stores = Stores::start(condition, &options.redis_server).await?;
    let [core, gateway] = condition.settings(options.people, &stores);
    let town = Town::start(&options.binaries, &options.disk, condition.model(), [&core, &gateway]).await?;
    stores.linked(&town).await?;
    let mut witness = Door::Core.open(&town, 1).await?;
    let mut people = Vec::new();
    for door in Door::ALL {
        people.push(door.open(&town, options.people).await?);
    }
    before(condition, &town, people.iter_mut().flatten().chain(&mut witness).collect()).await?;
    let witness = witness.first_mut().ok_or(LoadError::Lapsed { condition, got: "nobody to see it".to_owned() })?;
    let fault = Fault::begin(condition, &town, stores, witness).await?;
    let taken = ask_all(&mut people).await;
    let others_per_second = fault.lasted(condition, &town, witness).await?;
    report.others_per_second = report.others_per_second.or(others_per_second);
    let rows = Door::ALL.into_iter().zip(&taken);
    report.rows.extend(rows.map(|(door, taken)| HelpRow::new(condition, door, taken)));
    Ok(())
}

/// Lets everybody say what they say before they are in risk.
async fn before(condition: Condition, town: &Town, people: Vec<&mut Visitor>) -> Result<(), LoadError> {
    let (before, count) = (condition.before(), people.len());
    let said = people.into_iter().map(|person| async move {
        let lapsed = |got: String| LoadError::Lapsed { condition, got };
        timeout(LIMIT, person.says(before)).await.map_err(|_| lapsed("no answer".to_owned()))?.map_err(lapsed)
    });
    stream::iter(said).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    if matches!(before, Before::Asked | Before::Begun) {
        // People at a terminal are told nothing of a call, so the model is asked.
        let model = &town.model.standin;
        model.wait_for(|_| count <= model.in_flight()).await.map_err(ProcessError::from)?;
    }
    Ok(())
}

/// Time to help of everybody, by door; `None`: there was none. People at all doors take turns.
async fn ask_all(people: &mut [Vec<Visitor>]) -> Vec<Vec<Option<Duration>>> {
    let (begin, doors) = (Instant::now(), people.len());
    let at = |door: usize, number: usize| begin + PACE * u32::try_from(number * doors + door).unwrap_or(u32::MAX);
    let doors = people.iter_mut().enumerate().map(|(door, people)| {
        join_all(people.iter_mut().enumerate().map(move |(number, person)| async move {
            sleep_until(at(door, number)).await;
            timeout(PATIENCE, person.asks_for_help()).await.ok().flatten()
        }))
    });
    join_all(doors).await
}
