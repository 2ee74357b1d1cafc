//! Server frames of every kind: encoded, validated by the schema and parsed again.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use protocol::limits::{MAX_ANSWER_CHARS, MAX_INTEGER, MAX_SERVER_LINE_BYTES};
use protocol::server_frame::{
    Done, Entry, ErrorFrame, Exercise, Finish, Forgotten, Help, Kind, Level, Limits, NoticeCode, PlanStep, Rate,
    Resource, ResponseResult, Role, SafetyPlan, Sms, Source, Subject, Support, Timing, Usage, Welcome,
};
use protocol::trace::TraceId;
use protocol::{
    Country, ErrorCode, Language, Locale, MessageId, ServerFrame, SessionId, Timestamp, UserLabel, UserText,
};
use serde_json::Value;

use crate::contract::SERVER_SCHEMA;

fn id() -> impl Strategy<Value = MessageId> {
    "[A-Za-z0-9_-]{1,64}".prop_map(|id| id.parse().unwrap())
}

fn seq() -> impl Strategy<Value = u64> {
    prop_oneof![1..100_u64, Just(MAX_INTEGER)]
}

fn natural() -> impl Strategy<Value = u64> {
    prop_oneof![0..100_u64, 0..=MAX_INTEGER]
}

fn count() -> impl Strategy<Value = usize> {
    natural().prop_map(|number| usize::try_from(number).unwrap())
}

/// Any characters at all: line breaks, control characters, every plane.
fn text(fewest: usize) -> impl Strategy<Value = UserText> {
    let character = prop_oneof![any::<char>(), select(vec!['\n', '\r', '\0', '"', '\\', '\u{4}', '\u{2028}', 'ñ'])];
    vec(character, fewest..200).prop_map(|characters| UserText::new(characters.into_iter().collect::<String>()))
}

fn word() -> impl Strategy<Value = String> {
    text(1).prop_map(|text| text.expose().to_owned())
}

fn trace_id() -> impl Strategy<Value = TraceId> {
    (1..u128::MAX).prop_map(|bits| serde_json::from_value(format!("{bits:032x}").into()).unwrap())
}

fn locale() -> impl Strategy<Value = Locale> {
    "(es|en)(-[A-Z]{2})?".prop_map(|tag| tag.parse().unwrap())
}

fn instant() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_unix_ms)
}

fn session() -> impl Strategy<Value = SessionId> {
    "[A-Za-z0-9_-]{1,22}".prop_map(|id| SessionId::from(id.as_str()))
}

fn user() -> impl Strategy<Value = UserLabel> {
    (1..u64::MAX).prop_map(UserLabel)
}

fn finish() -> impl Strategy<Value = Finish> {
    select(vec![Finish::Stop, Finish::Length, Finish::Stopped, Finish::Error])
}

fn source() -> impl Strategy<Value = Source> {
    select(vec![Source::Llm, Source::Companion, Source::Screened])
}

fn welcome() -> impl Strategy<Value = ServerFrame> {
    let limits = (1..1_000_000_usize, 1..1_000_000_usize, 1..1_000_usize, 1..1_000_000_u64).prop_map(
        |(max_line_bytes, max_text_chars, messages, window_ms)| Limits {
            max_line_bytes,
            max_text_chars,
            rate: Rate { messages, window_ms },
        },
    );
    let token = "[A-Za-z0-9_-]{1,128}".prop_map(UserText::new);
    let names = (session(), user(), token, any::<bool>(), natural());
    (names, option::of(seq()), locale(), trace_id(), limits).prop_map(
        |((session, user, resume, resumed, seq), missed, locale, trace_id, limits)| {
            let welcome =
                Welcome { v: 1, session, user, resume, resumed, seq, missed, locale, trace_id, limits, kept: true };
            ServerFrame::Welcome(Box::new(welcome))
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    let role = select(vec![Role::User, Role::Assistant, Role::Support]);
    (seq(), id(), role, text(0), instant(), option::of(finish()), option::of(source()), option::of(help())).prop_map(
        |(seq, id, role, text, at, finish, source, help)| {
            let help = help.filter(|_| role == Role::Support).map(Box::new);
            Entry { seq, id, role, text, at, finish, source, help }
        },
    )
}

fn resource() -> impl Strategy<Value = Resource> {
    let sms = (word(), option::of(word())).prop_map(|(to, body)| Sms { to, body });
    let kind = select(vec!["suicide", "emergency", "youth", "violence", "eating", "helper"]);
    let ways = (option::of(word()), option::of(sms), option::of(word()), option::of("https?://[a-z.]{1,20}"));
    let place = ("([A-Z]{2})?", word(), option::of(word()), word(), vec("[a-z]{2}", 0..3));
    let checked = (option::of(word()), option::of("20[0-9]{2}-[01][0-9]-[0-3][0-9]"));
    (word(), word(), kind, ways, place, checked).prop_map(
        |(name, contact, kind, (dial, sms, whatsapp, url), (country, region, area, hours, languages), checked)| {
            let ((source, verified_at), kind) = (checked, kind.to_owned());
            Resource {
                name,
                contact,
                dial,
                sms,
                whatsapp,
                url,
                kind,
                country,
                region,
                area,
                hours,
                languages,
                source,
                verified_at,
            }
        },
    )
}

fn help() -> impl Strategy<Value = Help> {
    use Kind::{Abuse, Eating, HarmToOthers, Medical, SelfHarm, SexualViolence, Substance, Suicide};
    let level = select(vec![Level::Concern, Level::High, Level::Imminent]);
    let kinds = vec![Suicide, SelfHarm, Abuse, SexualViolence, Eating, HarmToOthers, Medical, Substance];
    let subject = select(vec![Subject::Own, Subject::Other]);
    (level, subject, option::of(select(kinds)), vec(resource(), 1..4))
        .prop_map(|(level, subject, kind, resources)| Help { level, subject, kind, resources })
}

fn support() -> impl Strategy<Value = ServerFrame> {
    (id(), option::of(seq()), text(1), help())
        .prop_map(|(id, seq, text, help)| ServerFrame::Support(Box::new(Support { id, seq, text, help })))
}

fn exercise() -> impl Strategy<Value = Exercise> {
    use Exercise::{BreathBox, BreathLong, Grounding, ReachOut, SafetyPlan, SmallStep};
    select(vec![BreathLong, BreathBox, Grounding, SmallStep, ReachOut, SafetyPlan])
}

fn country() -> impl Strategy<Value = Country> {
    "[A-Z]{2}".prop_map(|code| code.parse().unwrap())
}

fn done() -> impl Strategy<Value = ServerFrame> {
    let ms = (natural(), natural(), natural()).prop_map(|(queue, first, total)| Timing { queue, first, total });
    let usage = (natural(), natural())
        .prop_map(|(prompt_tokens, completion_tokens)| Usage { prompt_tokens, completion_tokens });
    let end = (finish(), source(), option::of(word()), option::of(exercise()));
    (id(), option::of(seq()), end, count(), ms, option::of(usage)).prop_map(
        |(id, seq, (finish, source, model, exercise), chars, ms, usage)| {
            ServerFrame::Done(Box::new(Done { id, seq, finish, source, model, chars, ms, usage, exercise }))
        },
    )
}

fn result() -> impl Strategy<Value = ResponseResult> {
    let entries = || vec(entry(), 0..5);
    let connections = (1..1_000_u64).prop_map(|number| usize::try_from(number).unwrap());
    prop_oneof![
        (session(), user(), instant(), natural(), connections, locale()).prop_map(
            |(session, user, created_at, seq, connections, locale)| {
                ResponseResult::Session { session, user, created_at, seq, connections, locale }
            }
        ),
        (entries(), any::<bool>(), natural()).prop_map(|(entries, more, next)| ResponseResult::Export {
            entries,
            more,
            next
        }),
        (entries(), any::<bool>()).prop_map(|(entries, more)| ResponseResult::History { entries, more }),
        natural().prop_map(|erased| ResponseResult::Erased { erased }),
        locale().prop_map(|locale| ResponseResult::Locale { locale }),
        country().prop_map(|country| ResponseResult::Country { country }),
        option::of(plan()).prop_map(|plan| ResponseResult::SafetyPlan { plan }),
    ]
}

fn plan() -> impl Strategy<Value = SafetyPlan> {
    let step = (word(), text(1)).prop_map(|(heading, text)| PlanStep { heading, text });
    (word(), vec(step, 1..=6), word()).prop_map(|(title, steps, footer)| SafetyPlan { title, steps, footer })
}

fn error() -> impl Strategy<Value = ServerFrame> {
    let language = select(vec![Language::Spanish, Language::English]);
    (select(ErrorCode::ALL.to_vec()), language, option::of(id()), 0..1_000_000_u64, option::of(trace_id())).prop_map(
        |(code, language, id, after_ms, trace_id)| {
            let mut frame = ErrorFrame::new(code, language).with_id(id);
            if code.has_retry_after() {
                frame = frame.with_retry_after(std::time::Duration::from_millis(after_ms), language);
            }
            ServerFrame::Error(ErrorFrame { trace_id, ..frame })
        },
    )
}

fn frame() -> impl Strategy<Value = ServerFrame> {
    prop_oneof![
        welcome(),
        entry().prop_map(ServerFrame::Turn),
        (id(), seq(), trace_id()).prop_map(|(id, seq, trace_id)| ServerFrame::Accepted { id, seq, trace_id }),
        (id(), count()).prop_map(|(id, ahead)| ServerFrame::Queued { id, ahead }),
        support(),
        (id(), count(), text(1), option::of(exercise())).prop_map(|(id, offset, text, exercise)| ServerFrame::Delta {
            id,
            offset,
            text,
            exercise
        }),
        done(),
        (id(), seq(), seq()).prop_map(|(id, seq, from_seq)| ServerFrame::Forgotten(Forgotten { seq, id, from_seq })),
        (id(), result()).prop_map(|(id, result)| ServerFrame::Response { id, result }),
        error(),
        natural().prop_map(|ms| ServerFrame::Notice {
            code: NoticeCode::Draining,
            text: None,
            reconnect_in_ms: Some(ms)
        }),
        word().prop_map(|text| ServerFrame::Notice { code: NoticeCode::Ai, text: Some(text), reconnect_in_ms: None }),
        option::of(id()).prop_map(|id| ServerFrame::Pong { id }),
    ]
}

/// Returns the encoded line of `frame`, without its LF.
fn line(frame: &ServerFrame) -> Vec<u8> {
    let mut out = BytesMut::from("before");
    frame.encode_line(&mut out);
    let line = out.strip_prefix(b"before").and_then(|line| line.strip_suffix(b"\n"));
    line.expect("it appends the line and its LF").to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_frame_round_trips_as_one_valid_line(frame in frame()) {
        let line = line(&frame);
        prop_assert!(!line.iter().any(|byte| *byte < b' '), "a raw control character");
        prop_assert!(line.len() <= MAX_SERVER_LINE_BYTES);
        let json: Value = serde_json::from_slice(&line).unwrap();
        prop_assert!(SERVER_SCHEMA.accepts(&json), "{}", json);
        prop_assert!(!has_null(&json), "an absent field is left out: {}", json);
        prop_assert_eq!(serde_json::from_slice::<ServerFrame>(&line).unwrap(), frame);
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

#[test]
fn longest_answer_fits_a_line_in_any_escaping() {
    for unit in ["a", "ñ", "😀", "\"", "\n", "\u{1}", "\u{2028}"] {
        let id: MessageId = "i".repeat(64).parse().unwrap();
        let text = UserText::new(unit.repeat(MAX_ANSWER_CHARS));
        let at = Timestamp::from_unix_ms(i64::MAX);
        let (finish, source) = (Some(Finish::Stopped), Some(Source::Companion));
        let entry =
            Entry { seq: MAX_INTEGER, id: id.clone(), role: Role::Assistant, text, at, finish, source, help: None };
        let delta = outgoing_delta(id.clone(), entry.text.clone());
        let page = ResponseResult::Export { entries: vec![entry.clone()], more: true, next: 1 };
        for frame in [delta, ServerFrame::Turn(entry), ServerFrame::Response { id, result: page }] {
            assert!(line(&frame).len() <= MAX_SERVER_LINE_BYTES, "{unit:?}");
        }
    }
}

fn outgoing_delta(id: MessageId, text: UserText) -> ServerFrame {
    ServerFrame::Delta { id, offset: 0, text, exercise: None }
}

#[test]
fn unknown_enum_values_count_as_absent() {
    let lines = [
        r#"{"type":"support","id":"a","level":"high","subject":"pet","kind":"grief","text":"x","resources":[]}"#,
        r#"{"type":"support","id":"a","level":"high","text":"x","resources":[]}"#,
    ];
    for line in lines {
        let Ok(ServerFrame::Support(support)) = serde_json::from_str(line) else { panic!("{line}") };
        assert_eq!((support.help.subject, support.help.kind), (Subject::Own, None), "{line}");
    }
    let line = r#"{"type":"delta","id":"a","offset":0,"text":"x","exercise":"juggling"}"#;
    assert_eq!(
        serde_json::from_str::<ServerFrame>(line).unwrap(),
        outgoing_delta("a".parse().unwrap(), UserText::new("x"))
    );
}

#[test]
fn result_entries_have_no_type_field() {
    let entry = r#"{"seq":1,"id":"a","role":"user","text":"hola","at":"2026-11-22T10:00:00.000Z"}"#;
    let history = format!(r#"{{"type":"response","id":"r1","result":{{"entries":[{entry}],"more":false}}}}"#);
    let frame: ServerFrame = serde_json::from_str(&history).unwrap();
    assert_eq!(String::from_utf8(line(&frame)).unwrap(), history);
}
