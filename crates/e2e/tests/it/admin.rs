//! The admin port: who is well, who is ready, and what is the matter.

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::llm::{Answer, Fallback};
use testkit::watchdog::{LIMIT, within};
use tokio::net::TcpListener;

use crate::http::{self, LOOK_AGAIN};
use crate::metrics::{Metrics, PROVIDER};
use crate::postgres::Server;
use crate::program::{Kind, Program, run};
use crate::town::Plan;

/// The status of `/readyz` and what it tells.
async fn ready(program: &Program) -> (u16, Value) {
    let (status, body) = http::get(program.admin(), "/readyz").await.unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

/// The check called `name`.
fn check<'a>(told: &'a Value, name: &str) -> &'a Value {
    let checks = told["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {told}"))
}

/// Waits until `/readyz` answers with `status`; gives what it tells then.
async fn until(program: &Program, status: u16) -> Value {
    let seen = within(LIMIT, async {
        loop {
            let (got, told) = ready(program).await;
            if got == status {
                return told;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    });
    seen.await.unwrap()
}

#[tokio::test]
async fn both_services_are_ready() {
    let mut town = Plan::with_gateway().start().await;
    assert_eq!(
        ready(&town.core).await,
        (
            200,
            json!({"status": "ready", "checks": [
                {"name": "draining", "state": "ok"}, {"name": "store", "state": "ok"}, {"name": "model", "state": "ok"}
            ]})
        )
    );
    let gateway = json!([{"name": "draining", "state": "ok"}, {"name": "cores", "state": "ok"}]);
    assert_eq!(ready(town.gateway()).await, (200, json!({"status": "ready", "checks": gateway})));
    for program in [&town.core, &town.gateways[0]] {
        assert_eq!(http::get(program.admin(), "/healthz").await.unwrap(), (200, "{\"status\":\"ok\"}\n".to_owned()));
        assert_eq!(http::status(program.admin(), "/", "").await.unwrap(), 404);
        // What the public sees is not here, and what is here the public does not see.
        assert_eq!(http::status(program.admin(), "/ws", "Upgrade: websocket\r\n").await.unwrap(), 404);
    }
    assert_eq!(http::status(town.gateway().address(), "/metrics", "").await.unwrap(), 404);
}

/// A provider that fails until it is left alone, and comes back.
#[tokio::test]
async fn a_model_that_fails_degrades() {
    let plan = Plan::default().core("LLM_MAX_RETRIES", 5).core("LLM_BACKOFF_INITIAL", 0);
    let town = plan.fallback(Fallback::Answer(Answer::status(500))).start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    let (state, became) = (format!("psicoia_core_breaker_state{{{PROVIDER}}}"), |to: &str| {
        format!("psicoia_core_breaker_transitions_total{{{PROVIDER},to=\"{to}\"}}")
    });
    Metrics::of(&town.core).await.assert(&[(&state, 0.0), (&became("open"), 0.0)]);
    for id in ["a", "b"] {
        assert_eq!(person.ask(id, "hola").await.done["source"], "companion");
    }
    let (status, told) = ready(&town.core).await;
    assert_eq!((status, &told["status"]), (200, &json!("degraded")), "{told}");
    assert_eq!(check(&told, "model")["state"], "degraded");
    let failed = format!("psicoia_core_model_calls_total{{outcome=\"status\",{PROVIDER}}}");
    Metrics::of(&town.core).await.assert(&[
        (&state, 2.0),
        (&became("open"), 1.0),
        (&failed, 10.0),
        ("psicoia_core_model_retries_total", 8.0),
        ("psicoia_core_turns_total{finish=\"stop\",source=\"companion\"}", 2.0),
    ]);
    // Nobody else is there to be asked: it is asked all the same, and is back.
    town.standin.push(Answer::text("acá estoy"));
    assert_eq!(person.ask("c", "¿y ahora?").await.text, "acá estoy");
    assert_eq!(until(&town.core, 200).await["status"], "ready");
    Metrics::of(&town.core).await.assert(&[(&state, 0.0), (&became("closed"), 1.0)]);
}

#[tokio::test]
async fn who_drains_is_not_ready() {
    let slow = Fallback::Answer(Answer::chunks(100).paced(0, 50));
    let mut town = Plan::with_gateway().core("DRAIN_SECONDS", 5).fallback(slow).start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    person.say("a", "hola").await;
    person.frame_of("delta").await;
    town.core.ask_to_stop();
    let told = until(&town.core, 503).await;
    assert_eq!((&told["status"], &check(&told, "draining")["state"]), (&json!("unavailable"), &json!("down")));
    assert_eq!(http::status(town.core.admin(), "/healthz", "").await.unwrap(), 200);
    assert!(Metrics::of(&town.core).await.get("psicoia_core_connections_open") > 0.0);
    // Nobody listens there any more.
    let told = until(town.gateway(), 503).await;
    assert_eq!(check(&told, "cores")["state"], "down", "{told}");
    let core = format!("{{core=\"{}\"}}", town.core.address());
    let metrics = Metrics::of(town.gateway()).await;
    metrics.assert(&[(&format!("psicoia_gateway_core_ejected{core}"), 1.0)]);
    assert!(0.0 < metrics.get(&format!("psicoia_gateway_core_connects_failed_total{core}")));
}

#[tokio::test]
async fn a_database_that_is_away() {
    let (server, url) = Server::start().await;
    let town = Plan::default().core("DATABASE_URL", &url).core("DATABASE_MAX_CONNECTIONS", 3).start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    person.ask("a", "hola").await;
    let metrics = Metrics::of(&town.core).await;
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
    let told = until(&town.core, 503).await;
    let store = check(&told, "store");
    assert_eq!((&told["status"], &store["state"]), (&json!("unavailable"), &json!("down")));
    assert!(!store["reason"].as_str().unwrap().is_empty());
    person.say("b", "¿estás?").await;
    assert_eq!(person.frame_of("error").await["code"], "unavailable");
    let metrics = Metrics::of(&town.core).await;
    metrics.assert(&[("psicoia_core_messages_refused_total{code=\"unavailable\"}", 1.0)]);
    assert!(1.0 <= metrics.get("psicoia_core_commits_failed_total"));

    server.start_again().await;
    assert_eq!(until(&town.core, 200).await["status"], "ready");
}

#[tokio::test]
async fn an_admin_port_that_is_taken_is_named() {
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
