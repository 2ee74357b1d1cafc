//! Piped input: each line is sent when it is read; the program ends when all are answered.

use std::io::{self, Write as _};
use std::pin::pin;
use std::time::Duration;

use client::{Client, Closed, ErrorFrame, Event, Finish, MessageId, RequestError, UserText};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use crate::cli::Setup;
use crate::commands::Command;
use crate::exit::Exit;
use crate::help::{self, Location, resource_line};
use crate::input::{self, Input};
use crate::sanitize::{AnswerText, sanitize};

/// Bound on unanswered messages: the limit of the library.
const MAX_AWAITED: usize = 64;
/// Time to detect, after the server closed, that the input has ended too.
const INPUT_TIMEOUT: Duration = Duration::from_millis(200);

/// Runs until end of file and the last answer.
pub(crate) async fn run(setup: &Setup) -> Result<Client, Exit> {
    let (mut lines, location) = (input::piped(), Location::new(setup.country));
    let (mut client, mut first) = connect(setup, &location, &mut lines).await?;
    let mut session = PipedSession {
        setup,
        location,
        awaited: Vec::new(),
        printing: None,
        buffered: Vec::new(),
        text: AnswerText::default(),
        refused: false,
        welcomed: false,
        ended: false,
        closed: false,
    };
    while !session.is_done() {
        tokio::select! {
            event = client.next_event() => match event {
                Some(event) => session.on_event(&client, event)?,
                None => break,
            },
            input = first_or_next(&mut first, &mut lines), if session.takes_input() => session.on_input(&mut client, input).await?,
        }
    }
    if session.closed {
        session.check_rest(&mut lines).await;
    } else if setup.json {
        write_json(&Event::Closed { reason: Closed::Bye })?;
    }
    if session.refused { Err(Exit::Unanswered) } else { Ok(client) }
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

/// Connects. Meanwhile `/crisis` is answered at once; the first other input waits for the server.
async fn connect(
    setup: &Setup,
    location: &Location,
    lines: &mut Receiver<Input>,
) -> Result<(Client, Option<Input>), Exit> {
    let mut first = None;
    let mut connecting = pin!(crate::connect(setup));
    loop {
        tokio::select! {
            connected = &mut connecting => {
                if matches!(connected, Err(Exit::Closed(Closed::Unreachable { .. }))) && !setup.json {
                    run_offline(setup, first.take(), lines).await?;
                }
                return Ok((connected?, first));
            }
            input = next(lines), if first.is_none() && !setup.json => match &input {
                Input::Line(text) if Command::parse(text.expose()) == Command::Crisis => {
                    print_lines(&location.lines(setup.language()))?;
                }
                _ => first = Some(input),
            },
        }
    }
}

/// Answers the commands that need no server. Messages cannot be delivered, so the help lines are shown once in their place.
async fn run_offline(setup: &Setup, mut first: Option<Input>, lines: &mut Receiver<Input>) -> Result<(), Exit> {
    let (mut location, mut shown_once) = (Location::new(setup.country), false);
    while let Ok(input) = timeout(INPUT_TIMEOUT, first_or_next(&mut first, lines)).await {
        let text = match &input {
            Input::Line(text) => text.expose(),
            Input::Bad => "?",
            _ => break,
        };
        match Command::parse(text) {
            Command::Leave => break,
            Command::Empty => {}
            Command::About => print_lines(setup.strings().ai)?,
            Command::Crisis => print_lines(&location.lines(setup.language()))?,
            Command::Country(name) => match help::country(name) {
                Some(country) => {
                    location.choose(country);
                    let lines = location.lines(setup.language());
                    print_lines(&format!("{}\n{lines}", setup.strings().country_set))?;
                }
                None => print_lines(setup.strings().which_country)?,
            },
            _ if shown_once => {}
            _ => {
                shown_once = true;
                print_lines(&location.lines(setup.language()))?;
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

struct PipedSession<'a> {
    setup: &'a Setup,
    location: Location,
    /// Own messages without an answer.
    awaited: Vec<MessageId>,
    /// The one whose answer is being printed.
    printing: Option<MessageId>,
    /// Answers that arrive meanwhile.
    buffered: Vec<BufferedAnswer>,
    /// Answer that is being printed.
    text: AnswerText,
    refused: bool,
    /// `welcome` has arrived; no input is read before it.
    welcomed: bool,
    /// The input has ended.
    ended: bool,
    /// The server has ended the conversation.
    closed: bool,
}

/// Answer, complete or partial, that arrives while another one is being printed.
struct BufferedAnswer {
    id: MessageId,
    text: String,
    /// `None` while it streams.
    finish: Option<Finish>,
}

impl PipedSession<'_> {
    fn is_done(&self) -> bool {
        self.closed || (self.ended && self.awaited.is_empty())
    }

    fn takes_input(&self) -> bool {
        // Beyond the bound the pipe is not read, which blocks its writer.
        self.welcomed && !self.ended && self.awaited.len() < MAX_AWAITED
    }

    /// Marks the run as failed if lines remain in the pipe.
    async fn check_rest(&mut self, lines: &mut Receiver<Input>) {
        while !self.ended {
            match timeout(INPUT_TIMEOUT, next(lines)).await {
                Ok(Input::End) => self.ended = true,
                Ok(Input::Line(text)) if text.expose().trim().is_empty() => {}
                // Another line, or a writer that is still open.
                Ok(_) | Err(_) => (self.ended, self.refused) = (true, true),
            }
        }
    }

    async fn on_input(&mut self, client: &mut Client, input: Input) -> Result<(), Exit> {
        match input {
            Input::Line(text) if self.setup.json => self.send_message(client, text),
            Input::Line(text) => match Command::parse(text.expose()) {
                Command::Leave => {
                    self.ended = true;
                    Ok(())
                }
                Command::Empty => Ok(()),
                Command::Crisis => self.print(&self.location.lines(self.setup.language())),
                Command::Country(name) => self.country(client, name).await,
                Command::About => self.print(self.setup.strings().ai),
                Command::Plan => self.plan(client).await,
                _ => self.send_message(client, text),
            },
            Input::Bad => self.report_unanswered(self.setup.strings().too_long),
            Input::Cleared => Ok(()),
            Input::End => {
                self.ended = true;
                Ok(())
            }
            Input::Failed(error) => Err(error.into()),
        }
    }

    fn send_message(&mut self, client: &mut Client, text: UserText) -> Result<(), Exit> {
        match client.send(text.expose()) {
            Ok(id) => {
                self.awaited.push(id);
                Ok(())
            }
            Err(error) => self.report_unanswered(&error.to_string()),
        }
    }

    async fn country(&mut self, client: &mut Client, name: &str) -> Result<(), Exit> {
        let Some(country) = help::country(name) else { return self.print(self.setup.strings().which_country) };
        self.location.choose(country);
        let lines = self.location.lines(self.setup.language());
        self.print(&format!("{}\n{lines}", self.setup.strings().country_set))?;
        // Without a connection the next `hello` carries the country.
        let _ = client.set_country(country).await;
        Ok(())
    }

    async fn plan(&mut self, client: &mut Client) -> Result<(), Exit> {
        match client.safety_plan().await {
            Ok(None) => self.print(self.setup.strings().no_plan),
            Ok(Some(plan)) => self.print(&help::plan_lines(&plan, &self.location, self.setup.language())),
            Err(RequestError::Refused(error)) => self.report_unanswered(&error.message),
            Err(error) => self.report_unanswered(&error.to_string()),
        }
    }

    /// Prints whole lines, after a newline if an answer is being printed.
    fn print(&self, text: &str) -> Result<(), Exit> {
        if self.printing.is_some() {
            writeln!(io::stdout().lock())?;
        }
        print_lines(text)
    }

    /// Reports an unanswered message and marks the run as failed.
    fn report_unanswered(&mut self, why: &str) -> Result<(), Exit> {
        self.refused = true;
        self.note(why)
    }

    fn note(&self, text: &str) -> Result<(), Exit> {
        Ok(writeln!(io::stderr().lock(), "psicoia: {}", sanitize(text))?)
    }

    fn on_event(&mut self, client: &Client, event: Event) -> Result<(), Exit> {
        if self.setup.json {
            write_json(&event)?;
        } else {
            self.show(&event)?;
        }
        match event {
            Event::Connected(_) => {
                self.welcomed = true;
                self.setup.remember(client)?;
            }
            Event::Done(done) => self.awaited.retain(|id| *id != done.id),
            Event::Refused(error) => self.on_refused(&error)?,
            Event::Closed { reason } => {
                crate::exit_result(reason)?;
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
        self.buffered.retain(|answer| answer.id != *id);
        // With `--json` the event was printed already.
        if self.setup.json {
            self.refused = true;
            return Ok(());
        }
        if self.printing.take_if(|printing| printing == id).is_some() {
            self.end_answer(None)?;
        }
        self.report_unanswered(&error.message)
    }

    fn show(&mut self, event: &Event) -> Result<(), Exit> {
        let strings = self.setup.strings();
        match event {
            Event::Delta { id, text, .. } if self.awaited.contains(id) => self.piece(id, text.expose()),
            Event::Restarted { id } if self.printing.as_ref() == Some(id) => self.print(strings.restarted),
            Event::Restarted { id } => {
                self.buffered.retain(|answer| answer.id != *id);
                Ok(())
            }
            Event::Done(done) if self.awaited.contains(&done.id) => self.done(&done.id, done.finish),
            Event::Support(support) => {
                let language = self.setup.language();
                let lines = support.help.resources.iter().map(|resource| resource_line(resource, language));
                let lines: Vec<String> = [sanitize(support.text.expose())].into_iter().chain(lines).collect();
                self.print(&lines.join("\n"))
            }
            Event::SessionLost => self.note(strings.session_lost),
            Event::EarlierSession => self.note(strings.earlier_session),
            Event::Error(error) | Event::Deferred { error, .. } => self.note(&error.message),
            Event::Reconnecting { attempt: 1, .. } => self.note(&format!("{} {}", strings.lost, strings.lines_here)),
            _ => Ok(()),
        }
    }

    /// Prints a delta, or buffers it if another answer is being printed.
    fn piece(&mut self, id: &MessageId, text: &str) -> Result<(), Exit> {
        if self.printing.get_or_insert_with(|| id.clone()) == id {
            let mut out = io::stdout().lock();
            out.write_all(self.text.piece(text).as_bytes())?;
            return Ok(out.flush()?);
        }
        match self.buffered.iter_mut().find(|answer| answer.id == *id) {
            Some(answer) => answer.text.push_str(text),
            None => self.buffered.push(BufferedAnswer { id: id.clone(), text: text.to_owned(), finish: None }),
        }
        Ok(())
    }

    fn done(&mut self, id: &MessageId, finish: Finish) -> Result<(), Exit> {
        if self.printing.as_ref().is_none_or(|printing| printing == id) {
            return self.end_answer(Some(finish));
        }
        match self.buffered.iter_mut().find(|answer| answer.id == *id) {
            Some(answer) => answer.finish = Some(finish),
            None => self.buffered.push(BufferedAnswer { id: id.clone(), text: String::new(), finish: Some(finish) }),
        }
        Ok(())
    }

    /// Ends the answer's line and prints the next buffered answer.
    fn end_answer(&mut self, finish: Option<Finish>) -> Result<(), Exit> {
        self.printing = None;
        let rest = self.text.rest();
        writeln!(io::stdout().lock(), "{rest}")?;
        if finish == Some(Finish::Error) {
            self.note(self.setup.strings().cut)?;
        }
        if self.buffered.is_empty() {
            return Ok(());
        }
        let BufferedAnswer { id, text, finish } = self.buffered.remove(0);
        self.piece(&id, &text)?;
        finish.map_or(Ok(()), |finish| self.done(&id, finish))
    }
}

/// Escapes U+007F to U+009F too: JSON does not require it, but terminals interpret them.
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
