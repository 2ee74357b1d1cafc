//! More messages than the model can answer: what is served, how soon the rest is refused, and when
//! it is over.

mod report;

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join;
use protocol::Face;
use testkit::llm::{Answer, Fallback};
use tokio::time::{Instant, sleep, sleep_until};

use crate::chat::person::{Turn, framed_turn};
use crate::chat::tally::Tally;
use crate::chat::{self, talk};
use crate::error::LoadError;
use crate::town::{Binaries, Setting, Town};
use crate::via::Client;
pub use report::{Back, OverloadReport};

const TEXT: &str = "hola, hoy fue un día largo";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before someone who was refused tries again, when the overload is over.
const TRY_AGAIN: Duration = Duration::from_millis(10);
/// Messages after the overload, one after another.
const AFTERWARDS: usize = 20;

/// How much is too much.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the programs are.
    pub binaries: Binaries,
    /// Folder in which the database is made.
    pub disk: PathBuf,
    /// Calls to the model at once (`MAX_IN_FLIGHT`).
    pub slots: usize,
    /// Messages that may wait (`QUEUE_MAX`): few, so that a place in the queue is soon an answer.
    pub queue: usize,
    /// How long the model takes for an answer.
    pub answer: Duration,
    /// How many times the capacity is offered.
    pub factor: f64,
    /// People who offer it.
    pub people: usize,
    /// For how long.
    pub time: Duration,
}

impl Options {
    /// Answers a second.
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 slots")]
    pub fn capacity(&self) -> f64 {
        self.slots as f64 / self.answer.as_secs_f64()
    }

    /// Of the core and of the gateway: nothing but the model is short, and all come from one address.
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

/// Runs it.
///
/// # Errors
///
/// Something cannot be started, or somebody cannot connect.
pub async fn run(options: &Options) -> Result<OverloadReport, LoadError> {
    let millis = u64::try_from(options.answer.as_millis()).unwrap_or(u64::MAX);
    let fallback = Fallback::Answer(Answer::text("Te escucho.").paced(millis, 0));
    let [core, gateway] = options.settings();
    let town = Town::start(&options.binaries, &options.disk, fallback, [&core, &gateway]).await?;
    let via = town.via_gateway();
    let clients = via.open(options.people, Face::Frames).await?;
    let witness = via.open(1, Face::Frames).await?;
    let offer = chat::Options {
        via,
        face: Face::Frames,
        people: options.people,
        messages: usize::MAX,
        text: TEXT.to_owned(),
        rate: Some(options.factor * options.capacity()),
        think: Duration::ZERO,
        timeout: PATIENCE,
        limit: options.time,
        observed: Vec::new(),
        disk: None,
    };
    let tally = RefCell::new(Tally::default());
    let end = Instant::now() + options.time;
    let ((_clients, took), back) = join(talk(clients, &offer, &tally), afterwards(witness, end)).await;
    let most_at_once = town.model.standin.most_in_flight();
    Ok(OverloadReport::new(options, &tally.into_inner(), took, most_at_once, back))
}

/// Someone who comes when it is over: when they are heard, and how it is from then on. `None`: never.
async fn afterwards(witness: Vec<Client>, end: Instant) -> Option<Back> {
    let Some(Client::Framed(mut client)) = witness.into_iter().next() else { return None };
    sleep_until(end).await;
    let tally = RefCell::new(Tally::default());
    let (mut refused, mut heard, mut answers) = (0, None, 0);
    while answers < AFTERWARDS && end.elapsed() < PATIENCE {
        let sent = Instant::now();
        match framed_turn(&mut client, TEXT, sent, &tally).await {
            Turn::Answered => {
                heard.get_or_insert((sent - end, end.elapsed()));
                answers += 1;
            }
            Turn::Refused(_) => {
                refused += 1;
                sleep(TRY_AGAIN).await;
            }
            Turn::Lost(_) => break,
        }
    }
    heard.map(|(sent, answered)| Back::new(sent, answered, refused, &tally.into_inner()))
}
