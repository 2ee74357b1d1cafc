//! Bot over the client library: sends each line of standard input as a message and prints the answers. Started again,
//! it continues the same conversation.
//!
//! ```sh
//! cargo run -p examples --example bot -- tcp://127.0.0.1:5001 bot.token
//! ```

use std::env;
use std::error::Error;
use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use client::{Client, Event};
use tokio::sync::mpsc;

/// Messages in progress: as many as a core takes of one person at once by default (`PER_USER_MAX`). A longer input waits
/// in its pipe.
const MAX_UNANSWERED: usize = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "tcp://127.0.0.1:5001".to_owned());
    let mut bot = Bot::new(arguments.next().unwrap_or_else(|| "bot.token".to_owned()));
    // A busy server (`overloaded`, `rate_limited`) gets the message again after the delay that it asks for.
    let mut builder = Client::builder(address.parse()?).client_name("example-bot/1").send_attempts(5);
    if let Some(token) = bot.saved_token()? {
        builder = builder.resume(token).allow_new_session(true);
    }
    let mut client = builder.connect().await?;
    let mut lines = standard_input();
    let mut at_end = false;
    while !at_end || client.unanswered() > 0 {
        // Both branches are cancel safe: the one that is dropped loses nothing.
        tokio::select! {
            line = lines.recv(), if !at_end && client.unanswered() < MAX_UNANSWERED => match line {
                Some(line) if line.trim().is_empty() => {}
                // Too long, for one. The conversation goes on.
                Some(line) => client.send(line).map_or_else(|error| report(&error), drop),
                None => at_end = true,
            },
            event = client.next_event() => match event {
                Some(event) => bot.on_event(event)?,
                None => return Ok(()),
            },
        }
    }
    client.leave().await;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "standard output has the answers only")]
fn report(event: &dyn Display) {
    eprintln!("{event}");
}

/// Reads lines in a thread: a read of standard input cannot be cancelled.
fn standard_input() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// The bot's part of the conversation.
struct Bot {
    token_file: PathBuf,
    /// Text so far of the answer in progress: a session has one at a time.
    answer: String,
}

impl Bot {
    fn new(token_file: impl Into<PathBuf>) -> Self {
        Self { token_file: token_file.into(), answer: String::new() }
    }

    fn saved_token(&self) -> io::Result<Option<String>> {
        match fs::read_to_string(&self.token_file) {
            Ok(token) => Ok(Some(token)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[expect(clippy::print_stdout, reason = "the answers are this program's output")]
    fn on_event(&mut self, event: Event) -> Result<(), Box<dyn Error>> {
        match event {
            Event::Connected(welcome) => {
                save(&self.token_file, welcome.resume.expose())?;
                let begun = if welcome.resumed { "resumed" } else { "began" };
                report(&format_args!("{begun} {}", welcome.session));
            }
            // At once and in full, whatever else the bot does: the person may be in danger.
            Event::Support(support) => {
                println!("{}", support.text.expose());
                for resource in &support.help.resources {
                    println!("  {}: {}", resource.name, resource.contact);
                }
            }
            Event::Delta { text, .. } => self.answer.push_str(text.expose()),
            // The server has lost the text so far, and generates another answer.
            Event::Restarted { .. } => self.answer.clear(),
            Event::Done(_) => println!("{}", std::mem::take(&mut self.answer)),
            Event::Refused(error) => {
                self.answer.clear();
                report(&error.message);
            }
            Event::Reconnecting { why, .. } => report(&why),
            Event::Closed { reason } => return Err(reason.into()),
            // Other devices' messages, notices, positions in the queue.
            _ => {}
        }
        Ok(())
    }
}

/// Saves the resume token, which is a secret: readable by its owner only.
fn save(path: &Path, token: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(token.as_bytes())
}
