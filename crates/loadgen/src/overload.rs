//! Overload: more messages than the model can answer. Measures goodput, latency of refusals and
//! recovery.

mod report;

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join;
use protocol::Face;
use testkit::llm::{Answer, Fallback};
use tokio::time::{Instant, sleep, sleep_until};

use crate::chat::tally::Tally;
use crate::chat::user::{Turn, framed_turn};
use crate::chat::{self, run_users};
use crate::error::LoadError;
use crate::service_stack::{Binaries, ServiceStack, Setting};
use crate::target::Client;
pub use report::{OverloadReport, Recovery};

const TEXT: &str = "hola, hoy fue un día largo";
/// Timeout of an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pause of a refused user before the next attempt, after the overload.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// Sequential messages after the overload.
const RECOVERY_MESSAGES: usize = 20;

/// Options of an overload run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Binaries of the services.
    pub binaries: Binaries,
    /// Folder for the database.
    pub disk: PathBuf,
    /// Concurrent calls to the model (`MAX_IN_FLIGHT`).
    pub slots: usize,
    /// Length of the queue (`QUEUE_MAX`): short, so that a queued message is answered soon.
    pub queue: usize,
    /// Duration of an answer.
    pub answer: Duration,
    /// Offered load as a multiple of the capacity.
    pub factor: f64,
    /// Number of users.
    pub people: usize,
    /// Duration of the overload.
    pub time: Duration,
}

impl Options {
    /// Capacity of the model in answers per second.
    #[expect(clippy::cast_precision_loss, reason = "the number of slots is far below 2^53")]
    pub fn capacity(&self) -> f64 {
        self.slots as f64 / self.answer.as_secs_f64()
    }

    /// Settings of the core and the gateway: only the model is a bottleneck, although all users share one address.
    fn settings(&self) -> [Vec<Setting>; 2] {
        let people = (self.people + 100).to_string();
        let doors = [("MAX_CONNECTIONS_PER_ADDRESS", people.clone()), ("CONNECTS_PER_MINUTE_PER_ADDRESS", people)];
        let model = [
            ("MAX_IN_FLIGHT", self.slots.to_string()),
            ("QUEUE_MAX", self.queue.to_string()),
            ("RATE_MAX_MESSAGES", "1000000".to_owned()),
        ];
        [doors.iter().cloned().chain(model).collect(), doors.to_vec()]
    }
}

/// Runs the overload and measures the recovery.
///
/// # Errors
///
/// A service cannot be started, or a user cannot connect.
pub async fn run(options: &Options) -> Result<OverloadReport, LoadError> {
    let millis = u64::try_from(options.answer.as_millis()).unwrap_or(u64::MAX);
    let fallback = Fallback::Answer(Answer::text("Te escucho.").paced(millis, 0));
    let [core, gateway] = options.settings();
    let stack = ServiceStack::start(&options.binaries, &options.disk, fallback, [&core, &gateway]).await?;
    let target = stack.gateway_target();
    let clients = target.open(options.people, Face::Frames).await?;
    // Connected before the overload: the recovery must not include a handshake.
    let witness = target.open(1, Face::Frames).await?;
    let offer = chat::Options {
        target,
        face: Face::Frames,
        people: options.people,
        messages: usize::MAX,
        text: TEXT.to_owned(),
        rate: Some(options.factor * options.capacity()),
        think: Duration::ZERO,
        timeout: TIMEOUT,
        limit: options.time,
        watched: Vec::new(),
        disk: None,
    };
    let tally = RefCell::new(Tally::default());
    let end = Instant::now() + options.time;
    let ((_clients, took), back) = join(run_users(clients, &offer, &tally), measure_recovery(witness, end)).await;
    let most_at_once = stack.model.standin.most_in_flight();
    Ok(OverloadReport::new(options, &tally.into_inner(), took, most_at_once, back))
}

/// Measures when a user who arrives after the overload is served; `None` if never.
async fn measure_recovery(witness: Vec<Client>, end: Instant) -> Option<Recovery> {
    let Some(Client::Framed(mut client)) = witness.into_iter().next() else { return None };
    sleep_until(end).await;
    let tally = RefCell::new(Tally::default());
    let (mut refused, mut served, mut answers) = (0, None, 0);
    while answers < RECOVERY_MESSAGES && end.elapsed() < TIMEOUT {
        let sent = Instant::now();
        match framed_turn(&mut client, TEXT, sent, &tally).await {
            Turn::Answered => {
                served.get_or_insert((sent - end, end.elapsed()));
                answers += 1;
            }
            Turn::Refused(_) => {
                refused += 1;
                sleep(RETRY_INTERVAL).await;
            }
            Turn::Lost(_) => break,
        }
    }
    served.map(|(sent, answered)| Recovery::new(sent, answered, refused, &tally.into_inner()))
}
