//! Admin port: liveness, readiness and its reasons.

use std::convert::Infallible;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::llm::{Answer, Fallback};
use testkit::watchdog::{LIMIT, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::http::{self, POLL_INTERVAL};
use crate::metrics::{Metrics, PROVIDER};
use crate::postgres::Server;
use crate::program::{Kind, Program, run};
use crate::single_node::Plan;

/// Status and body of `/readyz`.
async fn ready(program: &Program) -> (u16, Value) {
    let (status, body) = http::get(program.admin(), "/readyz").await.unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

/// Check `name` of a readiness body.
fn check<'a>(reported: &'a Value, name: &str) -> &'a Value {
    let checks = reported["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {reported}"))
}

/// Waits until `/readyz` returns `status`; returns its body.
async fn until(program: &Program, status: u16) -> Value {
    let seen = within(LIMIT, async {
        loop {
            let (got, reported) = ready(program).await;
            if got == status {
                return reported;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    });
    seen.await.unwrap()
}

#[tokio::test]
async fn both_services_are_ready() {
    let mut node = Plan::with_gateway().start().await;
    assert_eq!(
        ready(&node.core).await,
        (
            200,
            json!({"status": "ready", "checks": [
                {"name": "draining", "state": "ok"}, {"name": "store", "state": "ok"}, {"name": "model", "state": "ok"}
            ]})
        )
    );
    let gateway = json!([{"name": "draining", "state": "ok"}, {"name": "cores", "state": "ok"}]);
    assert_eq!(ready(node.gateway()).await, (200, json!({"status": "ready", "checks": gateway})));
    for program in [&node.core, &node.gateways[0]] {
        assert_eq!(http::get(program.admin(), "/healthz").await.unwrap(), (200, "{\"status\":\"ok\"}\n".to_owned()));
        assert_eq!(http::status(program.admin(), "/", "").await.unwrap(), 404);
        // Public and admin endpoints are disjoint.
        assert_eq!(http::status(program.admin(), "/ws", "Upgrade: websocket\r\n").await.unwrap(), 404);
    }
    assert_eq!(http::status(node.gateway().address(), "/metrics", "").await.unwrap(), 404);
}

/// A provider fails until its breaker opens, then recovers.
#[tokio::test]
async fn failing_model_degrades_readiness() {
    let plan = Plan::default().core("LLM_MAX_RETRIES", 5).core("LLM_BACKOFF_INITIAL", 0);
    let node = plan.fallback(Fallback::Answer(Answer::status(500))).start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    let (state, became) = (format!("psicoia_core_breaker_state{{{PROVIDER}}}"), |to: &str| {
        format!("psicoia_core_breaker_transitions_total{{{PROVIDER},to=\"{to}\"}}")
    });
    Metrics::of(&node.core).await.assert(&[(&state, 0.0), (&became("open"), 0.0)]);
    for id in ["a", "b"] {
        assert_eq!(person.ask(id, "hola").await.done["source"], "companion");
    }
    let (status, reported) = ready(&node.core).await;
    assert_eq!((status, &reported["status"]), (200, &json!("degraded")), "{reported}");
    assert_eq!(check(&reported, "model")["state"], "degraded");
    let failed = format!("psicoia_core_model_calls_total{{outcome=\"status\",{PROVIDER}}}");
    Metrics::of(&node.core).await.assert(&[
        (&state, 2.0),
        (&became("open"), 1.0),
        (&failed, 10.0),
        ("psicoia_core_model_retries_total", 8.0),
        ("psicoia_core_turns_total{finish=\"stop\",source=\"companion\"}", 2.0),
    ]);
    // The only provider is called in spite of its open breaker, and recovers.
    node.standin.push(Answer::text("acá estoy"));
    assert_eq!(person.ask("c", "¿y ahora?").await.text, "acá estoy");
    assert_eq!(until(&node.core, 200).await["status"], "ready");
    Metrics::of(&node.core).await.assert(&[(&state, 0.0), (&became("closed"), 1.0)]);
}

/// Answers without the model degrade readiness until one comes from it.
#[tokio::test]
async fn rejecting_model_degrades_readiness() {
    // A summary call, due within these messages, would consume an answer scripted for the next one.
    let node = Plan::default().core("RATE_MAX_MESSAGES", 1_000).core("LLM_SUMMARY", "off").start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    let quota = Answer::refusal(429, json!({"error": {"code": "insufficient_quota", "message": "mi secreto"}}));
    let settings = "check MODEL_NAME, LLM_MAX_TOKENS and LLM_TEMPERATURE";
    for (number, (answer, messages, advice)) in [
        (Answer::status(400), 3, settings),
        (Answer::status(401), 1, "check GROQ_API_KEY"),
        (Answer::status(402), 1, "quota"),
        (Answer::status(403), 1, "check GROQ_API_KEY"),
        (Answer::status(404), 1, "check LLM_URL"),
        (Answer::status(422), 3, settings),
        (quota, 1, "quota"),
        (Answer { finish: "content_filter".to_owned(), ..Answer::default() }, 3, "rule-based fallback"),
    ]
    .into_iter()
    .enumerate()
    {
        for message in 1..=messages {
            assert_eq!(ready(&node.core).await.1["status"], "ready", "{answer:?}, before message {message}");
            node.standin.push(answer.clone());
            let id = format!("{number}-{message}");
            assert_eq!(person.ask(&id, "hola").await.done["source"], "companion", "{answer:?}");
        }
        let (status, reported) = ready(&node.core).await;
        assert_eq!(
            (status, &reported["status"], node.standin.queued()),
            (200, &json!("degraded"), 0),
            "{answer:?}: {reported}"
        );
        let reason = check(&reported, "model")["reason"].as_str().unwrap();
        assert!(reason.contains(advice) && !reason.contains("secreto"), "{reason}");
        assert_eq!(person.ask(&format!("{number}"), "¿y ahora?").await.done["source"], "llm");
        let (_, reported) = ready(&node.core).await;
        let model = json!({"name": "model", "state": "ok", "detail": "llama-3.1-8b-instant"});
        assert_eq!((&reported["status"], check(&reported, "model")), (&json!("ready"), &model));
    }
    let failed = node.logs().into_iter().filter(|line| line.contains("model call failed"));
    let codes: Vec<_> = failed.filter(|line| line.contains("insufficient_quota")).collect();
    assert_eq!(codes.len(), 1);
    assert!(!codes[0].contains("secreto"), "{codes:?}");
}

/// An unreachable provider is detected with the first message.
#[tokio::test]
async fn unreachable_model_degrades_readiness() {
    let node = Plan::default().core("LLM_MAX_RETRIES", 1).start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    assert_eq!(person.ask("a", "hola").await.done["source"], "llm");
    node.standin.stop().await;
    assert_eq!(person.ask("b", "hola").await.done["source"], "companion");
    let (_, reported) = ready(&node.core).await;
    assert!(check(&reported, "model")["reason"].as_str().unwrap().contains("check LLM_URL"), "{reported}");
}

/// Provider with one response to every request.
async fn saying(listener: TcpListener, response: &str) -> Infallible {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4_096];
        let _ = stream.read(&mut head).await;
        let _ = stream.write_all(response.as_bytes()).await;
    }
}

/// A probe at start detects certain errors, which readiness reports before the first message.
#[tokio::test]
async fn misconfigured_model_degrades_readiness_at_start() {
    let response = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    };
    let list = |model: &str| response("200 OK", &json!({"object": "list", "data": [{"id": model}]}).to_string());
    for (said, state, reported, logged) in [
        (Some(response("401 Unauthorized", "{}")), "degraded", "check GROQ_API_KEY", "does not answer"),
        (None, "degraded", "check LLM_URL", "does not answer"),
        (Some(list("llama-3.1-8b-instant")), "ok", "llama-3.1-8b-instant", "model llama-3.1-8b-instant answers"),
        (Some(list("otro")), "ok", "", "check MODEL_NAME"),
        (Some(response("404 Not Found", "")), "ok", "", "the first message shows whether it answers"),
        (Some(response("200 OK", "<html>")), "ok", "", "the first message shows whether it answers"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/chat/completions", listener.local_addr().unwrap());
        let provider = async {
            match &said {
                Some(said) => saying(listener, said).await,
                None => {
                    drop(listener);
                    std::future::pending().await
                }
            }
        };
        let asked = async {
            let node = Plan::default().core("LLM_URL", url).start().await;
            let line = within(LIMIT, async {
                loop {
                    if let Some(line) = node.logs().into_iter().find(|line| line.contains(logged)) {
                        return line;
                    }
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            });
            line.await.unwrap();
            let (status, ready) = ready(&node.core).await;
            assert_eq!(status, 200);
            let model = check(&ready, "model").clone();
            assert_eq!(model["state"], state, "{model}");
            let text = model["reason"].as_str().or(model["detail"].as_str()).unwrap_or_default();
            assert!(text.contains(reported) && text.is_empty() == reported.is_empty(), "{model}");
        };
        tokio::select! {
            never = provider => match never {},
            () = asked => {}
        }
    }
}

#[tokio::test]
async fn draining_service_is_not_ready() {
    let slow = Fallback::Answer(Answer::chunks(100).paced(0, 50));
    let mut node = Plan::with_gateway().core("DRAIN_SECONDS", 5).fallback(slow).start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    person.say("a", "hola").await;
    person.frame_of("delta").await;
    node.core.ask_to_stop();
    let reported = until(&node.core, 503).await;
    assert_eq!((&reported["status"], &check(&reported, "draining")["state"]), (&json!("unavailable"), &json!("down")));
    assert_eq!(http::status(node.core.admin(), "/healthz", "").await.unwrap(), 200);
    assert!(Metrics::of(&node.core).await.get("psicoia_core_connections_open") > 0.0);
    // The listener is closed.
    let reported = until(node.gateway(), 503).await;
    assert_eq!(check(&reported, "cores")["state"], "down", "{reported}");
    let core = format!("{{core=\"{}\"}}", node.core.address());
    let metrics = Metrics::of(node.gateway()).await;
    metrics.assert(&[(&format!("psicoia_gateway_core_ejected{core}"), 1.0)]);
    assert!(0.0 < metrics.get(&format!("psicoia_gateway_core_connect_failures_total{core}")));
}

#[tokio::test]
async fn unavailable_database_fails_readiness() {
    let (server, url) = Server::start().await;
    let node = Plan::default().core("DATABASE_URL", &url).core("DATABASE_MAX_CONNECTIONS", 3).start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    person.ask("a", "hola").await;
    let metrics = Metrics::of(&node.core).await;
    metrics.assert(&[
        ("psicoia_core_database_connections_max", 3.0),
        ("psicoia_core_database_connections_exhausted_total", 0.0),
    ]);
    let open = metrics.get("psicoia_core_database_connections_open");
    assert!((1.0..=3.0).contains(&open), "{open}");
    let used = ["in_use", "idle"].map(|how| metrics.get(&format!("psicoia_core_database_connections_{how}")));
    assert!((used.iter().sum::<f64>() - open).abs() < f64::EPSILON, "{used:?} of {open}");
    assert!(4.0 <= metrics.get("psicoia_core_database_connection_wait_seconds_count"));

    server.stop().await;
    let reported = until(&node.core, 503).await;
    let store = check(&reported, "store");
    assert_eq!((&reported["status"], &store["state"]), (&json!("unavailable"), &json!("down")));
    assert!(!store["reason"].as_str().unwrap().is_empty());
    person.say("b", "¿estás?").await;
    assert_eq!(person.frame_of("error").await["code"], "unavailable");
    let metrics = Metrics::of(&node.core).await;
    metrics.assert(&[("psicoia_core_messages_rejected_total{code=\"unavailable\"}", 1.0)]);
    assert!(1.0 <= metrics.get("psicoia_core_commit_failures_total"));

    server.start_again().await;
    assert_eq!(until(&node.core, 200).await["status"], "ready");
}

#[tokio::test]
async fn reports_admin_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    for kind in Kind::BOTH {
        let folder = TempDir::new().unwrap();
        let settings = [(kind.port(), "0".to_owned()), ("ADMIN_PORT", port.to_string())];
        let output = run(kind, folder.path(), &settings, None).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(&format!("cannot listen on 127.0.0.1:{port} (ADMIN_HOST, ADMIN_PORT): ")), "{stderr}");
    }
}
