use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use testkit::llm::Answer;
use testkit::watchdog::{LIMIT, within};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::silent::{Scripted, Silent};
use crate::world::{World, says};

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
    // One that has ended already does not read it.
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
async fn a_pipe_gets_an_answer_for_each_line_and_the_session_goes_on() {
    let answer = says("buenas\u{1b}[31m noches\u{7}");
    let world = World::start(answer, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (address, session) = (format!("tcp://{}", world.core), file(folder.path()));

    // The last line has no ending.
    let output = psicoia(&[&address, "--session-file", &session], "hola\n\n¿qué tal?").await;
    assert_eq!(text(&output.stdout), "buenas noches\nbuenas noches\n", "{output:?}");
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));

    let address = format!("ws://{}/ws", world.gateway);
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
async fn a_forgotten_session_is_begun_anew_and_a_named_one_is_not() {
    let world = World::start(says("buenas"), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (address, session) = (format!("tcp://{}", world.core), file(folder.path()));
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

/// The tokens of a session file, the current one first.
fn tokens(session: &str) -> Vec<String> {
    let text = std::fs::read_to_string(session).unwrap();
    text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_way_back_survives_a_server_with_the_wrong_database() {
    let (right, wrong) = (World::start(says("buenas"), &[]).await, World::start(says("otra"), &[]).await);
    let folder = tempfile::tempdir().unwrap();
    let session = file(folder.path());
    let run = async |world: &World, more: &[&str], input: &str| {
        let address = format!("tcp://{}", world.core);
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
    // Nor is it lost for a new session that was asked for.
    assert_eq!(run(&right, &["--new"], "").await, (false, 0, "connected".to_owned()));
    assert_eq!((tokens(&session).len(), tokens(&session)[1].clone()), (3, own));
    assert_eq!(run(&right, &[], "").await, (true, 0, "connected".to_owned()));
}

#[tokio::test]
async fn two_first_starts_at_once_keep_both_sessions() {
    let world = World::start(says("buenas"), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (address, session) = (format!("tcp://{}", world.core), file(folder.path()));
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
async fn exit_codes() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = format!("tcp://{nobody}");
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("file");
    std::fs::write(&taken, "").unwrap();
    let below = taken.join("session");
    let world = World::start(says("buenas"), &[]).await;
    let address = format!("tcp://{}", world.core);
    let session = file(folder.path());
    let long = format!("{}\n", "a".repeat(9_000));
    for (arguments, input, code) in [
        (vec!["http://x"], "", 2),
        (vec!["--resume", "x", "--new"], "", 2),
        (vec!["--help"], "", 0),
        (vec![&nobody, "--session-file", &session], "hola\n", 69),
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
async fn a_plan_that_was_made_is_shown_with_the_help_lines() {
    let world = World::start(says("buenas"), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (address, session) = (format!("tcp://{}", world.core), file(folder.path()));
    let arguments = [address.as_str(), "--session-file", &session];
    let output = psicoia(&arguments, "/plan\n").await;
    let none = "Todavía no hay un plan de seguridad en esta charla.\n";
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), none));
    let wishes = "me voy a matar esta noche, ya tengo todo listo\nquiero hacer el plan de seguridad\n";
    let output = psicoia(&arguments, &format!("{wishes}no duermo\ncaminar\n")).await;
    assert_eq!((output.status.code(), world.standin.total()), (Some(0), 0), "{output:?}");
    let output = psicoia(&arguments, "/plan\n").await;
    let told = text(&output.stdout);
    let steps = "Mi plan de seguridad\n1. Señales de que se acerca un mal momento: no duermo\n\
                 2. Lo que puedo hacer por mi cuenta: caminar\nSi el peligro aumenta: ";
    assert!(told.starts_with(steps) && told.contains("findahelpline.com"), "{told}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_shown_and_called_so() {
    let world = World::start(Answer { cut: true, ..says("hasta acá") }, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (address, session) = (format!("tcp://{}", world.core), file(folder.path()));
    let output = psicoia(&[&address, "--session-file", &session], "hola\n").await;
    assert_eq!(text(&output.stdout), "hasta acá\n");
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), "psicoia: La respuesta se cortó.\n"));
}

#[tokio::test]
async fn what_is_to_be_sent_later_is_sent_later() {
    let settings = [("RATE_MAX_MESSAGES", "1"), ("RATE_WINDOW_SECONDS", "1")];
    let world = World::start(says("buenas"), &settings).await;
    let folder = tempfile::tempdir().unwrap();
    let (address, session) = (format!("tcp://{}", world.core), file(folder.path()));
    let output = psicoia(&[&address, "--session-file", &session], "uno\ndos\n").await;
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "buenas\nbuenas\n"), "{output:?}");
    // A program is told and decides.
    let output = psicoia(&[&address, "--session-file", &session, "--json"], "uno\ndos\n").await;
    assert!(types(&events(&output)).contains(&"refused"), "{output:?}");
    assert_eq!(types(&events(&output)).last(), Some(&"closed"));
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(75), ""));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_what_to_start() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    for address in [closed.clone(), format!("ws://{closed}/ws")] {
        let output = psicoia(&[&address], "").await;
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(69));
        let want = format!("psicoia: cannot connect to {closed}: Connection refused\n");
        assert!(told.starts_with(&want) && told.contains("scripts/run"), "{told}");
    }
}

#[tokio::test]
async fn help_lines_need_no_server() {
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
        let told = text(&output.stdout);
        assert_eq!((output.status.code(), told.matches(want).count()), (Some(69), times), "{input:?}: {told}");
    }
    let output = psicoia(&[&closed, "--country", "AR", "--json"], "/crisis\n").await;
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(69), ""));
}

/// The connection is neither made nor refused.
#[tokio::test]
async fn help_lines_do_not_wait_for_the_server() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_psicoia"))
        .args([&silent.local_addr().unwrap().to_string(), "--country", "AR"])
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
async fn lines_of_a_pipe_do_not_wait_for_each_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (address, session) = (listener.local_addr().unwrap().to_string(), file(folder.path()));
    let arguments = [address.as_str(), "--session-file", &session, "--country", "UY"];
    let served = async {
        let mut server = Scripted::accept(&listener).await;
        let (one, two) = (server.message("uno").await, server.message("me quiero morir").await);
        server.help(&two).await;
        // The second answer comes first, and while the other one is being written.
        server.say(&format!(r#"{{"type":"delta","id":"{one}","offset":0,"text":"pri"}}"#)).await;
        server.answer(&two, 4, "segunda").await;
        server.say(&format!(r#"{{"type":"delta","id":"{one}","offset":3,"text":"mera"}}"#)).await;
        server.answer(&one, 2, "primera").await;
        server
    };
    let run = psicoia(&arguments, "uno\nme quiero morir\n/crisis\n");
    let (output, _server) = tokio::join!(run, served);
    let told = text(&output.stdout);
    assert!(told.contains("No estás en soledad.\n  Línea: 135 (24 h)\n"), "{told}");
    assert!(told.contains("0800 0767") && !told.contains('?'), "the country is known: {told}");
    assert!(told.find("primera").unwrap() < told.find("segunda\n").unwrap(), "{told}");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// Whatever comes from a server reaches the terminal without its escape sequences.
#[tokio::test]
async fn a_refusal_is_shown_safely() {
    let error = r#"{"type":"error","code":"unauthorized","message":"\u001b]0;x\u0007no\u009b2J"}"#;
    let silent = Silent::start(vec![(error.to_owned(), true)]).await;
    let output = psicoia(&[&silent.address.to_string()], "").await;
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(77), "psicoia: no2J\n"));
}

/// Another device erases the session while lines may still come.
#[tokio::test]
async fn a_conversation_that_the_server_ends_is_closed_once_and_not_well_if_input_is_left() {
    let world = World::start(says("buenas"), &[]).await;
    let address = format!("ws://{}/ws", world.gateway);
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
            // Its answer is awaited when the session goes.
            world.standin.push(Answer { hang: Some(testkit::llm::Hang::Headers), ..says("nunca") });
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
