//! One person's conversation.

use std::cell::RefCell;
use std::time::Duration;

use client::Event;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::chat::Plan;
use crate::chat::tally::Tally;
use crate::via::{Client, Plain};

/// How late a timer may be: tokio's resolution is a millisecond.
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// How a turn ended.
pub(crate) enum Turn {
    Answered,
    /// Refused, with this code; the connection goes on.
    Refused(String),
    /// The connection is of no use any more.
    Lost(&'static str),
}

/// Writes every message and counts what comes of it. Gives the connection back.
pub(super) async fn chat(mut client: Client, plan: &Plan<'_>, tally: &RefCell<Tally>) -> Client {
    for _ in 0..plan.options.messages {
        let Some(due) = plan.due() else { break };
        sleep_until(due).await;
        let begin = begin(due, Instant::now());
        let turn = timeout(plan.options.timeout, turn(&mut client, &plan.options.text, begin, tally)).await;
        match turn.unwrap_or(Turn::Lost("no_answer")) {
            Turn::Answered => tally.borrow_mut().turns += 1,
            Turn::Refused(code) => tally.borrow_mut().error(&code),
            Turn::Lost(why) => {
                tally.borrow_mut().error(why);
                break;
            }
        }
        if !plan.options.think.is_zero() {
            sleep(plan.options.think).await;
        }
    }
    client
}

/// From when a turn that was due at `due` counts: then, also if it had to wait for the turn
/// before, so that a slow server cannot hide behind a patient client. But tokio's timers are
/// up to a millisecond late by themselves, and that is not the server's.
fn begin(due: Instant, now: Instant) -> Instant {
    if now.saturating_duration_since(due) <= TIMER_SLACK { now } else { due }
}

async fn turn(client: &mut Client, text: &str, due: Instant, tally: &RefCell<Tally>) -> Turn {
    match client {
        Client::Plain(client) => plain_turn(client, text, due, tally).await,
        Client::Framed(client) => framed_turn(client, text, due, tally).await,
    }
}

/// One line out, one line back.
async fn plain_turn(client: &mut Plain, text: &str, due: Instant, tally: &RefCell<Tally>) -> Turn {
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

/// One message and all that comes of it.
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
                tally.hopeless += u64::from(error.retry_after_ms.is_none());
                return Turn::Refused(error.code.to_string());
            }
            // What is about other messages, and what changes nothing for the count.
            _ => {}
        }
    }
}
