//! Messages from a pipe: each is sent when it comes, until all are answered.

use std::io::{self, Write as _};
use std::pin::pin;
use std::time::Duration;

use client::{Client, Closed, ErrorFrame, Event, Finish, MessageId, RequestError, UserText};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use crate::cli::Setup;
use crate::commands::Command;
use crate::exit::Exit;
use crate::help::{self, Place, resource_line};
use crate::input::{self, Input};
use crate::printable::{Printable, printable};

/// Messages that are awaited at the same time; the library takes as many.
const MAX_AWAITED: usize = 64;
/// Time to find out, after the server has ended the conversation, that the input had ended as well.
const INPUT_LIMIT: Duration = Duration::from_millis(200);

/// Runs until the pipe is empty and every message has its answer.
pub(crate) async fn run(setup: &Setup) -> Result<Client, Exit> {
    let (mut lines, place) = (input::piped(), Place::new(setup.country));
    let (mut client, mut first) = connect(setup, &place, &mut lines).await?;
    let mut pipe = Pipe {
        setup,
        place,
        awaited: Vec::new(),
        speaking: None,
        held: Vec::new(),
        shown: Printable::default(),
        refused: false,
        greeted: false,
        ended: false,
        closed: false,
    };
    while !pipe.is_done() {
        tokio::select! {
            event = client.next_event() => match event {
                Some(event) => pipe.on_event(&client, event)?,
                None => break,
            },
            input = first_or_next(&mut first, &mut lines), if pipe.takes_input() => pipe.on_input(&mut client, input).await?,
        }
    }
    if pipe.closed {
        pipe.check_rest(&mut lines).await;
    } else if setup.json {
        write_json(&Event::Closed { reason: Closed::Bye })?;
    }
    if pipe.refused { Err(Exit::Unanswered) } else { Ok(client) }
}

async fn next(lines: &mut Receiver<Input>) -> Input {
    lines.recv().await.unwrap_or(Input::End)
}

async fn first_or_next(first: &mut Option<Input>, lines: &mut Receiver<Input>) -> Input {
    match first.take() {
        Some(input) => input,
        None => next(lines).await,
    }
}

/// Connects. Meanwhile `/crisis` is answered at once; the first input that is something else waits for the server.
async fn connect(setup: &Setup, place: &Place, lines: &mut Receiver<Input>) -> Result<(Client, Option<Input>), Exit> {
    let mut first = None;
    let mut connecting = pin!(crate::connect(setup));
    loop {
        tokio::select! {
            connected = &mut connecting => {
                if matches!(connected, Err(Exit::Closed(Closed::GaveUp { .. }))) && !setup.json {
                    without_server(setup, first.take(), lines).await?;
                }
                return Ok((connected?, first));
            }
            input = next(lines), if first.is_none() && !setup.json => match &input {
                Input::Line(text) if Command::parse(text.expose()) == Command::Crisis => {
                    print_lines(&place.lines(setup.language()))?;
                }
                _ => first = Some(input),
            },
        }
    }
}

/// Answers what is in the pipe as far as the program can alone. For messages, which nobody reads, it shows the help lines, once.
async fn without_server(setup: &Setup, mut first: Option<Input>, lines: &mut Receiver<Input>) -> Result<(), Exit> {
    let (mut place, mut helped) = (Place::new(setup.country), false);
    while let Ok(input) = timeout(INPUT_LIMIT, first_or_next(&mut first, lines)).await {
        let text = match &input {
            Input::Line(text) => text.expose(),
            Input::Bad => "?",
            _ => break,
        };
        match Command::parse(text) {
            Command::Leave => break,
            Command::Nothing => {}
            Command::About => print_lines(setup.words().ai)?,
            Command::Crisis => print_lines(&place.lines(setup.language()))?,
            Command::Country(name) => match help::country(name) {
                Some(country) => {
                    place.choose(country);
                    let lines = place.lines(setup.language());
                    print_lines(&format!("{}\n{lines}", setup.words().country_set))?;
                }
                None => print_lines(setup.words().which_country)?,
            },
            _ if helped => {}
            _ => {
                helped = true;
                print_lines(&place.lines(setup.language()))?;
            }
        }
    }
    Ok(())
}

fn print_lines(text: &str) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

struct Pipe<'a> {
    setup: &'a Setup,
    place: Place,
    /// Own messages whose answers are awaited.
    awaited: Vec<MessageId>,
    /// The one whose answer is being written.
    speaking: Option<MessageId>,
    /// What has come meanwhile of other answers.
    held: Vec<Held>,
    shown: Printable,
    refused: bool,
    /// The welcome was told; before it no input is taken.
    greeted: bool,
    /// No more input comes.
    ended: bool,
    /// The server has ended the conversation.
    closed: bool,
}

/// An answer, or its beginning, that comes while another one is being written.
struct Held {
    id: MessageId,
    text: String,
    /// How it ended, if it has.
    finish: Option<Finish>,
}

impl Pipe<'_> {
    fn is_done(&self) -> bool {
        self.closed || (self.ended && self.awaited.is_empty())
    }

    fn takes_input(&self) -> bool {
        self.greeted && !self.ended && self.awaited.len() < MAX_AWAITED
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

    async fn on_input(&mut self, client: &mut Client, input: Input) -> Result<(), Exit> {
        match input {
            Input::Line(text) if self.setup.json => self.say(client, text),
            Input::Line(text) => match Command::parse(text.expose()) {
                Command::Leave => {
                    self.ended = true;
                    Ok(())
                }
                Command::Nothing => Ok(()),
                Command::Crisis => self.print(&self.place.lines(self.setup.language())),
                Command::Country(name) => self.country(client, name).await,
                Command::About => self.print(self.setup.words().ai),
                Command::Plan => self.plan(client).await,
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
                self.awaited.push(id);
                Ok(())
            }
            Err(error) => self.complain(&error.to_string()),
        }
    }

    async fn country(&mut self, client: &mut Client, name: &str) -> Result<(), Exit> {
        let Some(country) = help::country(name) else { return self.print(self.setup.words().which_country) };
        self.place.choose(country);
        let lines = self.place.lines(self.setup.language());
        self.print(&format!("{}\n{lines}", self.setup.words().country_set))?;
        // Without a connection the next `hello` says it.
        let _ = client.set_country(country).await;
        Ok(())
    }

    async fn plan(&mut self, client: &mut Client) -> Result<(), Exit> {
        match client.safety_plan().await {
            Ok(None) => self.print(self.setup.words().no_plan),
            Ok(Some(plan)) => self.print(&help::plan_lines(&plan, &self.place, self.setup.language())),
            Err(RequestError::Refused(error)) => self.complain(&error.message),
            Err(error) => self.complain(&error.to_string()),
        }
    }

    /// Writes whole lines, behind what an answer has begun.
    fn print(&self, text: &str) -> Result<(), Exit> {
        if self.speaking.is_some() {
            writeln!(io::stdout().lock())?;
        }
        print_lines(text)
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
            Event::Done(done) => self.awaited.retain(|id| *id != done.id),
            Event::Refused(error) => self.on_refused(&error)?,
            Event::Closed { reason } => {
                crate::over(reason)?;
                self.closed = true;
                if !self.awaited.is_empty() {
                    return Err(Exit::Unanswered);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_refused(&mut self, error: &ErrorFrame) -> Result<(), Exit> {
        let Some(id) = error.id.as_ref().filter(|id| self.awaited.contains(id)) else { return Ok(()) };
        self.awaited.retain(|awaited| awaited != id);
        self.held.retain(|held| held.id != *id);
        // A program has read why.
        if self.setup.json {
            self.refused = true;
            return Ok(());
        }
        if self.speaking.take_if(|speaking| speaking == id).is_some() {
            self.end_answer(None)?;
        }
        self.complain(&error.message)
    }

    fn show(&mut self, event: &Event) -> Result<(), Exit> {
        let words = self.setup.words();
        match event {
            Event::Delta { id, text, .. } if self.awaited.contains(id) => self.piece(id, text.expose()),
            Event::Restarted { id } if self.speaking.as_ref() == Some(id) => self.print(words.restarted),
            Event::Restarted { id } => {
                self.held.retain(|held| held.id != *id);
                Ok(())
            }
            Event::Done(done) if self.awaited.contains(&done.id) => self.done(&done.id, done.finish),
            Event::Support(support) => {
                let language = self.setup.language();
                let lines = support.help.resources.iter().map(|resource| resource_line(resource, language));
                let lines: Vec<String> = [printable(support.text.expose())].into_iter().chain(lines).collect();
                self.print(&lines.join("\n"))
            }
            Event::SessionLost => self.note(words.session_lost),
            Event::EarlierSession => self.note(words.earlier_session),
            Event::Error(error) | Event::Deferred { error, .. } => self.note(&error.message),
            Event::Reconnecting { attempt: 1, .. } => self.note(&format!("{} {}", words.lost, words.lines_here)),
            _ => Ok(()),
        }
    }

    /// Writes a piece of an answer; one of another answer than the one being written waits for its end.
    fn piece(&mut self, id: &MessageId, text: &str) -> Result<(), Exit> {
        if self.speaking.get_or_insert_with(|| id.clone()) == id {
            let mut out = io::stdout().lock();
            out.write_all(self.shown.piece(text).as_bytes())?;
            return Ok(out.flush()?);
        }
        match self.held.iter_mut().find(|held| held.id == *id) {
            Some(held) => held.text.push_str(text),
            None => self.held.push(Held { id: id.clone(), text: text.to_owned(), finish: None }),
        }
        Ok(())
    }

    fn done(&mut self, id: &MessageId, finish: Finish) -> Result<(), Exit> {
        if self.speaking.as_ref().is_none_or(|speaking| speaking == id) {
            return self.end_answer(Some(finish));
        }
        match self.held.iter_mut().find(|held| held.id == *id) {
            Some(held) => held.finish = Some(finish),
            None => self.held.push(Held { id: id.clone(), text: String::new(), finish: Some(finish) }),
        }
        Ok(())
    }

    /// Ends the line of an answer and writes what has come of others meanwhile.
    fn end_answer(&mut self, finish: Option<Finish>) -> Result<(), Exit> {
        self.speaking = None;
        self.shown = Printable::default();
        writeln!(io::stdout().lock())?;
        if finish == Some(Finish::Error) {
            self.note(self.setup.words().cut)?;
        }
        if self.held.is_empty() {
            return Ok(());
        }
        let Held { id, text, finish } = self.held.remove(0);
        self.piece(&id, &text)?;
        finish.map_or(Ok(()), |finish| self.done(&id, finish))
    }
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
