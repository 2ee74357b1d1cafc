//! Each example as a process, with the real services.

#![expect(clippy::unwrap_used, reason = "an unexpected value fails the test")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use protocol::Face;
use tempfile::TempDir;
use testkit::peer::{ConnectionEnd, Peer as _};
use testkit::process::{Launch, Service, built};
use testkit::watchdog::{LIMIT, within};
use testkit::ws_peer::WsPeer;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Starts an example at a free port and returns the first line that it prints.
async fn start(example: &str) -> (Service, String) {
    let program = built(&format!("examples/{example}")).unwrap();
    let service = Launch::new(program).argument("127.0.0.1:0").spawn().unwrap();
    let line = service.wait_for_log(|_| true).await.unwrap().unwrap();
    (service, line)
}

/// Starts a core, by default without a model.
async fn core(folder: &Path, settings: &[(&str, &str)]) -> Service {
    let launch = Launch::new(built("core-server").unwrap()).directory(folder).env("APP_PORT", "0");
    settings.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start().await.unwrap()
}

/// Output of a run of the bot.
struct Run {
    stdout: String,
    stderr: String,
}

/// Runs the bot in `folder` with `input` until it ends.
async fn bot(folder: &Path, core: &Service, input: &str) -> Run {
    let mut command = Command::new(built("examples/bot").unwrap());
    command.arg(format!("tcp://{}", core.listen().unwrap())).arg("bot.token").current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut bot = command.spawn().unwrap();
    // Dropped after the write: the end of its input ends the bot.
    bot.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = within(LIMIT, bot.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let run = Run { stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(output.status.success(), "{}", run.stderr);
    run
}

#[tokio::test]
async fn bot_continues_its_conversation() {
    let folder = TempDir::new().unwrap();
    let core = core(folder.path(), &[]).await;
    let first = bot(folder.path(), &core, "hola\n\nno puedo dormir\n").await;
    assert_eq!(first.stdout.lines().count(), 2, "{}", first.stdout);
    let session = first.stderr.trim().strip_prefix("began ").unwrap();
    let second = bot(folder.path(), &core, "me quiero morir\n").await;
    assert_eq!(second.stderr.trim(), format!("resumed {session}"));
    // Help lines, indented, and an answer.
    assert!(second.stdout.lines().any(|line| line.starts_with("  ")), "{}", second.stdout);
}

#[tokio::test]
async fn core_answers_with_the_echo_model() {
    let folder = TempDir::new().unwrap();
    let (_model, line) = start("echo-model").await;
    let url = line.strip_prefix("LLM_URL=").unwrap();
    let core = core(folder.path(), &[("LLM_URL", url), ("MODEL_NAME", "echo")]).await;
    let run = bot(folder.path(), &core, "hoy fue un día largo\n").await;
    assert_eq!(run.stdout.trim(), "hoy fue un día largo");
}

#[tokio::test]
async fn gateway_in_front_of_the_line_server() {
    let folder = TempDir::new().unwrap();
    let (_server, line) = start("line-server").await;
    let address: SocketAddr = line.parse().unwrap();
    let launch = Launch::new(built("ws-gateway").unwrap()).directory(folder.path());
    let launch = launch.env("WS_PORT", "0").env("TCP_PORT", address.port().to_string());
    let gateway = launch.start().await.unwrap();
    let gateway = gateway.listen().unwrap();

    let mut person = WsPeer::connect(gateway, Face::Plain).await.unwrap();
    let exchange = async {
        let greeting = person.next_line().await.unwrap().unwrap();
        assert!(greeting.starts_with("Hello, 127.0.0.1."), "{greeting}");
        for (line, answer) in [("¿qué tal?", "¿QUÉ TAL?"), ("salir", "Good-bye.")] {
            person.send_line(line).await.unwrap();
            assert_eq!(person.next_line().await.unwrap().as_deref(), Some(answer));
        }
        assert_eq!(person.next_line().await.unwrap(), None);
        // The gateway has read the closing line.
        assert_eq!(person.ending(), Some(ConnectionEnd::WebSocket(1000)));
    };
    within(LIMIT, exchange).await.unwrap();

    let mut program = WsPeer::connect(gateway, Face::Frames).await.unwrap();
    let refused = async {
        let error = program.next_line().await.unwrap().unwrap();
        assert!(error.contains("version_unsupported"), "{error}");
        assert_eq!(program.next_line().await.unwrap(), None);
        assert_eq!(program.ending(), Some(ConnectionEnd::WebSocket(1008)));
    };
    within(LIMIT, refused).await.unwrap();
}
