//! Tests of the program in a pseudo-terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use testkit::llm::Answer;
use testkit::watchdog::{LIMIT, within};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{Receiver, channel};

use crate::fixture::{Fixture, one_piece};
use crate::scripted_server::{ScriptedConnections, ScriptedServer, WELCOME};

const CTRL_C: &str = "\u{3}";

/// `psicoia` in a pseudo-terminal, and its output without escape sequences.
struct Terminal {
    keyboard: File,
    /// Keeps the terminal open, so that its settings stay readable after the exit.
    inside: OwnedFd,
    output: Receiver<Vec<u8>>,
    shown: String,
    child: Child,
}

impl Terminal {
    fn start(columns: u16, address: &str) -> Self {
        let outside = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&outside).unwrap();
        unlockpt(&outside).unwrap();
        tcsetwinsize(&outside, Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&outside, Vec::new()).unwrap();
        let inside = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let end = || Stdio::from(inside.try_clone().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_psicoia"), address])
            .env_clear()
            .envs([("TERM", "xterm"), ("LANG", "es_AR.UTF-8"), ("NO_COLOR", "1"), ("PATH", "/usr/bin:/bin")])
            .env("XDG_STATE_HOME", folder.keep())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let keyboard = File::from(outside);
        let mut screen = keyboard.try_clone().unwrap();
        let (chunks, output) = channel(64);
        thread::spawn(move || {
            let mut chunk = [0; 4_096];
            // Reading fails once the other side is closed.
            while let Ok(count @ 1..) = screen.read(&mut chunk) {
                if chunks.blocking_send(chunk[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { keyboard, inside, output, shown: String::new(), child }
    }

    fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` is shown; takes the output up to its end.
    async fn until(&mut self, text: &str) -> String {
        let mut bytes = Vec::new();
        loop {
            if let Some(at) = self.shown.find(text) {
                let rest = self.shown.split_off(at + text.len());
                return std::mem::replace(&mut self.shown, rest);
            }
            let chunk = within(LIMIT, self.output.recv()).await;
            let Ok(Some(chunk)) = chunk else { panic!("no {text:?} in {:?}", self.shown) };
            bytes.extend(chunk);
            // A chunk may end inside a character.
            if let Ok(text) = std::str::from_utf8(&bytes) {
                self.shown.push_str(&plain(text));
                bytes.clear();
            }
        }
    }

    async fn end(&mut self) -> ExitStatus {
        within(LIMIT, self.child.wait()).await.unwrap().unwrap()
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.inside).unwrap().local_modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }
}

/// Removes control sequences and carriage returns.
fn plain(text: &str) -> String {
    let (mut plain, mut letters) = (String::new(), text.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => {
                let mut sequence = letters.by_ref().skip_while(|letter| *letter == '[');
                sequence.find(char::is_ascii_alphabetic);
            }
            '\r' => {}
            letter => plain.push(letter),
        }
    }
    plain
}

#[tokio::test]
async fn keeps_type_ahead_for_the_prompt() {
    let fixture = Fixture::start(one_piece("eco"), &[]).await;
    let pieces = ["Te leo con mu", "cha aten", "ción, sin ap", "uro y sin juzgar."].map(str::to_owned).to_vec();
    let held = fixture.standin.push_held(Answer { pieces, ..Answer::default() }, 3);
    let mut terminal = Terminal::start(24, &fixture.core.to_string());
    terminal.until("Vos: ").await;
    assert!(!terminal.echoes());
    terminal.keys("hola\r");
    let begun = terminal.until("mucha atención, sin").await;
    // An incomplete word is held back.
    assert!(begun.ends_with("PsicoIA: Te leo con\nmucha atención, sin"), "{begun:?}");
    terminal.keys("¿me oís?");
    drop(held);
    let rest = terminal.until("Vos: ").await;
    assert_eq!(rest, "\napuro y sin juzgar.\nVos: ");
    terminal.until("¿me oís?").await;
    terminal.keys("\r");
    terminal.until("PsicoIA: eco\n").await;
    let body = fixture.standin.requests().last().unwrap().body();
    let last = body["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(last["content"], "¿me oís?");
    terminal.keys("salir\r");
    assert_eq!(terminal.end().await.code(), Some(0));
    assert!(terminal.echoes(), "the terminal is what it was");
}

#[tokio::test]
async fn sends_each_message_at_once_and_shows_help() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut terminal = Terminal::start(80, &listener.local_addr().unwrap().to_string());
    let mut server = ScriptedServer::accept(&listener).await;
    terminal.until("Vos: ").await;
    terminal.keys("hola\r");
    let first = server.message("hola").await;
    terminal.keys("me quiero morir\r");
    let second = server.message("me quiero morir").await;
    server.help(&second).await;
    terminal.until("No estás en soledad.\n  Línea: 135 (24 h)").await;
    server.answer(&first, 2, "Te leo.").await;
    server.answer(&second, 4, "Estoy acá.").await;
    terminal.until("PsicoIA: Te leo.").await;
    terminal.until("PsicoIA: Estoy acá.").await;
    terminal.until("Vos: ").await;
    // Built-in help lines.
    terminal.keys("/crisis\r");
    terminal.until("findahelpline.com").await;
    terminal.until("Vos: ").await;
    terminal.keys("/pais Chile\r");
    terminal.until("*4141").await;
    let request = server.frame().await;
    assert_eq!((&request["method"], &request["params"]["country"]), (&"set_country".into(), &"CL".into()));
    terminal.keys(CTRL_C);
    terminal.until("Vos: ").await;
    terminal.keys("/ia\r");
    terminal.until("inteligencia artificial, no una persona").await;
    terminal.until("Vos: ").await;
    terminal.keys("salir\r");
    assert_eq!(terminal.end().await.code(), Some(0));
}

/// The server opens the session and then stays silent.
#[tokio::test]
async fn leaves_a_dead_connection_at_once() {
    let server = ScriptedConnections::start(vec![(WELCOME.to_owned(), true)]).await;
    let mut terminal = Terminal::start(80, &server.address.to_string());
    terminal.until("Vos: ").await;
    terminal.keys("/historial\r");
    terminal.until("/historial").await;
    terminal.keys(CTRL_C);
    terminal.until("no contestó a tiempo").await;
    terminal.until("Vos: ").await;
    terminal.keys(CTRL_C);
    terminal.until("Gracias").await;
    assert_eq!(terminal.end().await.code(), Some(0));
    assert!(terminal.echoes());
}

/// A message that cannot be sent comes with a hint at the help lines.
#[tokio::test]
async fn offers_help_lines_while_disconnected() {
    let portal = || ("HTTP/1.1 403 Forbidden".to_owned(), false);
    let script = [(WELCOME.to_owned(), false)].into_iter().chain((0..50).map(|_| portal())).collect();
    let server = ScriptedConnections::start(script).await;
    let mut terminal = Terminal::start(80, &server.address.to_string());
    terminal.until("Sin conexión").await;
    terminal.until("/crisis").await;
    terminal.until("Vos: ").await;
    terminal.keys("me quiero morir\r");
    terminal.until("ayuda están acá igual: /crisis").await;
    terminal.keys("/crisis\r");
    terminal.until("findahelpline.com").await;
    terminal.keys(CTRL_C);
}

#[tokio::test]
async fn reports_missed_entries_after_reconnect() {
    let portal = || ("HTTP/1.1 403 Forbidden".to_owned(), false);
    let missed = WELCOME.replace(r#""seq":0"#, r#""seq":9,"missed":7"#);
    let script = vec![(WELCOME.to_owned(), false), portal(), portal(), (missed, true)];
    let server = ScriptedConnections::start(script).await;
    let mut terminal = Terminal::start(80, &server.address.to_string());
    terminal.until("Sin conexión").await;
    terminal.until("Conectado otra vez.").await;
    terminal.until("Faltan: 7").await;
    terminal.keys(CTRL_C);
    assert_eq!(terminal.end().await.code(), Some(0));
}
