//! `psicoia-admin`, an operator's program, against running services.

use std::process::{Output, Stdio};

use protocol::Face;
use serde_json::Value;
use testkit::process::built;
use testkit::watchdog::{LIMIT, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::metrics::Metrics;
use crate::single_node::{Plan, SingleNode};

const RISK: &str = "me quiero matar";

fn program() -> Command {
    let mut command = Command::new(built("psicoia-admin").unwrap());
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// Admin ports of a node with one gateway, as the option takes them.
fn admin_ports(node: &mut SingleNode) -> String {
    format!("{},{}", node.core.admin(), node.gateway().admin())
}

/// Runs a command to its exit; its output is one line of JSON.
async fn run(arguments: &[&str]) -> (Option<i32>, Value) {
    let output: Output = within(LIMIT, program().args(arguments).output()).await.unwrap().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let json = serde_json::from_str(&stdout);
    (output.status.code(), json.unwrap_or_else(|_| panic!("{stdout}{}", String::from_utf8_lossy(&output.stderr))))
}

/// Finding of the doctor named `check`.
fn finding<'a>(report: &'a Value, check: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("no {check} in {report}"))
}

async fn doctor(node: &mut SingleNode, core: &str) -> (Option<i32>, Value) {
    let (page, admin) = (format!("http://{}/", node.gateway().address()), admin_ports(node));
    run(&["doctor", "--json", "--timeout", "3", "--url", &page, "--core", core, "--admin", &admin]).await
}

#[tokio::test]
async fn top_shows_figures_of_all_services() {
    let mut node = Plan::with_gateway().core("RATE_MAX_MESSAGES", 1_000_000).start().await;
    let mut at_risk = node.at_core().await;
    at_risk.hello().await;
    at_risk.say("risk", RISK).await;
    at_risk.frame_of("support").await;
    let mut person = node.at_gateway(Face::Frames).await;
    person.hello().await;
    let admin = admin_ports(&mut node);
    let talk = async {
        for number in 0.. {
            person.ask(&format!("m{number}"), "hola").await;
        }
    };
    let arguments = ["top", "--once", "--json", "--interval", "0.5", "--admin", &admin];
    let (code, overview) = tokio::select! {
        seen = run(&arguments) => seen,
        () = talk => unreachable!("the person never stops"),
    };
    assert_eq!(code, Some(0), "{overview}");
    let (total, services) = (&overview["total"], overview["services"].as_array().unwrap());
    assert_eq!((&total["people"], &total["sessions"]), (&1.0.into(), &2.0.into()), "{overview}");
    for positive in
        [&total["turns_per_second"], &total["first_token"]["p50"], &total["turn"]["p95"], &total["memory_bytes"]]
    {
        assert!(positive.as_f64().is_some_and(|value| 0.0 < value), "{overview}");
    }
    let shown: f64 = total["help_shown"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
    assert!(1.0 <= shown, "{overview}");
    assert_eq!(total["breakers"].as_object().unwrap().values().collect::<Vec<_>>(), ["closed"]);
    assert_eq!(total["cores"][node.core.address().to_string()]["connections"], 1.0, "{overview}");
    for (service, kind) in services.iter().zip(["core", "gateway"]) {
        assert_eq!((&service["kind"], &service["state"]), (&kind.into(), &"ready".into()), "{overview}");
        assert_eq!(service["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[tokio::test]
async fn top_names_a_service_that_does_not_answer() {
    let node = Plan::default().start().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let admin = format!("{},{closed}", node.core.admin());
    let (code, overview) = run(&["top", "--once", "--json", "--interval", "0.05", "--admin", &admin]).await;
    let services = overview["services"].as_array().unwrap();
    assert_eq!((code, &services[0]["state"], &services[1]["state"]), (Some(0), &"ready".into(), &"unreachable".into()));
    assert!(services[1]["reason"].as_str().unwrap().contains("refused"), "{overview}");
}

/// In a terminal, which `script` provides: draws, and ends by its key.
#[tokio::test]
async fn top_draws_in_a_terminal() {
    let node = Plan::default().start().await;
    let top = format!(
        "stty cols 150 rows 30; exec {} top --admin {}",
        built("psicoia-admin").unwrap().display(),
        node.core.admin()
    );
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--command", top.as_str(), "/dev/null"])
        .env("TERM", "xterm")
        .kill_on_drop(true);
    let mut terminal = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keys, mut screen) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let mut seen = Vec::new();
    let drawn = within(LIMIT, async {
        while !String::from_utf8_lossy(&seen).contains("freeze") {
            assert_ne!(screen.read_buf(&mut seen).await.unwrap(), 0, "{}", String::from_utf8_lossy(&seen));
        }
    });
    drawn.await.unwrap();
    assert!(String::from_utf8_lossy(&seen).contains(&node.core.admin().to_string()));
    keys.write_all(b"q").await.unwrap();
    let rest = within(LIMIT, screen.read_to_end(&mut seen)).await.unwrap();
    assert!(rest.is_ok());
    assert_eq!(within(LIMIT, terminal.wait()).await.unwrap().unwrap().code(), Some(0));
}

#[tokio::test]
async fn doctor_finds_a_healthy_installation() {
    let mut node = Plan::with_gateway().start().await;
    let core = node.core.address().to_string();
    let (code, report) = doctor(&mut node, &core).await;
    for check in ["page", "clock", "WebSocket", "core port", "versions"] {
        assert_eq!(finding(&report, check)["state"], "ok", "{report}");
    }
    for (address, check) in
        [(node.core.admin(), "model"), (node.core.admin(), "store"), (node.gateway().admin(), "cores")]
    {
        assert_eq!(finding(&report, &format!("{address} {check}"))["state"], "ok", "{report}");
    }
    // This machine's disk and limit on files may deserve a warning.
    assert!(matches!(code, Some(0 | 1)), "{report}");
    // Nothing is left behind: no session was opened.
    let metrics = Metrics::of(&node.core).await;
    assert!(2.0 <= metrics.get("psicoia_core_connections_opened_total"));
    assert!(!node.logs().iter().any(|line| line.contains("session opened")));
}

#[tokio::test]
async fn doctor_names_failures_and_remedies() {
    let mut node = Plan::with_gateway().start().await;
    let core = node.core.address().to_string();
    // Another program behind the core's address.
    let standin = node.standin.url().replace("http://", "");
    let (code, report) = doctor(&mut node, standin.split('/').next().unwrap()).await;
    assert_eq!((code, &finding(&report, "core port")["state"]), (Some(2), &"failure".into()), "{report}");

    node.core.kill().await;
    let (code, report) = doctor(&mut node, &core).await;
    assert_eq!((code, &report["state"]), (Some(2), &"failure".into()), "{report}");
    assert_eq!(finding(&report, "page")["state"], "ok", "{report}");
    let admin = node.core.admin().to_string();
    for check in ["WebSocket", "core port", admin.as_str()] {
        let finding = finding(&report, check);
        assert_eq!(finding["state"], "failure", "{report}");
        assert!(!finding["remedy"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn rejects_bad_command_lines() {
    for arguments in [&["top", "--json"][..], &["doctor", "--admin", "nowhere"], &["doctor", "--timeout", "0"], &[]] {
        let output = within(LIMIT, program().args(arguments).output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}
