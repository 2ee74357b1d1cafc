//! Faults of a single provider.

use std::time::{Duration, SystemTime};

use serde_json::json;
use testkit::llm::Outcome::{Cancelled, Finished};
use testkit::llm::{Answer, Hang, RetryAfter};

use super::fault_fixture::{AnswerOutcome, Fixture, pass};
use super::provider::Script;
use super::{Calls, LATE, Row, SETTINGS, answer, begun, broken, check, good};

/// Row with one provider that gives these answers.
fn row<const N: usize>(
    fault: impl Into<String>,
    answers: [Answer; N],
    outcome: AnswerOutcome,
    ms: u64,
    calls: Calls,
) -> Row {
    Row::new(fault, vec![Script::Answers(answers.into())], outcome, ms, calls)
}

fn too_many(retry_after: RetryAfter) -> Answer {
    Answer { retry_after: Some(retry_after), ..Answer::status(429) }
}

fn date(at: SystemTime) -> RetryAfter {
    RetryAfter::Text(httpdate::fmt_http_date(at))
}

#[tokio::test(start_paused = true)]
async fn retries_transient_status() {
    const FAILED: Calls = &[&[Finished, Finished, Finished]];
    const REPEATED: Calls = &[&[Finished, Finished]];
    check([409, 425, 429, 498, 499].map(|status| {
        row(format!("{status} once"), [Answer::status(status), good()], answer("ya estoy"), 0, REPEATED)
    }))
    .await;
    let [bad, worse, worst] = [500, 503, 408].map(Answer::status);
    check([
        row("500 once", [bad.clone(), good()], answer("ya estoy"), 0, &[&[Finished, Finished]]),
        row("three kinds of it", [bad.clone(), worse.clone(), worst], AnswerOutcome::Companion, 0, FAILED),
        row("full jitter", [bad.clone(), worse, bad.clone()], AnswerOutcome::Companion, 0, FAILED)
            .with("LLM_BACKOFF_INITIAL", "1")
            .within(0..=3_000),
        row("one try", [bad], AnswerOutcome::Companion, 0, &[&[Finished]]).with("LLM_MAX_RETRIES", "1"),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn does_not_retry_permanent_status() {
    let quota = json!({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}});
    check([row("429, no quota", [Answer::refusal(429, quota)], AnswerOutcome::Companion, 0, &[&[Finished]])]).await;
    let rows = [307, 400, 401, 402, 403, 404, 422];
    check(rows.map(|status| {
        row(format!("status {status}"), [Answer::status(status)], AnswerOutcome::Companion, 0, &[&[Finished]])
    }))
    .await;
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "a Retry-After date is calendar time")]
async fn honours_retry_after() {
    const REPEATED: Calls = &[&[Finished, Finished]];
    let (now, minutes) = (SystemTime::now(), Duration::from_secs(600));
    let patient = |asked: &str, after, ms| {
        row(format!("429, {asked}"), [too_many(after), good()], answer("ya estoy"), ms, REPEATED)
    };
    // A `Retry-After` beyond the longest backoff is not waited for.
    let impatient = |asked: &str, after| {
        row(format!("429, {asked}"), [too_many(after)], AnswerOutcome::Companion, 0, &[&[Finished]])
    };
    check([
        patient("two seconds", RetryAfter::Seconds(2), 2_000),
        patient("a date", date(now + Duration::from_secs(4)), 0).within(1_000..=4_000),
        patient("a date that was", date(now - minutes), 0),
        patient("what is neither", RetryAfter::Text("soon".to_owned()), 0),
        impatient("more than the most", RetryAfter::Seconds(6)),
        impatient("a date that is far", date(now + minutes)),
        impatient("ten hours", RetryAfter::Seconds(35_000)),
        impatient("longer than there is time", RetryAfter::Text("1e300".to_owned())),
        row("429, after the deadline", [too_many(RetryAfter::Seconds(2))], AnswerOutcome::Companion, 0, &[&[Finished]])
            .with("LLM_DEADLINE_SECONDS", "1"),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn times_out_on_silence() {
    const GIVEN_UP: Calls = &[&[Cancelled, Finished]];
    let [mute, wordless] = [Hang::Headers, Hang::Stream].map(|hang| Answer::default().hanging(hang));
    let mutes = || [mute.clone(), mute.clone(), mute.clone()];
    let nothings = Answer::pieces([""; 20]).paced(300, 300);
    check([
        row("no response", [mute.clone(), good()], answer("ya estoy"), 2_000, GIVEN_UP),
        row("no first word", [wordless, good()], answer("ya estoy"), 2_000, GIVEN_UP),
        row("chunks without a word", [nothings, good()], answer("ya estoy"), 2_000, GIVEN_UP),
        row("no response to any", mutes(), AnswerOutcome::Companion, 6_000, &[&[Cancelled, Cancelled, Cancelled]]),
        row("past the deadline", mutes(), AnswerOutcome::Companion, 3_000, &[&[Cancelled, Cancelled]])
            .with("LLM_DEADLINE_SECONDS", "3"),
        row("in mid-answer", [begun().hanging(Hang::Stream)], broken("hasta acá"), 1_000, &[&[Cancelled]]),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn tolerates_slow_streams_up_to_the_total_timeout() {
    let then_nothing = Answer::pieces(["hola", "", "", "", "", "", "", ""]).paced(300, 300);
    check([
        row("in time", [begun().paced(500, 500)], answer("hasta acá"), 1_000, &[&[Finished]]),
        row(
            "past the limit of the call",
            [Answer::pieces(["a"; 20]).paced(500, 900)],
            broken("aaaaaaa"),
            6_000,
            &[&[Cancelled]],
        ),
        // LLM_TIMEOUT_SECONDS limits silence, not an answer that is streaming.
        row(
            "past the limit of silence",
            [Answer::pieces(["a"; 6]).paced(500, 900)],
            answer("aaaaaa"),
            5_000,
            &[&[Finished]],
        ),
        row("a short limit of silence", [begun().hanging(Hang::Stream)], broken("hasta acá"), 500, &[&[Cancelled]])
            .with("LLM_TIMEOUT_SECONDS", "0.5"),
        row("of nothing after a word", [then_nothing], broken("hola"), 1_300, &[&[Cancelled]]),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn reports_truncated_stream() {
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

/// Chunk in wire format.
fn chunk(delta: &str, finish: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n")
}

/// A filtered or empty answer is final: it is not retried.
#[tokio::test(start_paused = true)]
async fn does_not_retry_filtered_answers() {
    const ONCE: Calls = &[&[Finished]];
    let ending = |answer, finish: &str| Answer { finish: finish.to_owned(), ..answer };
    let none = |fault: &str, answer| row(fault, [answer, good()], AnswerOutcome::Companion, 0, ONCE);
    check([
        none("filtered", ending(Answer::default(), "content_filter")),
        none("not a word", Answer::default()),
        none("white space", Answer::text(" \n")),
        none("all the tokens went into thinking", ending(Answer::text("<think>mmm"), "length")),
        row("filtered in mid-answer", [ending(begun(), "content_filter"), good()], broken("hasta acá"), 0, ONCE),
    ])
    .await;
    // Filtered messages of one user do not count against the provider.
    let filtered = ending(Answer::default(), "content_filter");
    let answers = std::iter::repeat_n(filtered, 15).chain([good()]).collect();
    let mut fixture = Fixture::open(vec![Script::Answers(answers)], &SETTINGS).await;
    for _ in 0..15 {
        assert_eq!(fixture.ask().await.0, AnswerOutcome::Companion);
    }
    assert_eq!(fixture.ask().await.0, answer("ya estoy"));
    assert_eq!(fixture.calls().await, [[Finished; 16]]);
}

/// Error events inside the stream count as failures, in every known format.
#[tokio::test(start_paused = true)]
async fn detects_errors_inside_the_stream() {
    const REPEATED: Calls = &[&[Finished, Finished]];
    let done = "data: [DONE]\n\n";
    let finish = |reason: &str| [chunk("{}", &format!("\"{reason}\"")), done.to_owned()].concat();
    let failures = [
        finish("error"),
        finish("network_error"),
        finish("insufficient_system_resource"),
        format!("event: error\ndata: {{\"message\":\"no\"}}\n\n{done}"),
        format!("data: {{\"object\":\"error\",\"message\":\"no\"}}\n\n{done}"),
        chunk("{}", "\"\""),
    ];
    for failure in failures {
        let text = chunk("{\"content\":\"hasta acá\"}", "null");
        check([
            row(format!("{failure} before a word"), [Answer::raw([&failure]), good()], answer("ya estoy"), 0, REPEATED),
            row(
                format!("{failure} after it"),
                [Answer::raw([&text, &failure])],
                broken("hasta acá"),
                0,
                &[&[Finished]],
            ),
        ])
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn ignores_errors_after_the_finish_reason() {
    const ONCE: Calls = &[&[Finished]];
    let whole = chunk("{\"content\":\"ya estoy\"}", "\"stop\"");
    let then = |after: &str| Answer::raw([whole.as_str(), after]);
    check([
        row("cut", [Answer { cut: true, ..then("") }], answer("ya estoy"), 0, ONCE),
        row("garbage", [then("data: {\"usage\":\n\n")], answer("ya estoy"), 0, ONCE),
        row("an error", [then("data: {\"error\":{\"message\":\"late\"}}\n\n")], answer("ya estoy"), 0, ONCE),
        row("no blank line", [Answer::raw([whole.trim_end()])], answer("ya estoy"), 0, ONCE),
        // Token counts after the answer are awaited, within a limit.
        row("silence", [then("").hanging(Hang::Stream)], answer("ya estoy"), 1_000, &[&[Cancelled]]),
    ])
    .await;
}

/// Reasoning before the answer counts as activity, not as silence or answer text.
#[tokio::test(start_paused = true)]
async fn reasoning_counts_as_activity() {
    const ONCE: Calls = &[&[Finished]];
    let text = |text: &str| chunk(&format!("{{\"content\":\"{text}\"}}"), "null");
    let thinks = |times: usize| std::iter::repeat_n(chunk("{\"reasoning_content\":\"mm\"}", "null"), times);
    let ends = || [text("ya estoy"), chunk("{}", "\"stop\"")];
    let slowly = |groups: Vec<String>| Answer::raw(groups).paced(500, 900);
    check([
        // Timeouts: 2 s to the first chunk, 1 s between chunks, 6 s in total.
        row("for long", [slowly(thinks(5).chain(ends()).collect())], answer("ya estoy"), 5_900, ONCE),
        row(
            "in its text",
            [slowly([text("<think>"), text("mm"), text("mm"), text("</think>")].into_iter().chain(ends()).collect())],
            answer("ya estoy"),
            5_000,
            ONCE,
        ),
        row(
            "and falls silent",
            [Answer::raw(thinks(1)).hanging(Hang::Stream), good()],
            answer("ya estoy"),
            2_000,
            &[&[Cancelled, Finished]],
        ),
        row("without an end", [slowly(thinks(20).collect())], AnswerOutcome::Companion, 6_000, &[&[Cancelled]])
            .with("LLM_MAX_RETRIES", "1"),
        row("at once", [Answer::text("<think>mm</think>ya estoy")], answer("ya estoy"), 0, ONCE),
        row("unopened", [Answer::pieces(["m", "m</thi", "nk>", "ya estoy"])], answer("ya estoy"), 0, ONCE),
    ])
    .await;
}

/// Reasoning without an opening tag looks like an answer until its closing tag, which retracts it. After two such
/// answers in a row the next ones are held back until one comes without: a single one may be requested by a person.
#[tokio::test(start_paused = true)]
async fn withholds_inline_reasoning_after_two_occurrences() {
    let aloud = || Answer::pieces(["qqq", "mm</think>", "ya estoy"]).paced(100, 100);
    let (shown, held): (&[&str], &[&str]) = (&["qqq", "ya estoy"], &["ya estoy"]);
    let rows = [
        (aloud(), shown),
        (good(), held),
        (aloud(), shown),
        (aloud(), shown),
        (aloud(), held),
        (good(), held),
        (aloud(), shown),
    ];
    let answers = rows.iter().map(|(answer, _)| answer.clone()).collect();
    let mut fixture = Fixture::open(vec![Script::Answers(answers)], &SETTINGS).await;
    for (number, (_, pieces)) in rows.iter().enumerate() {
        assert_eq!(fixture.ask_for_pieces().await, *pieces, "answer {number}");
    }
    let requests = fixture.providers[0].bodies();
    assert!(requests.iter().all(|body| !body.contains("qqq")), "it is sent back: {requests:?}");
}

/// All text shown was reasoning: the companion's answer replaces it, and no delta is empty.
#[tokio::test(start_paused = true)]
async fn replaces_answer_of_reasoning_only() {
    let aloud = Answer::pieces(["qqq", "</think>"]).paced(100, 100);
    let mut fixture = Fixture::open(vec![Script::Answers(vec![aloud])], &SETTINGS).await;
    let pieces = fixture.ask_for_pieces().await;
    assert_eq!((pieces.len(), pieces[0].as_str()), (2, "qqq"));
    assert!(!pieces[1].is_empty());
}

/// The end of a response is not awaited once its answer is complete, or if it is an error.
#[tokio::test(start_paused = true)]
async fn does_not_wait_for_the_end_of_the_response() {
    let endless = |answer: Answer| answer.hanging(Hang::End);
    let rows = [(vec![endless(good())], 1), (vec![endless(Answer::status(500)), good()], 2)];
    for (answers, calls) in rows {
        let mut fixture = Fixture::open(vec![Script::Answers(answers)], &SETTINGS).await;
        let (outcome, took) = fixture.ask().await;
        assert_eq!(outcome, answer("ya estoy"));
        assert!(took <= LATE, "{took:?}");
        pass(Duration::from_millis(500)).await;
        assert_eq!(fixture.calls().await, [&[Cancelled, Finished][..calls]]);
    }
}

#[tokio::test(start_paused = true)]
async fn retries_invalid_responses() {
    const THRICE: Calls = &[&[Finished, Finished, Finished]];
    const NO_CALL: Calls = &[&[]];
    let once = Script::Bytes(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n\
         {\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"hola\"},\"finish_reason\":\"stop\"}]}",
    );
    check([Row::new("a completion that is no stream", vec![once], answer("hola"), 0, &[&[Finished]])]).await;
    let never = [
        ("no connection", Script::Gone, NO_CALL),
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
            "bytes that are compressed",
            Script::Bytes("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\nzip"),
            THRICE,
        ),
        (
            "lengths that are none",
            Script::Bytes(concat!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "mucho\r\n")),
            THRICE,
        ),
    ];
    check(never.map(|(fault, script, calls)| Row::new(fault, vec![script], AnswerOutcome::Companion, 0, calls))).await;
    let begun = concat!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "33\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"hasta\"}}]}\n\n\r\n",
        "mucho\r\n",
    );
    check([Row::new("no length in mid-answer", vec![Script::Bytes(begun)], broken("hasta"), 0, &[&[Finished]])]).await;
}
