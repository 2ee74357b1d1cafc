//! What becomes of one provider's faults.

use std::time::{Duration, SystemTime};

use serde_json::json;
use testkit::llm::Outcome::{Cancelled, Finished};
use testkit::llm::{Answer, Hang, RetryAfter};

use super::provider::Script;
use super::scene::{Heard, Scene, pass};
use super::{Calls, LATE, Row, SETTINGS, answer, begun, broken, check, good};

/// A provider that gives these answers.
fn row<const N: usize>(fault: impl Into<String>, answers: [Answer; N], heard: Heard, ms: u64, calls: Calls) -> Row {
    Row::new(fault, vec![Script::Answers(answers.into())], heard, ms, calls)
}

fn too_many(retry_after: RetryAfter) -> Answer {
    Answer { retry_after: Some(retry_after), ..Answer::status(429) }
}

fn date(at: SystemTime) -> RetryAfter {
    RetryAfter::Text(httpdate::fmt_http_date(at))
}

#[tokio::test(start_paused = true)]
async fn a_status_that_may_pass() {
    const FAILED: Calls = &[&[Finished, Finished, Finished]];
    const REPEATED: Calls = &[&[Finished, Finished]];
    check([409, 425, 429, 498, 499].map(|status| {
        row(format!("{status} once"), [Answer::status(status), good()], answer("ya estoy"), 0, REPEATED)
    }))
    .await;
    let [bad, worse, worst] = [500, 503, 408].map(Answer::status);
    check([
        row("500 once", [bad.clone(), good()], answer("ya estoy"), 0, &[&[Finished, Finished]]),
        row("three kinds of it", [bad.clone(), worse.clone(), worst], Heard::Companion, 0, FAILED),
        row("full jitter", [bad.clone(), worse, bad.clone()], Heard::Companion, 0, FAILED)
            .with("LLM_BACKOFF_INITIAL", "1")
            .within(0..=3_000),
        row("one try", [bad], Heard::Companion, 0, &[&[Finished]]).with("LLM_MAX_RETRIES", "1"),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_status_that_stays() {
    let quota = json!({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}});
    check([row("429, no quota", [Answer::refusal(429, quota)], Heard::Companion, 0, &[&[Finished]])]).await;
    let rows = [307, 400, 401, 402, 403, 404, 422];
    check(
        rows.map(|status| {
            row(format!("status {status}"), [Answer::status(status)], Heard::Companion, 0, &[&[Finished]])
        }),
    )
    .await;
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "a Retry-After date is calendar time")]
async fn too_many_requests() {
    const REPEATED: Calls = &[&[Finished, Finished]];
    let (now, minutes) = (SystemTime::now(), Duration::from_secs(600));
    let patient = |asked: &str, after, ms| {
        row(format!("429, {asked}"), [too_many(after), good()], answer("ya estoy"), ms, REPEATED)
    };
    // None is waited for that wants to be asked later than the longest pause.
    let impatient =
        |asked: &str, after| row(format!("429, {asked}"), [too_many(after)], Heard::Companion, 0, &[&[Finished]]);
    check([
        patient("two seconds", RetryAfter::Seconds(2), 2_000),
        patient("a date", date(now + Duration::from_secs(4)), 0).within(1_000..=4_000),
        patient("a date that was", date(now - minutes), 0),
        patient("what is neither", RetryAfter::Text("soon".to_owned()), 0),
        impatient("more than the most", RetryAfter::Seconds(6)),
        impatient("a date that is far", date(now + minutes)),
        impatient("ten hours", RetryAfter::Seconds(35_000)),
        impatient("longer than there is time", RetryAfter::Text("1e300".to_owned())),
        row("429, after the deadline", [too_many(RetryAfter::Seconds(2))], Heard::Companion, 0, &[&[Finished]])
            .with("LLM_DEADLINE_SECONDS", "1"),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn silence() {
    const GIVEN_UP: Calls = &[&[Cancelled, Finished]];
    let [mute, wordless] = [Hang::Headers, Hang::Stream].map(|hang| Answer::default().hanging(hang));
    let mutes = || [mute.clone(), mute.clone(), mute.clone()];
    let nothings = Answer::pieces([""; 20]).paced(300, 300);
    check([
        row("no response", [mute.clone(), good()], answer("ya estoy"), 2_000, GIVEN_UP),
        row("no first word", [wordless, good()], answer("ya estoy"), 2_000, GIVEN_UP),
        row("chunks without a word", [nothings, good()], answer("ya estoy"), 2_000, GIVEN_UP),
        row("no response to any", mutes(), Heard::Companion, 6_000, &[&[Cancelled, Cancelled, Cancelled]]),
        row("past the deadline", mutes(), Heard::Companion, 3_000, &[&[Cancelled, Cancelled]])
            .with("LLM_DEADLINE_SECONDS", "3"),
        row("in mid-answer", [begun().hanging(Hang::Stream)], broken("hasta acá"), 1_000, &[&[Cancelled]]),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_drip() {
    let then_nothing = Answer::pieces(["hola", "", "", "", "", "", "", ""]).paced(300, 300);
    check([
        row("in time", [begun().paced(500, 500)], answer("hasta acá"), 1_000, &[&[Finished]]),
        row(
            "past the limit of the call",
            [Answer::pieces(["a"; 20]).paced(500, 900)],
            broken("aaaa"),
            4_000,
            &[&[Cancelled]],
        ),
        row("of nothing after a word", [then_nothing], broken("hola"), 1_300, &[&[Cancelled]]),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks() {
    const REPEATED: Calls = &[&[Finished, Finished]];
    let cut = |answer| Answer { cut: true, ..answer };
    let garbage = |answer| Answer { garbage: true, ..answer };
    check([
        row("cut in mid-answer", [cut(begun())], broken("hasta acá"), 0, &[&[Finished]]),
        row("cut before a word", [cut(Answer::default()), good()], answer("ya estoy"), 0, REPEATED),
        row("garbage in mid-answer", [garbage(begun())], broken("hasta acá"), 0, &[&[Finished]]),
        row("garbage before a word", [garbage(Answer::default()), good()], answer("ya estoy"), 0, REPEATED),
    ])
    .await;
}

/// The same request would bring the same, at the price of another answer.
#[tokio::test(start_paused = true)]
async fn an_answer_without_a_word() {
    let filtered = Answer { finish: "content_filter".to_owned(), ..Answer::default() };
    let thought = Answer { finish: "length".to_owned(), ..Answer::default() };
    let answers = [
        ("not a word", Answer::default()),
        ("white space", Answer::text(" \n")),
        ("filtered", filtered),
        ("length", thought),
    ];
    check(answers.map(|(fault, given)| row(fault, [given, good()], Heard::Companion, 0, &[&[Finished]]))).await;
}

/// Nobody waits for the end of a response whose answer is complete, or which is an error.
#[tokio::test(start_paused = true)]
async fn a_response_that_does_not_end() {
    let endless = |answer: Answer| answer.hanging(Hang::End);
    let rows = [(vec![endless(good())], 1), (vec![endless(Answer::status(500)), good()], 2)];
    for (answers, calls) in rows {
        let mut scene = Scene::open(vec![Script::Answers(answers)], &SETTINGS).await;
        let (heard, took) = scene.ask().await;
        assert_eq!(heard, answer("ya estoy"));
        assert!(took <= LATE, "{took:?}");
        pass(Duration::from_millis(500)).await;
        assert_eq!(scene.calls().await, [&[Cancelled, Finished][..calls]]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_answer_at_all() {
    const THRICE: Calls = &[&[Finished, Finished, Finished]];
    const UNHEARD: Calls = &[&[]];
    let never = [
        ("no connection", Script::Gone, UNHEARD),
        ("a connection that ends", Script::Bytes(""), THRICE),
        ("not HTTP", Script::Bytes("SSH-2.0-OpenSSH_9.2p1\r\n"), THRICE),
        (
            "a page",
            Script::Bytes(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 19\r\n\r\n<h1>Bienvenido</h1>",
            ),
            THRICE,
        ),
        (
            "a completion that is no stream",
            Script::Bytes(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n\
                 {\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"hola\"},\"finish_reason\":\"stop\"}]}",
            ),
            THRICE,
        ),
        (
            "lengths that are none",
            Script::Bytes(concat!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "mucho\r\n")),
            THRICE,
        ),
    ];
    check(never.map(|(fault, script, calls)| Row::new(fault, vec![script], Heard::Companion, 0, calls))).await;
    let begun = concat!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "33\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"hasta\"}}]}\n\n\r\n",
        "mucho\r\n",
    );
    check([Row::new("no length in mid-answer", vec![Script::Bytes(begun)], broken("hasta"), 0, &[&[Finished]])]).await;
}
