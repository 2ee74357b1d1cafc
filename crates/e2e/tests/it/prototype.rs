//! Compatibility with the prototype.

use std::path::Path;

use futures_util::future::join_all;
use protocol::Face;
use serde_json::json;
use testkit::llm::{Answer, LlmStandin, Options};
use testkit::peer::ConnectionEnd;
use testkit::process::Launch;
use testkit::watchdog::{LIMIT, within};
use testkit::ws_peer::WsPeer;

use crate::program::{Kind, Program};
use crate::single_node::Plan;
use crate::test_client::TestClient;

const GOODBYE: &str = "Gracias por hablar conmigo. Cuidate mucho.";

fn greeting(number: u32) -> [String; 3] {
    [
        format!("Usuario-{number} conectado."),
        "Bienvenido a PsicoIA: soy una inteligencia artificial, no una persona.".to_owned(),
        "Contame cómo te sentís hoy. Escribí 'salir' para cerrar.".to_owned(),
    ]
}

#[tokio::test]
async fn serves_a_terminal() {
    let node = Plan::default().start().await;
    let mut person = node.at_core().await;
    assert_eq!(person.lines(3).await, greeting(1));
    for line in ["uno", "dos", "tres"] {
        person.write(line).await;
    }
    assert_eq!(person.lines(3).await, ["eco: uno", "eco: dos", "eco: tres"]);
    person.write("Salir").await;
    assert_eq!(person.lines(1).await, [GOODBYE]);
    assert_eq!(person.ending().await, ConnectionEnd::Unexplained);
}

#[tokio::test]
async fn serves_a_half_closed_netcat() {
    let node = Plan::default().start().await;
    let port = node.core.address().port();
    let netcat = |number: u32, typed: &'static str, want: &'static [&'static str]| async move {
        let script = format!("printf '{typed}' | nc -N 127.0.0.1 {port}");
        let mut shell = Launch::new("sh").argument("-c").argument(script).spawn().unwrap();
        let status = within(LIMIT, shell.wait()).await.unwrap().unwrap();
        let greeting = greeting(number);
        let want: Vec<&str> = greeting.iter().map(String::as_str).chain(want.iter().copied()).collect();
        assert_eq!(shell.logs(), want, "{typed:?}");
        assert!(status.success(), "{typed:?}: {status}");
    };
    netcat(1, "hola\\nsalir\\n", &["eco: hola", GOODBYE]).await;
    // Half-closing replaces the good-bye command.
    netcat(2, "uno\\ndos\\n", &["eco: uno", "eco: dos"]).await;
}

#[tokio::test]
async fn serves_websockets_without_a_subprotocol() {
    let node = Plan::with_gateway().start().await;
    let mut person = node.at_gateway(Face::Plain).await;
    assert_eq!(person.lines(3).await, greeting(1));
    for text in ["hola", "¿qué tal?"] {
        person.write(text).await;
        assert_eq!(person.line().await, format!("eco: {text}"));
    }
}

#[tokio::test]
async fn serves_100_websockets_of_one_address() {
    // All share one address, as behind a NAT.
    let node = Plan::with_gateway().core("RATE_ADDRESS_FACTOR", 100).start().await;
    let gateway = node.gateways[0].address();
    let talks = (0..100).map(|number| async move {
        let mut person = TestClient::new(WsPeer::connect(gateway, Face::Plain).await.unwrap());
        let label = person.lines(3).await.swap_remove(0);
        let texts: Vec<String> = (0..5).map(|message| format!("persona {number}, mensaje {message}")).collect();
        for text in &texts {
            person.write(text).await;
        }
        let answers: Vec<String> = texts.iter().map(|text| format!("eco: {text}")).collect();
        assert_eq!(person.lines(5).await, answers);
        label
    });
    let mut labels = join_all(talks).await;
    labels.sort();
    labels.dedup();
    assert_eq!(labels.len(), 100, "{labels:?}");
    assert_eq!(node.standin.total(), 500);
}

/// Writes a prototype's `.env` with non-default values. `core` is the core's port.
fn write_dotenv(folder: &Path, url: &str, core: u16) {
    let text = format!(
        "APP_HOST=127.0.0.1\nAPP_PORT={core}\nMAX_IN_FLIGHT=3\nPER_USER_MAX=1\n\
         RATE_WINDOW_SECONDS=120\nRATE_MAX_MESSAGES=4\n\n# Modelo\nGROQ_API_KEY=\"clave-de-prueba\"\n\
         MODEL_NAME=modelo-propio\nLLM_URL={url}\nLLM_TEMPERATURE=0.3\nLLM_MAX_TOKENS=77\n\
         LLM_TIMEOUT_SECONDS=9\nLLM_MAX_RETRIES=2\nLLM_BACKOFF_INITIAL=0.01\nLLM_BACKOFF_MAX=0.02\n\
         LLM_HISTORY_MAX_MESSAGES=2\nLLM_INPUT_TOKEN_BUDGET=2500\nLLM_CHARS_PER_TOKEN=3.5\n\
         WS_HOST=127.0.0.1\nWS_PORT=0\nTCP_HOST=127.0.0.1\nTCP_PORT={core}\n"
    );
    std::fs::write(folder.join(".env"), text).unwrap();
}

#[tokio::test]
async fn reads_the_prototype_dotenv() {
    let standin = LlmStandin::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_dotenv(folder.path(), &standin.url(), 0);
    let core = Program::start(Kind::Core, folder.path(), &[]).await;
    write_dotenv(folder.path(), &standin.url(), core.address().port());
    let gateway = Program::start(Kind::Gateway, folder.path(), &[]).await;

    let mut person = TestClient::new(WsPeer::connect(gateway.address(), Face::Frames).await.unwrap());
    let welcome = person.hello().await;
    assert_eq!(welcome["limits"]["rate"], json!({"messages": 4, "window_ms": 120_000}));
    let mut traces = Vec::new();
    for id in ["a", "b", "c"] {
        let reply = person.ask(id, &format!("mensaje {id}")).await;
        assert_eq!((reply.text, &reply.done["model"]), (format!("eco: mensaje {id}"), &json!("modelo-propio")));
        traces.push(reply.accepted["trace_id"].as_str().unwrap().to_owned());
    }
    for (request, (number, trace)) in standin.requests().iter().zip((1..).zip(&traces)) {
        let body = request.body();
        assert_eq!(body["model"], "modelo-propio");
        assert_eq!(
            (&body["temperature"], &body["max_tokens"], &body["stream"]),
            (&json!(0.3), &json!(77), &json!(true))
        );
        assert_eq!(request.authorization(), Some("Bearer clave-de-prueba"));
        assert_eq!(request.request_id(), Some(format!("Usuario-1:m{number}").as_str()));
        assert_eq!(request.traceparent().unwrap().split('-').nth(1), Some(trace.as_str()));
    }
    // System prompt, two earlier lines, and the message.
    let roles = standin.requests()[2].body();
    let roles: Vec<_> = roles["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);

    // Two attempts, then the companion; the fifth message exceeds the limit.
    standin.push(Answer::status(500));
    standin.push(Answer::status(500));
    assert_eq!(person.ask("d", "mensaje d").await.done["source"], "companion");
    assert_eq!(standin.total(), 5);
    person.say("e", "mensaje e").await;
    assert_eq!(person.frame().await["code"], "rate_limited");
}
