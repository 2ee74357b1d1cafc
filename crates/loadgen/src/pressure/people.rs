//! Those for whom it is all there.

use std::cell::RefCell;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep, timeout};

use super::Stage;
use crate::chat::person::{Turn, framed_turn};
use crate::chat::tally::Tally;
use crate::via::Client;

const TEXT: &str = "hola, hoy fue un día largo";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Talks until it is over; what comes of a message counts for the phase in which it was sent.
pub(super) async fn talk(mut client: Client, number: usize, stage: &Stage<'_>) -> Client {
    let mut chance = Rng::with_seed(stage.options.seed.wrapping_add(number as u64));
    while !stage.over.get() {
        // From nothing to twice the time, so that they do not march in step.
        sleep(stage.options.think.mul_f64(2.0 * chance.f64())).await;
        let Client::Framed(conversation) = &mut client else { break };
        let tally = stage.tally();
        match timeout(PATIENCE, framed_turn(conversation, TEXT, Instant::now(), tally)).await {
            Ok(Turn::Answered) => tally.borrow_mut().turns += 1,
            Ok(Turn::Refused(code)) => tally.borrow_mut().error(&code),
            Ok(Turn::Lost(why)) => return lost(client, tally, why),
            Err(_) => return lost(client, tally, "no_answer"),
        }
    }
    client
}

fn lost(client: Client, tally: &RefCell<Tally>, why: &str) -> Client {
    tally.borrow_mut().error(why);
    client
}
