use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use testkit::llm::Answer;
use testkit::watchdog::{LIMIT, within};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::fixture::{Fixture, one_piece};
use crate::scripted_server::{ScriptedConnections, ScriptedServer};

async fn psicoia(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_psicoia"))
        .args(arguments)
        .env_clear()
        .env("LANG", "es_AR.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // A program that exited early does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    within(LIMIT, child.wait_with_output()).await.unwrap().unwrap()
}

fn file(folder: &Path) -> String {
    folder.join("state/session").to_str().unwrap().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn events(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn answers_each_piped_line_and_resumes() {
    let answer = one_piece("buenas\u{1b}[31m noches\u{7}");
    let fixture = Fixture::start(answer, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (address, session) = (format!("tcp://{}", fixture.core), file(folder.path()));

    // The last line has no newline.
    let output = psicoia(&[&address, "--session-file", &session], "hola\n\n¿qué tal?").await;
    assert_eq!(text(&output.stdout), "buenas noches\nbuenas noches\n", "{output:?}");
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));

    let address = format!("ws://{}/ws", fixture.gateway);
    let output = psicoia(&[&address, "--session-file", &session, "--json"], "una más\n").await;
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    let events = events(&output);
    let types = types(&events);
    assert_eq!((&types[..3], types.last().copied()), (&["connected", "notice", "accepted"][..], Some("closed")));
    assert_eq!((&events[0]["resumed"], &events[0]["seq"], &events[2]["seq"]), (&true.into(), &4.into(), &5.into()));
    assert_eq!(events[1]["code"], "ai");
    let done = events.iter().find(|event| event["type"] == "done").unwrap();
    assert_eq!((&done["seq"], &done["finish"]), (&6.into(), &"stop".into()));
    assert_eq!(events.last().unwrap()["reason"], "bye");

    let output = psicoia(&[&address, "--session-file", &session, "--new", "--json"], "").await;
    assert_eq!(self::events(&output)[0]["resumed"], false);
}

#[tokio::test]
async fn replaces_unknown_session_unless_named() {
    let fixture = Fixture::start(one_piece("buenas"), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (address, session) = (format!("tcp://{}", fixture.core), file(folder.path()));
    let unknown = "x".repeat(43);
    std::fs::create_dir_all(folder.path().join("state")).unwrap();
    std::fs::write(&session, &unknown).unwrap();

    let output = psicoia(&[&address, "--session-file", &session], "hola\n").await;
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "buenas\n"));
    assert!(text(&output.stderr).contains("Empezamos una nueva"), "{output:?}");
    assert_eq!(
        (tokens(&session).len(), &tokens(&session)[1]),
        (2, &unknown),
        "the server may have lost it for a while"
    );

    let output = psicoia(&[&address, "--resume", &unknown], "hola\n").await;
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(66), ""));
    assert!(!text(&output.stderr).is_empty());
}

/// Tokens of a session file, the current one first.
fn tokens(session: &str) -> Vec<String> {
    let text = std::fs::read_to_string(session).unwrap();
    text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn keeps_token_across_a_server_with_another_database() {
    let (right, wrong) = (Fixture::start(one_piece("buenas"), &[]).await, Fixture::start(one_piece("otra"), &[]).await);
    let folder = tempfile::tempdir().unwrap();
    let session = file(folder.path());
    let run = async |fixture: &Fixture, more: &[&str], input: &str| {
        let address = format!("tcp://{}", fixture.core);
        let output = psicoia(&[&[address.as_str(), "--session-file", &session, "--json"], more].concat(), input).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let events = events(&output);
        let connected = events.iter().find(|event| event["type"] == "connected").unwrap();
        (connected["resumed"] == true, connected["seq"].as_u64().unwrap(), types(&events)[0].to_owned())
    };
    assert_eq!(run(&right, &[], "hola\n").await, (false, 0, "connected".to_owned()));
    let own = tokens(&session)[0].clone();
    assert_eq!(run(&wrong, &[], "").await, (false, 0, "session_lost".to_owned()));
    assert_eq!(tokens(&session)[1], own);
    assert_eq!(run(&right, &[], "").await, (true, 2, "earlier_session".to_owned()));
    assert_eq!(tokens(&session)[0], own);
    // `--new` keeps it too.
    assert_eq!(run(&right, &["--new"], "").await, (false, 0, "connected".to_owned()));
    assert_eq!((tokens(&session).len(), tokens(&session)[1].clone()), (3, own));
    assert_eq!(run(&right, &[], "").await, (true, 0, "connected".to_owned()));
}

#[tokio::test]
async fn concurrent_first_starts_keep_both_sessions() {
    let fixture = Fixture::start(one_piece("buenas"), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (address, session) = (format!("tcp://{}", fixture.core), file(folder.path()));
    let run = async || psicoia(&[&address, "--session-file", &session, "--json"], "hola\n").await;
    let (one, other) = tokio::join!(run(), run());
    let of = |output: &Output| events(output)[0]["resume"].as_str().unwrap().to_owned();
    let mut begun = vec![of(&one), of(&other)];
    begun.sort();
    begun.dedup();
    let mut kept = tokens(&session);
    kept.sort();
    assert_eq!(kept, begun);
}

#[tokio::test]
async fn exits_with_documented_codes() {
    let closed_address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let closed_address = format!("tcp://{closed_address}");
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("file");
    std::fs::write(&taken, "").unwrap();
    let below = taken.join("session");
    let fixture = Fixture::start(one_piece("buenas"), &[]).await;
    let address = format!("tcp://{}", fixture.core);
    let session = file(folder.path());
    let long = format!("{}\n", "a".repeat(9_000));
    for (arguments, input, code) in [
        (vec!["http://x"], "", 2),
        (vec!["--resume", "x", "--new"], "", 2),
        (vec!["--help"], "", 0),
        (vec![&closed_address, "--session-file", &session], "hola\n", 69),
        (vec![&address, "--session-file", below.to_str().unwrap()], "hola\n", 73),
        (vec![&address, "--session-file", &session], &long, 75),
        (vec![&address, "--session-file", &session, "--json"], &long, 75),
        (vec![&address, "--session-file", &session], "", 0),
    ] {
        let output = psicoia(&arguments, input).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    }
}

#[tokio::test]
async fn shows_safety_plan_with_help_lines() {
    let fixture = Fixture::start(one_piece("buenas"), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (address, session) = (format!("tcp://{}", fixture.core), file(folder.path()));
    let arguments = [address.as_str(), "--session-file", &session];
    let output = psicoia(&arguments, "/plan\n").await;
    let none = "Todavía no hay un plan de seguridad en esta charla.\n";
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), none));
    let wishes = "me voy a matar esta noche, ya tengo todo listo\nquiero hacer el plan de seguridad\n";
    let output = psicoia(&arguments, &format!("{wishes}no duermo\ncaminar\n")).await;
    assert_eq!((output.status.code(), fixture.standin.total()), (Some(0), 0), "{output:?}");
    let output = psicoia(&arguments, "/plan\n").await;
    let printed = text(&output.stdout);
    let steps = "Mi plan de seguridad\n1. Señales de que se acerca un mal momento: no duermo\n\
                 2. Lo que puedo hacer por mi cuenta: caminar\nSi el peligro aumenta: ";
    assert!(printed.starts_with(steps) && printed.contains("findahelpline.com"), "{printed}");
}

#[tokio::test]
async fn reports_truncated_answer() {
    let fixture = Fixture::start(Answer { cut: true, ..one_piece("hasta acá") }, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (address, session) = (format!("tcp://{}", fixture.core), file(folder.path()));
    let output = psicoia(&[&address, "--session-file", &session], "hola\n").await;
    assert_eq!(text(&output.stdout), "hasta acá\n");
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), "psicoia: La respuesta se cortó.\n"));
}

#[tokio::test]
async fn retries_rate_limited_messages() {
    let settings = [("RATE_MAX_MESSAGES", "1"), ("RATE_WINDOW_SECONDS", "1")];
    let fixture = Fixture::start(one_piece("buenas"), &settings).await;
    let folder = tempfile::tempdir().unwrap();
    let (address, session) = (format!("tcp://{}", fixture.core), file(folder.path()));
    let output = psicoia(&[&address, "--session-file", &session], "uno\ndos\n").await;
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "buenas\nbuenas\n"), "{output:?}");
    // With `--json` the refusal is reported, not retried.
    let output = psicoia(&[&address, "--session-file", &session, "--json"], "uno\ndos\n").await;
    assert!(types(&events(&output)).contains(&"refused"), "{output:?}");
    assert_eq!(types(&events(&output)).last(), Some(&"closed"));
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(75), ""));
}

#[tokio::test]
async fn names_unreachable_server_and_remedy() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    for address in [closed.clone(), format!("ws://{closed}/ws")] {
        let output = psicoia(&[&address], "").await;
        let printed = text(&output.stderr);
        assert_eq!(output.status.code(), Some(69));
        let want = format!("psicoia: cannot connect to {closed}: Connection refused\n");
        assert!(printed.starts_with(&want) && printed.contains("scripts/run"), "{printed}");
    }
}

#[tokio::test]
async fn shows_help_lines_offline() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = free.local_addr().unwrap().to_string();
    drop(free);
    for (input, want, times) in [
        ("/crisis\n", "0800-999-0091", 1),
        ("hola\n/URGENCIA ya\n", "0800-999-0091", 2),
        ("me quiero morir\nno doy más\n", "0800-999-0091", 1),
        ("/pais Chile\n", "*4141", 1),
        ("\n", "0800-999-0091", 0),
    ] {
        let output = psicoia(&[&closed, "--country", "AR"], input).await;
        let printed = text(&output.stdout);
        assert_eq!((output.status.code(), printed.matches(want).count()), (Some(69), times), "{input:?}: {printed}");
    }
    let output = psicoia(&[&closed, "--country", "AR", "--json"], "/crisis\n").await;
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(69), ""));
}

/// The server accepts and sends nothing.
#[tokio::test]
async fn shows_help_lines_while_connecting() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_psicoia"))
        .args([&server.local_addr().unwrap().to_string(), "--country", "AR"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"/crisis\n").await.unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within(LIMIT, output.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.contains("0800-999-0091"), "{line}");
}

#[tokio::test]
async fn sends_piped_lines_without_waiting_for_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (address, session) = (listener.local_addr().unwrap().to_string(), file(folder.path()));
    let arguments = [address.as_str(), "--session-file", &session, "--country", "UY"];
    let served = async {
        let mut server = ScriptedServer::accept(&listener).await;
        let (one, two) = (server.message("uno").await, server.message("me quiero morir").await);
        server.help(&two).await;
        // The second answer completes first, while the first one streams.
        server.say(&format!(r#"{{"type":"delta","id":"{one}","offset":0,"text":"pri"}}"#)).await;
        server.answer(&two, 4, "segunda").await;
        server.say(&format!(r#"{{"type":"delta","id":"{one}","offset":3,"text":"mera"}}"#)).await;
        server.answer(&one, 2, "primera").await;
        server
    };
    let run = psicoia(&arguments, "uno\nme quiero morir\n/crisis\n");
    let (output, _server) = tokio::join!(run, served);
    let printed = text(&output.stdout);
    assert!(printed.contains("No estás en soledad.\n  Línea: 135 (24 h)\n"), "{printed}");
    assert!(printed.contains("0800 0767") && !printed.contains('?'), "the country is known: {printed}");
    assert!(printed.find("primera").unwrap() < printed.find("segunda\n").unwrap(), "{printed}");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn strips_escape_sequences_from_refusals() {
    let error = r#"{"type":"error","code":"unauthorized","message":"\u001b]0;x\u0007no\u009b2J"}"#;
    let server = ScriptedConnections::start(vec![(error.to_owned(), true)]).await;
    let output = psicoia(&[&server.address.to_string()], "").await;
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(77), "psicoia: no2J\n"));
}

/// Another device erases the session while the input is open.
#[tokio::test]
async fn reports_one_close_and_fails_when_input_is_left() {
    let fixture = Fixture::start(one_piece("buenas"), &[]).await;
    let address = format!("ws://{}/ws", fixture.gateway);
    let folder = tempfile::tempdir().unwrap();
    for answered in [false, true] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_psicoia"))
            .args([&address, "--new", "--json", "--session-file", &file(folder.path())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        within(LIMIT, output.read_line(&mut line)).await.unwrap().unwrap();
        let connected: Value = serde_json::from_str(&line).unwrap();
        let other = client::Client::builder(address.parse().unwrap()).resume(connected["resume"].as_str().unwrap());
        let mut other = other.connect().await.unwrap();
        if !answered {
            // Erase while its answer is awaited.
            fixture.standin.push(Answer { hang: Some(testkit::llm::Hang::Headers), ..one_piece("nunca") });
            input.as_mut().unwrap().write_all(b"hola\n").await.unwrap();
            input = None;
            within(LIMIT, output.read_line(&mut line)).await.unwrap().unwrap();
        }
        other.erase().await.unwrap();
        let mut rest = String::new();
        within(LIMIT, output.read_to_string(&mut rest)).await.unwrap().unwrap();
        let status = within(LIMIT, child.wait()).await.unwrap().unwrap();
        assert_eq!(rest.matches(r#""type":"closed""#).count(), 1, "{rest}");
        assert_eq!(status.code(), Some(75), "{rest}");
        drop(input);
    }
}
