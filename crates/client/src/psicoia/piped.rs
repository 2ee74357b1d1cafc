//! Messages from a pipe: one at a time, until all are answered.

use std::io::{self, Write as _};
use std::time::Duration;

use client::{Client, Closed, ErrorFrame, Event, Finish, MessageId, UserText};
use protocol::server_frame::Resource;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use crate::cli::Setup;
use crate::commands::Command;
use crate::exit::Exit;
use crate::input::{self, Input};
use crate::printable::{Printable, printable};

/// Time to find out, after the server has ended the conversation, that the input had ended as well.
const INPUT_LIMIT: Duration = Duration::from_millis(200);

/// Runs until the pipe is empty and every message has its answer.
pub(crate) async fn run(client: &mut Client, setup: &Setup) -> Result<(), Exit> {
    let mut pipe = Pipe {
        setup,
        current: None,
        shown: Printable::default(),
        refused: false,
        greeted: false,
        ended: false,
        closed: false,
    };
    let mut lines = input::piped();
    while !pipe.is_done() {
        tokio::select! {
            event = client.next_event() => match event {
                Some(event) => pipe.on_event(client, event)?,
                None => break,
            },
            input = next(&mut lines), if pipe.greeted && pipe.current.is_none() && !pipe.ended => pipe.on_input(client, input)?,
        }
    }
    if pipe.closed {
        pipe.check_rest(&mut lines).await;
    } else if setup.json {
        write_json(&Event::Closed { reason: Closed::Bye })?;
    }
    if pipe.refused { Err(Exit::Unanswered) } else { Ok(()) }
}

async fn next(lines: &mut Receiver<Input>) -> Input {
    lines.recv().await.unwrap_or(Input::End)
}

struct Pipe<'a> {
    setup: &'a Setup,
    /// The message whose answer is awaited.
    current: Option<MessageId>,
    shown: Printable,
    refused: bool,
    /// The welcome was told; before it no input is taken.
    greeted: bool,
    /// No more input comes.
    ended: bool,
    /// The server has ended the conversation.
    closed: bool,
}

impl Pipe<'_> {
    fn is_done(&self) -> bool {
        self.closed || (self.ended && self.current.is_none())
    }

    /// Lines that are still in the pipe get no answer any more.
    async fn check_rest(&mut self, lines: &mut Receiver<Input>) {
        while !self.ended {
            match timeout(INPUT_LIMIT, next(lines)).await {
                Ok(Input::End) => self.ended = true,
                Ok(Input::Line(text)) if text.expose().trim().is_empty() => {}
                // Another line, or a writer that has not finished.
                Ok(_) | Err(_) => (self.ended, self.refused) = (true, true),
            }
        }
    }

    fn on_input(&mut self, client: &mut Client, input: Input) -> Result<(), Exit> {
        match input {
            Input::Line(text) if self.setup.json => self.say(client, text),
            Input::Line(text) => match Command::parse(text.expose()) {
                Command::Leave => {
                    self.ended = true;
                    Ok(())
                }
                Command::Nothing => Ok(()),
                _ => self.say(client, text),
            },
            Input::Bad => self.complain(self.setup.words().too_long),
            Input::Cleared => Ok(()),
            Input::End => {
                self.ended = true;
                Ok(())
            }
            Input::Failed(error) => Err(error.into()),
        }
    }

    fn say(&mut self, client: &mut Client, text: UserText) -> Result<(), Exit> {
        match client.send(text.expose()) {
            Ok(id) => {
                self.current = Some(id);
                Ok(())
            }
            Err(error) => self.complain(&error.to_string()),
        }
    }

    /// Something has no answer.
    fn complain(&mut self, why: &str) -> Result<(), Exit> {
        self.refused = true;
        self.note(why)
    }

    fn note(&self, what: &str) -> Result<(), Exit> {
        Ok(writeln!(io::stderr().lock(), "psicoia: {}", printable(what))?)
    }

    fn on_event(&mut self, client: &Client, event: Event) -> Result<(), Exit> {
        if self.setup.json {
            write_json(&event)?;
        } else {
            self.show(&event)?;
        }
        match event {
            Event::Connected(_) => {
                self.greeted = true;
                self.setup.remember(client)?;
            }
            Event::Done(done) => self.finish(&done.id),
            Event::Refused(error) => self.on_refused(&error)?,
            Event::Closed { reason } => {
                crate::over(reason)?;
                self.closed = true;
                if self.current.take().is_some() {
                    return Err(Exit::Unanswered);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, id: &MessageId) {
        self.current.take_if(|current| current == id);
    }

    fn on_refused(&mut self, error: &ErrorFrame) -> Result<(), Exit> {
        if error.id.is_none() || error.id != self.current {
            return Ok(());
        }
        self.current = None;
        // A program has read why.
        if self.setup.json {
            self.refused = true;
            return Ok(());
        }
        self.complain(&error.message)
    }

    fn show(&mut self, event: &Event) -> Result<(), Exit> {
        let own = |id: &MessageId| self.current.as_ref().is_some_and(|current| current == id);
        let mut out = io::stdout().lock();
        match event {
            Event::Delta { id, text, .. } if own(id) => {
                out.write_all(self.shown.piece(text.expose()).as_bytes())?;
            }
            Event::Restarted { id } if own(id) => writeln!(out, "\n{}", self.setup.words().restarted)?,
            Event::Done(done) if own(&done.id) => {
                self.shown = Printable::default();
                writeln!(out)?;
                if done.finish == Finish::Error {
                    self.note(self.setup.words().cut)?;
                }
            }
            Event::Support(support) => {
                writeln!(out, "{}", printable(support.text.expose()))?;
                for resource in &support.resources {
                    writeln!(out, "{}", resource_line(resource))?;
                }
            }
            Event::SessionLost => self.note(self.setup.words().session_lost)?,
            Event::EarlierSession => self.note(self.setup.words().earlier_session)?,
            Event::Error(error) | Event::Deferred { error, .. } => self.note(&error.message)?,
            Event::Reconnecting { attempt: 1, .. } => self.note(self.setup.words().lost)?,
            _ => return Ok(()),
        }
        Ok(out.flush()?)
    }
}

/// A place to get help, on one line.
pub(crate) fn resource_line(resource: &Resource) -> String {
    let Resource { name, contact, url, region, hours } = resource;
    let url = url.as_ref().map(|url| format!(" {url}")).unwrap_or_default();
    printable(&format!("  {name}: {contact} ({region}, {hours}){url}"))
}

/// JSON escapes U+0000 to U+001F; a terminal also heeds U+007F to U+009F.
fn write_json(event: &Event) -> Result<(), Exit> {
    let json = serde_json::to_string(event).map_err(|error| Exit::Io(error.into()))?;
    let mut line = String::with_capacity(json.len() + 1);
    for letter in json.chars() {
        if letter.is_control() {
            line.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            line.push(letter);
        }
    }
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    Ok(out.flush()?)
}
