//! Time from a message in risk to help on the wire, under one fault after another.

mod background_load;
mod condition;
mod fault;
mod raw_user;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use testkit::process::ProcessError;
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::LoadError;
use crate::service_stack::{Binaries, ServiceStack};
pub use condition::Condition;
use condition::Preparation;
use fault::{Fault, Stores};
pub use raw_user::EntryPoint;
use raw_user::RawUser;
pub use report::{GOAL, HelpReport, HelpRow};

/// Interval between the messages of two users, over all entry points: the latency must not include the wait for
/// earlier users.
const SEND_INTERVAL: Duration = Duration::from_millis(5);
/// Later help counts as none.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of any other step.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);
/// Bound on concurrent messages of the preparation.
const MAX_CONCURRENT: usize = 64;

/// Options of a help run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Binaries of the services.
    pub binaries: Binaries,
    /// Folder for the database.
    pub disk: PathBuf,
    /// Users per entry point and condition.
    pub people: usize,
    /// Binary of the Redis server.
    pub redis_server: PathBuf,
    /// Includes conditions with PostgreSQL, and with Redis, which needs it.
    pub postgres: bool,
}

/// Runs each condition with its own services.
///
/// # Errors
///
/// A service cannot be started, a user cannot connect, or a condition does not hold. Users without help are counted.
pub async fn run(options: &Options) -> Result<HelpReport, LoadError> {
    let mut report = HelpReport::default();
    for condition in Condition::ALL {
        if options.postgres || !condition.needs_postgres() {
            measure(condition, options, &mut report).await?;
        }
    }
    Ok(report)
}

/// Measures one condition and adds a row per entry point to the report.
async fn measure(condition: Condition, options: &Options, report: &mut HelpReport) -> Result<(), LoadError> {
    let stores = Stores::start(condition, &options.redis_server).await?;
    let [core, gateway] = condition.settings(options.people, &stores);
    let stack = ServiceStack::start(&options.binaries, &options.disk, condition.model(), [&core, &gateway]).await?;
    stores.wait_until_redis_connected(&stack).await?;
    // All users connect before the fault: a draining or frozen core would refuse them.
    let mut witness = EntryPoint::Core.open(&stack, 1).await?;
    let mut people = Vec::new();
    for entry_point in EntryPoint::ALL {
        people.push(entry_point.open(&stack, options.people).await?);
    }
    prepare_all(condition, &stack, people.iter_mut().flatten().chain(&mut witness).collect()).await?;
    let witness = witness.first_mut().ok_or(LoadError::Lapsed { condition, got: "nobody to see it".to_owned() })?;
    let fault = Fault::begin(condition, &stack, stores, witness).await?;
    let taken = ask_all(&mut people).await;
    let others_per_second = fault.lasted(condition, &stack, witness).await?;
    report.others_per_second = report.others_per_second.or(others_per_second);
    let rows = EntryPoint::ALL.into_iter().zip(&taken);
    report.rows.extend(rows.map(|(entry_point, taken)| HelpRow::new(condition, entry_point, taken)));
    Ok(())
}

/// Runs the preparation of all users.
async fn prepare_all(condition: Condition, stack: &ServiceStack, people: Vec<&mut RawUser>) -> Result<(), LoadError> {
    let (preparation, count) = (condition.preparation(), people.len());
    let said = people.into_iter().map(|person| async move {
        let lapsed = |got: String| LoadError::Lapsed { condition, got };
        timeout(STEP_TIMEOUT, person.prepare(preparation))
            .await
            .map_err(|_| lapsed("no answer".to_owned()))?
            .map_err(lapsed)
    });
    stream::iter(said).buffer_unordered(MAX_CONCURRENT).try_collect::<()>().await?;
    if matches!(preparation, Preparation::Asked | Preparation::Begun) {
        // Plain users see no sign of a call, so the model's counter is read.
        let model = &stack.model.standin;
        model.wait_for(|_| count <= model.in_flight()).await.map_err(ProcessError::from)?;
    }
    Ok(())
}

/// Time to help of all users by entry point, `None` without help. Users of all entry points alternate.
async fn ask_all(people: &mut [Vec<RawUser>]) -> Vec<Vec<Option<Duration>>> {
    let (begin, entry_points) = (Instant::now(), people.len());
    let at = |entry_point: usize, number: usize| {
        begin + SEND_INTERVAL * u32::try_from(number * entry_points + entry_point).unwrap_or(u32::MAX)
    };
    let entry_points = people.iter_mut().enumerate().map(|(entry_point, people)| {
        join_all(people.iter_mut().enumerate().map(move |(number, person)| async move {
            sleep_until(at(entry_point, number)).await;
            timeout(TIMEOUT, person.asks_for_help()).await.ok().flatten()
        }))
    });
    join_all(entry_points).await
}
