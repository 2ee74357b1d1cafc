//! Turns of one user.

use std::cell::RefCell;
use std::time::Duration;

use client::Event;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::chat::Schedule;
use crate::chat::tally::Tally;
use crate::target::{Client, RawConnection};

/// Tolerated lateness of a timer: tokio's resolution is one millisecond.
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// Outcome of a turn.
pub(crate) enum Turn {
    Answered,
    /// Refused with this code; the connection stays usable.
    Refused(String),
    /// The connection is unusable.
    Lost(&'static str),
}

/// Sends all messages, counts their outcomes and returns the connection.
pub(super) async fn chat(mut client: Client, schedule: &Schedule<'_>, tally: &RefCell<Tally>) -> Client {
    for _ in 0..schedule.options.messages {
        let Some(due) = schedule.due() else { break };
        sleep_until(due).await;
        let begin = begin(due, Instant::now());
        let turn = timeout(schedule.options.timeout, turn(&mut client, &schedule.options.text, begin, tally)).await;
        match turn.unwrap_or(Turn::Lost("no_answer")) {
            Turn::Answered => tally.borrow_mut().turns += 1,
            Turn::Refused(code) => tally.borrow_mut().error(&code),
            Turn::Lost(why) => {
                tally.borrow_mut().error(why);
                break;
            }
        }
        if !schedule.options.think.is_zero() {
            sleep(schedule.options.think).await;
        }
    }
    client
}

/// Start of a turn's latency: `due`, also if the previous turn delayed it, so that a slow
/// server cannot hide behind a waiting client; but not the lateness of tokio's timers.
fn begin(due: Instant, now: Instant) -> Instant {
    if now.saturating_duration_since(due) <= TIMER_SLACK { now } else { due }
}

async fn turn(client: &mut Client, text: &str, due: Instant, tally: &RefCell<Tally>) -> Turn {
    match client {
        Client::Raw(client) => plain_turn(client, text, due, tally).await,
        Client::Framed(client) => framed_turn(client, text, due, tally).await,
    }
}

/// Sends one line and reads one.
async fn plain_turn(client: &mut RawConnection, text: &str, due: Instant, tally: &RefCell<Tally>) -> Turn {
    if client.send_line(text).await.is_err() {
        return Turn::Lost("connection_lost");
    }
    match client.next_line().await {
        Ok(Some(_)) => {
            tally.borrow_mut().done.record(due.elapsed());
            Turn::Answered
        }
        Ok(None) | Err(_) => Turn::Lost("connection_lost"),
    }
}

/// Sends one message and follows it to its end.
pub(crate) async fn framed_turn(client: &mut client::Client, text: &str, due: Instant, tally: &RefCell<Tally>) -> Turn {
    let Ok(id) = client.send(text) else { return Turn::Lost("connection_lost") };
    let mut first = true;
    loop {
        let Some(event) = client.next_event().await else { return Turn::Lost("connection_lost") };
        let mut tally = tally.borrow_mut();
        match event {
            Event::Accepted { id: of, .. } if of == id => tally.accepted.record(due.elapsed()),
            Event::Delta { id: of, .. } if of == id => {
                tally.chunks += 1;
                if std::mem::take(&mut first) {
                    tally.first.record(due.elapsed());
                }
            }
            Event::Done(done) if done.id == id => {
                tally.done.record(due.elapsed());
                return Turn::Answered;
            }
            Event::Refused(error) if error.id.as_ref() == Some(&id) => {
                tally.refused.record(due.elapsed());
                tally.without_retry_after += u64::from(error.retry_after_ms.is_none());
                return Turn::Refused(error.code.to_string());
            }
            // Events of other messages, and events that are not counted.
            _ => {}
        }
    }
}
