//! Documented streams of real servers, and their failures.

use proptest::prelude::*;

use super::*;

/// Result of a body: visible text, end, token counts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    text: String,
    end: String,
    usage: Option<(u64, u64)>,
}

/// Parses `pieces`; `broke`: the connection was lost after them.
fn read_from<'a>(mut reader: Reader, broke: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut text = String::new();
    let mut take = |reader: &mut Reader| loop {
        match reader.take() {
            Some(Step::Text { text: more, restarts }) => {
                if restarts {
                    text.clear();
                }
                text.push_str(&more);
            }
            Some(Step::Alive) => {}
            Some(Step::End) => return Some(Ok(reader.how_it_ended())),
            Some(Step::Failed(error)) => return Some(Err(error)),
            None => return None,
        }
    };
    let mut end = None;
    for piece in pieces {
        reader.push(piece);
        end = end.or_else(|| take(&mut reader));
    }
    reader.finish(broke);
    let end = end.or_else(|| take(&mut reader)).expect("a body that has ended has an end");
    let end = match end {
        Ok(finish) => finish.to_string(),
        Err(error) => error.to_string(),
    };
    let usage = reader.usage().map(|usage| (usage.prompt_tokens, usage.completion_tokens));
    Read { text, end, usage }
}

fn read(body: &[u8]) -> Read {
    read_from(Reader::new(false), false, [body])
}

/// Parses `body` whole, byte by byte, and split at every byte; all must agree.
fn read_split(body: &[u8]) -> Read {
    let whole = read(body);
    assert_eq!(read_from(Reader::new(false), false, body.chunks(1)), whole, "byte by byte");
    for at in 0..body.len() {
        let (before, after) = body.split_at(at);
        assert_eq!(read_from(Reader::new(false), false, [before, after]), whole, "split at {at}");
    }
    whole
}

const FILTERED: &str = "the model gave no whole answer: finish_reason content_filter";

#[test]
fn parses_streams_of_real_servers() {
    macro_rules! fixture {
        ($name:literal) => {
            ($name, include_bytes!(concat!("fixtures/", $name)).as_slice())
        };
    }
    for ((name, body), text, end, usage) in [
        (fixture!("groq.sse"), "Te escucho.", "stop", Some((41, 4))),
        (fixture!("openai.sse"), "¿Cómo te sentís?", "stop", Some((52, 6))),
        (fixture!("azure.sse"), "Estoy acá.", "stop", Some((60, 5))),
        (fixture!("azure-filtered.sse"), "Lo que", FILTERED, None),
        (fixture!("mistral.sse"), "Contame más.", "stop", Some((30, 25))),
        (fixture!("gemini.sse"), "Hola, acá estoy.", "stop", Some((18, 7))),
        (
            fixture!("gemini-blocked.sse"),
            "",
            "the model gave no whole answer: finish_reason content_filter",
            Some((18, 0)),
        ),
        (fixture!("deepseek.sse"), "Hola!", "stop", Some((12, 40))),
        (fixture!("openrouter.sse"), "Respirá hondo.", "stop", Some((20, 33))),
        (fixture!("openrouter-error.sse"), "Respirá", "the model answered with HTTP status 502", None),
        (fixture!("ollama.sse"), "Buen día", "stop", Some((15, 9))),
        (fixture!("vllm.sse"), "Lo siento mucho.", "stop", Some((22, 14))),
        (fixture!("vllm-error.sse"), "Lo", "the model answered with HTTP status 500", None),
        (fixture!("llama-cpp.sse"), "Mañana 💙", "stop", Some((31, 6))),
        (fixture!("lm-studio.sse"), "Pasemos.", "length", Some((9, 11))),
        (fixture!("litellm.sse"), "Claro.", "stop", Some((10, 3))),
        (fixture!("litellm-error.sse"), "Cla", "the model answered with HTTP status 500", None),
        (fixture!("proxy.sse"), "Sí, dale", "stop", None),
        (fixture!("zhipu-network-error.sse"), "Est", "the provider reported a failure: network_error", Some((4, 1))),
        (fixture!("not-streamed.json"), "De una vez.", "stop", Some((8, 5))),
    ] {
        let want = Read { text: text.to_owned(), end: end.to_owned(), usage };
        assert_eq!(read_split(body), want, "{name}");
    }
}

/// A chunk of text.
fn chunk(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n")
}

/// A chunk with a finish reason.
fn ending(reason: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\n")
}

const DONE: &str = "data: [DONE]\n\n";

#[test]
fn ignores_odd_events() {
    for odd in [
        "data:\n\n",
        "data: null\n\n",
        "data: 3\n\n",
        "data: \"x\"\n\n",
        "data: []\n\n",
        "data: {}\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "data: {\"choices\":null}\n\n",
        "data: {\"choices\":{}}\n\n",
        "data: {\"choices\":[null]}\n\n",
        "data: {\"choices\":[{\"delta\":null}]}\n\n",
        "data: {\"choices\":[{\"delta\":\"x\"}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":null}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":5}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":{\"a\":1}}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":[null,7,{\"type\":\"text\"},{\"text\":null}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":{}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"\"}]}\n\n",
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"no\"},\"finish_reason\":\"error\"}]}\n\n",
        "data: {\"choices\":[],\"choices\":[]}\n\n",
        "data: {\"error\":null,\"choices\":[]}\n\n",
        "data: {\"error\":{}}\n\n",
        "data: {\"\\ud83d\":1,\"object\":7}\n\n",
        "data: {\"usage\":{}}\n\n",
        "data: {\"usage\":null}\n\n",
        "data: {\"usage\":[1]}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":3}}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":null}}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":-1}}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1.5}}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":\"3\",\"completion_tokens\":1}}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":1e300,\"completion_tokens\":1}}\n\n",
        "data: {\"usage\":{\"completion_tokens_details\":{\"reasoning_tokens\":1}}}\n\n",
        "data: {\"x\":[[[[[[{\"y\":\"\\udc99\"}]]]]]]}\n\n",
        ": comment\n\n",
        "retry: 10\nid\n\n",
    ] {
        let body = [chunk("ho").as_str(), odd, &chunk("la"), odd, &ending("stop"), odd, DONE].concat();
        let want = Read { text: "hola".to_owned(), end: "stop".to_owned(), usage: None };
        assert_eq!(read(body.as_bytes()), want, "{odd}");
    }
}

#[test]
fn finds_text_and_counts_in_every_known_place() {
    for (event, text, usage) in [
        ("{\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":3}}", "a", None),
        (
            "{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"text\":\"b\"},\"c\"]}}]}",
            "abc",
            None,
        ),
        ("{\"choices\":[{\"delta\":{\"content\":{\"type\":\"text\",\"text\":\"a\"}}}]}", "a", None),
        ("{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"thinking\",\"text\":\"no\"}]}}]}", "", None),
        (
            "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"no\"}},{\"index\":0,\"delta\":{\"content\":\"a\"}}]}",
            "a",
            None,
        ),
        ("{\"choices\":[{\"index\":null,\"delta\":{\"content\":\"a\"}}]}", "a", None),
        ("{\"choices\":[{\"message\":{\"content\":\"a\"}}]}", "a", None),
        ("{\"usage\":{\"prompt_tokens\":3.0,\"completion_tokens\":2}}", "", Some((3, 2))),
        ("{\"x_groq\":{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}}", "", Some((3, 2))),
        (
            "{\"choices\":[{\"finish_reason\":\"stop\"}],\"usage\":{\"completion_tokens\":2,\"prompt_tokens\":3}}",
            "",
            Some((3, 2)),
        ),
        ("{\"choices\":[{\"delta\":{\"content\":\"a\\u0000b\"}}]}", "ab", None),
    ] {
        let body = [chunk("¡").as_str(), "data: ", event, "\n\n", &ending("stop"), DONE].concat();
        let want = Read { text: format!("¡{text}"), end: "stop".to_owned(), usage };
        assert_eq!(read_split(body.as_bytes()), want, "{event}");
    }
}

#[test]
fn classifies_ends() {
    let cut = "the model's stream ended before its answer";
    let withheld = |reason: &str| format!("the model gave no whole answer: finish_reason {reason}");
    let reported = |code: &str| format!("the provider reported a failure: {code}");
    for (end, want) in [
        ("", cut.to_owned()),
        (DONE, "stop".to_owned()),
        (&*ending(""), cut.to_owned()),
        (&*ending("stop"), "stop".to_owned()),
        (&*ending("eos"), "stop".to_owned()),
        (&*ending("length"), "length".to_owned()),
        (&*ending("max_tokens"), "length".to_owned()),
        (&*ending("MAX_TOKENS"), "length".to_owned()),
        (&*ending("model_length"), "length".to_owned()),
        (&*ending("content_filter"), withheld("content_filter")),
        (&*ending("SAFETY"), withheld("SAFETY")),
        (&*ending("content_filter:SEXUAL"), withheld("content_filter")),
        (&*ending("null"), cut.to_owned()),
        (&*ending("None"), cut.to_owned()),
        (&*ending("error"), reported("error")),
        (&*ending("network_error"), reported("network_error")),
        (&*ending("insufficient_system_resource"), reported("insufficient_system_resource")),
        ("data: {\"error\":{\"message\":\"no\"}}\n\n", reported("unnamed")),
        ("data: {\"error\":\"overloaded_error\"}\n\n", reported("overloaded_error")),
        ("data: {\"error\":\"Hola, Ana\"}\n\n", reported("unnamed")),
        ("data: {\"error\":{\"code\":null,\"type\":\"server_error\"}}\n\n", reported("server_error")),
        ("data: {\"error\":{\"code\":\"content_filter\"}}\n\n", "the model answered with HTTP status 400".to_owned()),
        (
            "data: {\"error\":{\"type\":\"insufficient_quota\"}}\n\n",
            "the model answered with HTTP status 429".to_owned(),
        ),
        ("data: {\"error\":{\"code\":429}}\n\n", "the model answered with HTTP status 429".to_owned()),
        ("data: [{\"error\":{\"code\":\"503\"}}]\n\n", "the model answered with HTTP status 503".to_owned()),
        ("data: {\"object\":\"error\",\"message\":\"no\"}\n\n", reported("unnamed")),
        ("event: error\ndata: {\"message\":\"no\"}\n\n", reported("unnamed")),
        ("event: error\ndata: no\n\n", reported("unnamed")),
        ("event: error\n\n", reported("unnamed")),
        // llama.cpp.
        ("error: {\"code\":500,\"message\":\"no\",\"type\":\"server_error\"}\n\n", reported("unnamed")),
        (
            "error: {\"code\":400,\"message\":\"no\",\"type\":\"exceed_context_size_error\"}\n\n",
            "the model answered with HTTP status 400".to_owned(),
        ),
        ("{\"error\":{\"code\":\"down\"}}\n", reported("down")),
        ("data: nonsense\n\n", "the model's stream cannot be read: an event is not a chunk".to_owned()),
        ("data: \u{7f}\n\n", "the model's stream cannot be read: an event is not a chunk".to_owned()),
    ] {
        for done in ["", DONE] {
            // `[DONE]` completes only an answer without any other end.
            let want = if done == DONE && want == cut { "stop" } else { &want };
            let body = [&chunk("hola"), end, done].concat();
            let got = read_split(body.as_bytes());
            assert_eq!((got.text.as_str(), got.end.as_str()), ("hola", want), "{end:?} {done}");
        }
    }
}

/// After text and a finish reason, no error can spoil an answer.
#[test]
fn keeps_a_complete_answer_despite_late_errors() {
    for late in [
        "data: nonsense\n\n",
        "data: {\"error\":{\"message\":\"late\"}}\n\n",
        "event: error\n\n",
        "data: {\"usage\":7}\n\n",
        "data: {\"choi",
        "<html>502</html>",
        "",
    ] {
        for (reason, want) in [("stop", "stop"), ("length", "length"), ("content_filter", FILTERED)] {
            let body = [&chunk("hola"), &ending(reason), late].concat();
            for broke in [false, true] {
                let got = read_from(Reader::new(false), broke, [body.as_bytes()]);
                assert_eq!((got.text.as_str(), got.end.as_str()), ("hola", want), "{late:?}, {broke}");
            }
        }
    }
    // The last event without its blank line, or without any line end.
    for missing in 1..=2 {
        let body = [chunk("hola"), ending("stop")].concat();
        assert_eq!(read(&body.as_bytes()[..body.len() - missing]).end, "stop");
    }
    let last = "data: {\"choices\":[{\"delta\":{\"content\":\"hola\"},\"finish_reason\":\"stop\"}]}\n";
    let got = read(last.as_bytes());
    assert_eq!((got.text.as_str(), got.end.as_str()), ("hola", "stop"));
}

#[test]
fn rejects_answers_without_text() {
    let withheld = |reason: &str| format!("the model gave no whole answer: finish_reason {reason}");
    for (body, want) in [
        (ending("stop"), withheld("stop")),
        (ending("length"), withheld("length")),
        (ending("content_filter"), withheld("content_filter")),
        ([chunk(" \\n"), ending("stop")].concat(), withheld("stop")),
        ([chunk("<think>nunca termina"), ending("length")].concat(), withheld("length")),
        ([chunk("pienso</think>"), ending("stop")].concat(), withheld("stop")),
        ([chunk("\\u0000"), ending("stop")].concat(), withheld("stop")),
        (DONE.to_owned(), "the model's answer was empty".to_owned()),
        (String::new(), "the model's stream ended before its answer".to_owned()),
        (ending("Hola, Ana: ñ\\u001b[0m"), withheld("Hola")),
        (ending("blocked: me quiero morir hoy"), withheld("blocked")),
        (ending("content_filter: HATE"), withheld("content_filter")),
    ] {
        let got = read_split(body.as_bytes());
        assert_eq!((got.text.as_str(), got.end.as_str()), ("", want.as_str()), "{body}");
    }
    let refusal =
        "data: {\"choices\":[{\"delta\":{\"content\":null,\"refusal\":\"No.\"},\"finish_reason\":\"stop\"}]}\n\n";
    assert_eq!(read(refusal.as_bytes()).end, withheld("refusal"));
}

#[test]
fn parses_bodies_that_are_no_stream() {
    let malformed = |reason: &str| format!("the model's stream cannot be read: {reason}");
    for (body, text, end) in [
        (
            "\u{feff}data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}",
            "a",
            "stop".to_owned(),
        ),
        (
            "\n\n {\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"length\"}]}",
            "a",
            "length".to_owned(),
        ),
        ("{\"choices\":[{\"message\":{\"content\":\"a\"}}]}", "a", "stop".to_owned()),
        ("{\"choices\":[{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}}]}", "a", "stop".to_owned()),
        (
            "{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n",
            "a",
            "stop".to_owned(),
        ),
        ("{\"error\":{\"code\":\"down\"}}", "", "the provider reported a failure: down".to_owned()),
        ("{\"choices\":[{\"message\":", "", malformed("neither a stream nor JSON")),
        ("{\"ok\":true}", "", malformed("JSON, but no completion")),
        ("<!doctype html><h1>Hola", "", malformed("a page in place of an answer")),
    ] {
        let want = Read { text: text.to_owned(), end, usage: None };
        assert_eq!(read_split(body.as_bytes()), want, "{body}");
    }
    assert_eq!(read_split(b"\x1f\x8b\x08\0\0\0").end, malformed("compressed, which was not asked for"));
}

#[test]
fn only_thinking_counts_as_progress() {
    for (event, want) in [
        (chunk(""), false),
        (": OPENROUTER PROCESSING\n\n".to_owned(), false),
        ("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n".to_owned(), false),
        ("data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"\"}}]}\n\n".to_owned(), false),
        ("data: {\"choices\":[{\"delta\":{\"reasoning_details\":[]}}]}\n\n".to_owned(), false),
        ("data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"x\"}}]}\n\n".to_owned(), true),
        ("data: {\"choices\":[{\"delta\":{\"reasoning\":\"x\"}}]}\n\n".to_owned(), true),
        ("data: {\"choices\":[{\"delta\":{\"content\":[{\"type\":\"thinking\"}]}}]}\n\n".to_owned(), true),
        (chunk("<think>x"), true),
    ] {
        let mut reader = Reader::new(false);
        reader.push(event.as_bytes());
        assert_eq!(reader.take().is_some(), want, "{event}");
    }
    let mut reader = Reader::new(true);
    reader.push(chunk("pienso").as_bytes());
    assert!(matches!(reader.take(), Some(Step::Alive)), "a model that is known to think so");
}

#[test]
fn restarts_after_visible_thinking() {
    let mut reader = Reader::new(false);
    reader.push(chunk("pienso").as_bytes());
    assert!(matches!(reader.take(), Some(Step::Text { restarts: false, .. })));
    reader.push(chunk("</think>").as_bytes());
    assert!(matches!(reader.take(), Some(Step::Alive)));
    assert_eq!(reader.has_unopened_thinking(), Some(true));
    reader.push(chunk("\\nHola").as_bytes());
    assert!(matches!(reader.take(), Some(Step::Text { text, restarts: true }) if text == "Hola"));
    reader.push([ending("stop").as_str(), DONE].concat().as_bytes());
    assert!(matches!(reader.take(), Some(Step::End)));

    let mut reader = Reader::new(false);
    reader.push(chunk("pienso").as_bytes());
    assert!(matches!(reader.take(), Some(Step::Text { .. })));
    reader.push([chunk("</think>").as_str(), &ending("length"), DONE].concat().as_bytes());
    assert!(matches!(reader.take(), Some(Step::Text { text, restarts: true }) if text.is_empty()));
    assert!(matches!(reader.take(), Some(Step::Failed(LlmError::Withheld { .. }))));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Arbitrary bytes and fragments of streams never panic, and parse alike at any split.
    #[test]
    fn splits_change_nothing(
        parts in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec![
                    "data: ", "data:", "event: error", "\n", "\n\n", "\r\n", "\r", "[DONE]", "{", "}", "\u{feff}",
                    "{\"choices\":[{\"delta\":{\"content\":\"<think>\"}}]}",
                    "{\"choices\":[{\"delta\":{\"content\":\"</think>ho\\ud83d\"}}]}",
                    "{\"choices\":[{\"delta\":{\"content\":\"\\udc99la\"}}]}",
                    "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}",
                    "{\"choices\":[{\"delta\":{\"content\":[{\"text\":\"x\"}]},\"finish_reason\":\"length\"}]}",
                    "{\"error\":{\"code\":1}}",
                    "{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}",
                ])
                .prop_map(|part| part.as_bytes().to_vec()),
                prop::collection::vec(any::<u8>(), 0..4),
            ],
            0..24,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        broke: bool,
        suspects: bool,
    ) {
        let body = parts.concat();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        at.extend([0, body.len()]);
        at.sort_unstable();
        let pieces = at.windows(2).map(|pair| &body[pair[0]..pair[1]]);
        let whole = read_from(Reader::new(suspects), broke, [body.as_slice()]);
        prop_assert_eq!(read_from(Reader::new(suspects), broke, pieces), whole);
    }
}
