//! One person's conversation.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::Duration;

use protocol::Face;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::chat::Plan;
use crate::chat::tally::Tally;
use crate::via::Client;

/// How late a timer may be: tokio's resolution is a millisecond.
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// The fields of a server frame that matter here.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    code: Option<Cow<'a, str>>,
}

/// How a turn ended.
enum Turn {
    Answered,
    /// Refused, with this code; the connection goes on.
    Refused(String),
    /// The connection is of no use any more.
    Lost(&'static str),
}

/// Writes every message and counts what comes of it. Gives the connection back.
pub(super) async fn chat(mut client: Client, plan: &Plan<'_>, tally: &RefCell<Tally>) -> Client {
    for number in 0..plan.options.messages {
        let Some(due) = plan.due() else { break };
        sleep_until(due).await;
        let begin = begin(due, Instant::now());
        let turn = timeout(plan.options.timeout, turn(&mut client, plan, number, begin, tally)).await;
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

async fn turn(client: &mut Client, plan: &Plan<'_>, number: usize, due: Instant, tally: &RefCell<Tally>) -> Turn {
    let text = &plan.options.text;
    match plan.options.face {
        Face::Plain => plain_turn(client, text, due, tally).await,
        Face::Frames => {
            let id = format!("m{number}");
            let line = format!(r#"{{"type":"message","id":"{id}","text":{}}}"#, Value::from(text.as_str()));
            if client.send_line(&line).await.is_err() {
                return Turn::Lost("connection_lost");
            }
            framed_answer(client, &id, due, tally).await
        }
    }
}

/// One line out, one line back.
async fn plain_turn(client: &mut Client, text: &str, due: Instant, tally: &RefCell<Tally>) -> Turn {
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

async fn framed_answer(client: &mut Client, id: &str, due: Instant, tally: &RefCell<Tally>) -> Turn {
    let mut first = true;
    loop {
        let Ok(Some(line)) = client.next_line().await else { return Turn::Lost("connection_lost") };
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(&line) else { return Turn::Lost("not_a_frame") };
        if frame.id.as_deref().is_some_and(|about| about != id) {
            continue;
        }
        let mut tally = tally.borrow_mut();
        match &*frame.kind {
            "accepted" => tally.accepted.record(due.elapsed()),
            "delta" => {
                tally.chunks += 1;
                if std::mem::take(&mut first) {
                    tally.first.record(due.elapsed());
                }
            }
            "done" => {
                tally.done.record(due.elapsed());
                return Turn::Answered;
            }
            "error" => return Turn::Refused(frame.code.unwrap_or_default().into_owned()),
            // The rest (queued, support, notice) changes nothing for the count.
            _ => {}
        }
    }
}
