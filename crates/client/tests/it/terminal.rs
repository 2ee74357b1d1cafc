//! The program with a person at a terminal.

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

use crate::silent::{Scripted, Silent, WELCOME};
use crate::world::{World, says};

const CTRL_C: &str = "\u{3}";

/// `psicoia` in a terminal, and what it shows, without escape sequences.
struct Terminal {
    keyboard: File,
    /// Keeps the terminal's settings readable after the program has ended.
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
            // An error is how the end of the other side shows.
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

    /// Waits until `text` is shown; gives what was, up to its end, and forgets it.
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

/// Without control sequences and carriage returns.
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
async fn what_is_typed_while_an_answer_streams_waits_for_the_prompt() {
    let world = World::start(says("eco"), &[]).await;
    let pieces = ["Te leo con mu", "cha aten", "ción, sin ap", "uro y sin juzgar."].map(str::to_owned).to_vec();
    let held = world.standin.push_held(Answer { pieces, ..Answer::default() }, 3);
    let mut terminal = Terminal::start(24, &world.core.to_string());
    terminal.until("Vos: ").await;
    assert!(!terminal.echoes());
    terminal.keys("hola\r");
    let begun = terminal.until("mucha atención, sin").await;
    // The end of a word that is not complete waits.
    assert!(begun.ends_with("PsicoIA: Te leo con\nmucha atención, sin"), "{begun:?}");
    terminal.keys("¿me oís?");
    drop(held);
    let rest = terminal.until("Vos: ").await;
    assert_eq!(rest, "\napuro y sin juzgar.\nVos: ");
    terminal.until("¿me oís?").await;
    terminal.keys("\r");
    terminal.until("PsicoIA: eco\n").await;
    let body = world.standin.requests().last().unwrap().body();
    let last = body["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(last["content"], "¿me oís?");
    terminal.keys("salir\r");
    assert_eq!(terminal.end().await.code(), Some(0));
    assert!(terminal.echoes(), "the terminal is what it was");
}

/// A message is sent when it is written, also behind one without an answer, and help is shown when it comes.
#[tokio::test]
async fn nothing_is_held_back_and_help_is_shown_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut terminal = Terminal::start(80, &listener.local_addr().unwrap().to_string());
    let mut server = Scripted::accept(&listener).await;
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
    // Lines that need no server.
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

/// A server that has opened the session and says nothing more.
#[tokio::test]
async fn a_dead_link_is_left_at_once() {
    let silent = Silent::start(vec![(WELCOME.to_owned(), true)]).await;
    let mut terminal = Terminal::start(80, &silent.address.to_string());
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

/// A message that cannot go out has the way to the help lines beside it.
#[tokio::test]
async fn without_a_connection_the_help_lines_are_named_and_shown() {
    let portal = || ("HTTP/1.1 403 Forbidden".to_owned(), false);
    let script = [(WELCOME.to_owned(), false)].into_iter().chain((0..50).map(|_| portal())).collect();
    let silent = Silent::start(script).await;
    let mut terminal = Terminal::start(80, &silent.address.to_string());
    terminal.until("Sin conexión").await;
    terminal.until("/crisis").await;
    terminal.until("Vos: ").await;
    terminal.keys("me quiero morir\r");
    terminal.until("ayuda están acá igual: /crisis").await;
    terminal.keys("/crisis\r");
    terminal.until("findahelpline.com").await;
    terminal.keys(CTRL_C);
}

/// What was missed is told also to a person who has seen that there was no connection.
#[tokio::test]
async fn back_after_a_while_the_missed_entries_are_counted() {
    let portal = || ("HTTP/1.1 403 Forbidden".to_owned(), false);
    let missed = WELCOME.replace(r#""seq":0"#, r#""seq":9,"missed":7"#);
    let script = vec![(WELCOME.to_owned(), false), portal(), portal(), (missed, true)];
    let silent = Silent::start(script).await;
    let mut terminal = Terminal::start(80, &silent.address.to_string());
    terminal.until("Sin conexión").await;
    terminal.until("Conectado otra vez.").await;
    terminal.until("Faltan: 7").await;
    terminal.keys(CTRL_C);
    assert_eq!(terminal.end().await.code(), Some(0));
}
