//! Well-behaved users.

use std::cell::RefCell;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep, timeout};

use super::RunState;
use crate::chat::tally::Tally;
use crate::chat::user::{Turn, framed_turn};
use crate::target::Client;

const TEXT: &str = "hola, hoy fue un día largo";
/// Timeout of an answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Chats until the run is over; each message counts for the phase in which it was sent.
pub(super) async fn run(mut client: Client, number: usize, state: &RunState<'_>) -> Client {
    let mut chance = Rng::with_seed(state.options.seed.wrapping_add(number as u64));
    while !state.over.get() {
        // Uniform between 0 and twice the mean, so that users do not synchronize.
        sleep(state.options.think.mul_f64(2.0 * chance.f64())).await;
        let Client::Framed(conversation) = &mut client else { break };
        let tally = state.tally();
        match timeout(TIMEOUT, framed_turn(conversation, TEXT, Instant::now(), tally)).await {
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
