//! Disclosure of AI and operator, anonymous statistics, and erasure of unreachable conversations.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use protocol::server_frame::Role;
use protocol::{Face, Locale, ResumeToken, SessionId, Timestamp, UserText};
use serde_json::{Value, json};
use store::keys::Keyring;
use store::{NewEntry, NewSession, ReferralBatch, ReferralCount, SqliteStore, Store as _};
use testkit::llm::{Answer, Fallback};
use testkit::process::built;
use testkit::watchdog::{LIMIT, within};

use crate::http::{self, POLL_INTERVAL};
use crate::metrics::Metrics;
use crate::program::Program;
use crate::single_node::Plan;
use crate::test_client::TestClient;

const DAY_MS: i64 = 86_400_000;

/// Runs `core-server` with `arguments` in `folder` on `input`; returns its exit code and output.
fn core(folder: &Path, arguments: &[&str], input: &[u8]) -> (Option<i32>, String) {
    let mut child = Command::new(built("core-server").unwrap())
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn explain_works_without_settings_and_writes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    // An invalid configuration.
    std::fs::write(folder.path().join(".env"), "APP_PORT=no\nNO_SUCH_NAME=1\n").unwrap();
    let (code, reported) = core(folder.path(), &["explain", "--json"], b"hola\nquiero morirme\n\xff\n");
    assert_eq!(code, Some(0), "{reported}");
    let lines: Vec<Value> = reported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["level"], &lines[1]["level"]), (&json!("none"), &json!("high")), "{reported}");
    assert_eq!(lines[2], json!({"line": 3, "error": "invalid_utf8"}));
    let (code, reported) = core(folder.path(), &["explain", "--conversation"], "quiero morirme\n".as_bytes());
    assert!(code == Some(0) && reported.starts_with("1: high, remembered high, C-SSRS "), "{reported}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, [".env"]);
    assert_eq!(core(folder.path(), &["explain", "--nothing"], b"").0, Some(2));
}

#[tokio::test]
async fn discloses_ai_and_operator() {
    let plan = Plan::with_gateway()
        .both("OPERATOR_NAME", "Casa <del> Encuentro")
        .both("OPERATOR_CONTACT", "hola@casa.example")
        .both("RETENTION_DAYS", "30");
    let mut node = plan.core("MODEL_NAME", "modelo-1").start().await;
    let mut program = node.at_gateway(Face::Frames).await;
    program.send(json!({"type": "request", "id": "r1", "method": "about"})).await;
    let about = program.frame().await;
    let result = &about["result"];
    assert_eq!((&about["type"], &about["id"]), (&json!("response"), &json!("r1")), "{about}");
    assert_eq!(result["operator"], "Casa <del> Encuentro");
    assert_eq!(result["contact"], "hola@casa.example");
    assert_eq!((&result["retention_days"], &result["unreached_days"]), (&json!(30), &json!(365)));
    assert_eq!((&result["kept"], &result["models"][0]["name"]), (&json!(true), &json!("modelo-1")));
    assert_eq!(result["models"][0]["host"], "127.0.0.1");
    program.send(json!({"type": "hello", "v": 1, "locale": "es-AR"})).await;
    assert_eq!(program.frame().await["type"], "welcome");
    let notice: Value = serde_json::from_str(&program.line().await).unwrap();
    assert_eq!((&notice["type"], &notice["code"]), (&json!("notice"), &json!("ai")), "{notice}");
    assert!(notice["text"].as_str().unwrap().starts_with("Soy una inteligencia artificial, no una persona"));

    let mut person = node.at_core().await;
    let greeting = person.lines(3).await;
    assert_eq!(greeting[1], "Bienvenido a PsicoIA: soy una inteligencia artificial, no una persona.");
    person.write("/acerca").await;
    person.write("/ia").await;
    let mut reported = vec![person.line().await];
    while !reported.last().unwrap().starts_with("Soy una inteligencia artificial") {
        reported.push(person.line().await);
    }
    let reported = reported.join("\n");
    for want in ["Casa <del> Encuentro", "hola@casa.example", "30 días", "365 días", "modelo-1 (127.0.0.1)", "/borrar"]
    {
        assert!(reported.contains(want), "{want}: {reported}");
    }
    pages(node.gateway()).await;
}

async fn pages(gateway: &Program) {
    for (path, wants) in [
        (
            "/acerca?lang=es",
            &["<html lang=\"es\">", "Casa &lt;del&gt; Encuentro", "mailto:hola@casa.example", "30 días"][..],
        ),
        ("/about", &["<html lang=\"en\">", "30 days", "365 days"]),
        ("/proteccion", &["<html lang=\"es\">", "Riesgo inmediato", "href=\"tel:024\"", "no fueron revisados"]),
        ("/protection", &["<html lang=\"en\">", "Immediate risk", "href=\"tel:988\"", "not been reviewed"]),
    ] {
        let (status, page) = http::get(gateway.address(), path).await.unwrap();
        assert_eq!(status, 200, "{path}");
        for want in wants {
            assert!(page.contains(want), "{path}: no {want}");
        }
        assert!(!page.contains("<script") && !page.contains("style="), "{path}");
    }
}

#[tokio::test]
async fn report_prints_one_object_of_counts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data/psicoia.db");
    let store = SqliteStore::open(&file, Keyring::default()).await.unwrap();
    let [month, kind, level, language] = ["2026-11", "suicide", "high", "es"].map(str::to_owned);
    let counts = vec![ReferralCount { month, kind, level, language, count: 2 }];
    store.count_referrals(ReferralBatch { source: 1, number: 1, counts }).await.unwrap();
    drop(store);
    let (code, reported) = core(folder.path(), &["report", "--year", "2026", "--json"], b"");
    let row = json!({"month": "2026-11", "kind": "suicide", "level": "high", "language": "es", "count": 2});
    assert_eq!(code, Some(0), "{reported}");
    assert_eq!(
        serde_json::from_str::<Value>(&reported).unwrap(),
        json!({"year": 2026, "total": 2, "referrals": [row]})
    );
    assert_eq!(core(folder.path(), &["report"], b"").0, Some(2));
}

/// Counts are written when the core drains, at the latest.
#[tokio::test]
async fn counts_shown_help_without_personal_data() {
    let mut node = Plan::default().start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    person.say("a", "quiero morirme").await;
    person.frame_of("done").await;
    drop(person);
    node.core.terminate().await;
    let (code, reported) = core(&node.subfolder("core"), &["report", "--year", &year(), "--json"], b"");
    let reported: Value = serde_json::from_str(&reported).unwrap();
    assert_eq!((code, &reported["total"]), (Some(0), &json!(1)), "{reported}");
    let row = &reported["referrals"][0];
    assert_eq!((&row["kind"], &row["level"], &row["language"]), (&json!("suicide"), &json!("high"), &json!("es")));
}

fn year() -> String {
    core_server::turn::now().to_string().chars().take(4).collect()
}

#[tokio::test]
async fn erases_unreachable_conversations() {
    for (days, is_kept) in [("365", false), ("500", true), ("0", true)] {
        let folder = tempfile::tempdir().unwrap();
        let token = conversation(folder.path(), 400).await;
        let settings = [("DATABASE_URL", "sqlite://data/psicoia.db"), ("UNREACHED_DAYS", days), ("APP_PORT", "0")];
        let settings = settings.map(|(name, value)| (name, value.to_owned()));
        let core = Program::start(crate::program::Kind::Core, folder.path(), &settings).await;
        if !is_kept {
            core.wait_for("old entries and sessions removed").await;
        }
        let peer = testkit::line_peer::LinePeer::connect(core.address()).await.unwrap();
        let mut person = TestClient::new(peer);
        person.send(json!({"type": "hello", "v": 1, "resume": token.expose()})).await;
        let first = person.first_frame().await.unwrap();
        assert_eq!(first["type"] == "welcome", is_kept, "{days}: {first}");
    }
}

/// Creates a conversation last used `days_ago` days ago; returns its resume token.
async fn conversation(folder: &Path, days_ago: i64) -> ResumeToken {
    let store = Arc::new(SqliteStore::open(&folder.join("data/psicoia.db"), Keyring::default()).await.unwrap());
    let at = Timestamp::from_unix_ms(core_server::turn::now().unix_ms() - days_ago * DAY_MS);
    let token = ResumeToken::random();
    let new = NewSession {
        id: SessionId::random(),
        token: token.clone(),
        locale: Locale::default(),
        country: None,
        created_at: at,
    };
    let user = store.create_session(new).await.unwrap().user;
    let text = UserText::new("hola");
    let entry =
        NewEntry { id: "a".parse().unwrap(), role: Role::User, text, at, finish: None, source: None, help: None };
    store.append(user, 0, entry).await.unwrap();
    token
}

#[tokio::test]
async fn companion_answers_beyond_the_token_budget() {
    let answer = Answer { usage: true, ..Answer::text("acá estoy") };
    let plan = Plan::default().core("LLM_TOKENS_PER_DAY", 1).core("LLM_SUMMARY", "off");
    let node = plan.fallback(Fallback::Answer(answer)).start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    assert_eq!(http::get(node.core.admin(), "/readyz").await.unwrap().0, 200);
    let first = person.ask("a", "hoy cociné arroz").await;
    assert_eq!((first.text.as_str(), &first.done["source"]), ("acá estoy", &json!("llm")));
    let calls = node.standin.total();
    let second = person.ask("b", "y mañana sopa").await;
    assert_eq!((&second.done["source"], node.standin.total()), (&json!("companion"), calls));
    let (status, reported) = http::get(node.core.admin(), "/readyz").await.unwrap();
    assert!(
        status == 200 && reported.contains("degraded") && reported.contains("LLM_TOKENS_PER_DAY is used up"),
        "{reported}"
    );
    let used = usage(&first.done);
    Metrics::of(&node.core).await.assert(&[
        ("psicoia_core_model_tokens_per_day", 1.0),
        ("psicoia_core_model_tokens_today", used),
        ("psicoia_core_model_tokens_total", used),
    ]);
}

fn usage(done: &Value) -> f64 {
    ["prompt_tokens", "completion_tokens"].iter().map(|field| done["usage"][field].as_f64().unwrap()).sum()
}

/// A call stopped before its first chunk counts too.
#[tokio::test]
async fn stopped_answer_costs_its_prompt() {
    let node = Plan::default().fallback(Fallback::Answer(Answer::text("acá estoy").paced(60_000, 0))).start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    person.say("a", "hoy cociné arroz").await;
    node.standin.wait_for(|requests| !requests.is_empty()).await.unwrap();
    person.send(json!({"type": "stop", "id": "a"})).await;
    person.frame_of("done").await;
    let counted = within(LIMIT, async {
        loop {
            let metrics = Metrics::of(&node.core).await;
            if 10.0 < metrics.get("psicoia_core_model_tokens_total") {
                return;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    });
    counted.await.unwrap();
}
