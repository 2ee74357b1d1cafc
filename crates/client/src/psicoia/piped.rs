//! Messages from a pipe: one at a time, until all are answered.

use std::io::{self, Write as _};
use std::time::Duration;

use client::{Client, Closed, ErrorFrame, Event, Finish, MessageId, UserText};
use protocol::server_frame::Resource;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until};

use crate::cli::Setup;
use crate::commands::Command;
use crate::exit::Exit;
use crate::input::{self, Input};
use crate::printable::{Printable, printable};

/// How often a message is sent that the server wants to have later.
const TRIES: u32 = 5;

/// Runs until the pipe is empty and every message has its answer.
pub(crate) async fn run(client: &mut Client, setup: &Setup) -> Result<(), Exit> {
    let mut pipe =
        Pipe { setup, current: None, shown: Printable::default(), refused: false, greeted: false, ended: false };
    let mut lines = input::piped();
    while !pipe.is_done() {
        let again = pipe.again_at();
        tokio::select! {
            event = client.next_event() => match event {
                Some(event) => pipe.on_event(client, event)?,
                None => return Ok(()),
            },
            input = next(&mut lines), if pipe.greeted && pipe.current.is_none() && !pipe.ended => pipe.on_input(client, input)?,
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => pipe.again(client)?,
        }
    }
    if setup.json {
        write_json(&Event::Closed { reason: Closed::Bye })?;
    }
    if pipe.refused { Err(Exit::Unanswered) } else { Ok(()) }
}

async fn next(lines: &mut Receiver<Input>) -> Input {
    lines.recv().await.unwrap_or(Input::End)
}

struct Pipe<'a> {
    setup: &'a Setup,
    current: Option<Current>,
    shown: Printable,
    refused: bool,
    /// The welcome was told; before it no input is taken.
    greeted: bool,
    ended: bool,
}

/// The message whose answer is awaited.
struct Current {
    id: MessageId,
    text: UserText,
    tries: u32,
    again: Option<Instant>,
}

impl Pipe<'_> {
    fn is_done(&self) -> bool {
        self.ended && self.current.is_none()
    }

    fn again_at(&self) -> Option<Instant> {
        self.current.as_ref().and_then(|current| current.again)
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
                self.current = Some(Current { id, text, tries: 1, again: None });
                Ok(())
            }
            Err(error) => self.complain(&error.to_string()),
        }
    }

    /// Sends a refused message once more.
    fn again(&mut self, client: &mut Client) -> Result<(), Exit> {
        let Some(current) = &mut self.current else { return Ok(()) };
        (current.tries, current.again) = (current.tries + 1, None);
        client.send_as(current.id.clone(), current.text.expose()).map_err(|error| Exit::Other(error.to_string()))
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
            Event::Refused(error) => self.on_refused(error)?,
            Event::Closed { reason } => {
                crate::over(reason)?;
                self.ended = true;
                if self.current.take().is_some() {
                    return Err(Exit::Unanswered);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, id: &MessageId) {
        self.current.take_if(|current| current.id == *id);
    }

    /// What is refused for now is sent again when the server says, for a person's pipe. A
    /// program reads the event and decides for itself.
    fn on_refused(&mut self, error: ErrorFrame) -> Result<(), Exit> {
        let Some(current) = self.current.as_mut().filter(|current| error.id.as_ref() == Some(&current.id)) else {
            return Ok(());
        };
        match error.retry_after_ms {
            Some(after) if !self.setup.json && current.tries < TRIES => {
                current.again = Some(Instant::now() + Duration::from_millis(after));
                self.note(&error.message)
            }
            // It has read why.
            _ if self.setup.json => {
                (self.current, self.refused) = (None, true);
                Ok(())
            }
            _ => {
                self.current = None;
                self.complain(&error.message)
            }
        }
    }

    fn show(&mut self, event: &Event) -> Result<(), Exit> {
        let own = |id: &MessageId| self.current.as_ref().is_some_and(|current| current.id == *id);
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
            Event::Error(error) => self.note(&error.message)?,
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

fn write_json(event: &Event) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, event).map_err(|error| Exit::Io(error.into()))?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}
