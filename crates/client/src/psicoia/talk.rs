//! A conversation with a person at the terminal.
//!
//! Either a line is being edited, and what comes appears above it in whole lines, or an answer
//! is awaited and streams, and Ctrl-C stops it. Nobody has to wait for an answer to write: before its first word a
//! key brings the prompt back, later a line is a message as soon as it is complete.

mod event;

use std::collections::VecDeque;
use std::ops::ControlFlow;

use client::{Client, Event, Locale, MessageId, RequestError, Role, SendError, UserText};
use protocol::Language;
use protocol::server_frame::Entry;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Setup;
use crate::commands::Command;
use crate::exit::Exit;
use crate::help::{self, Place};
use crate::input::{Ask, Input, Keyboard};
use crate::printable::{Printable, printable};
use crate::screen::{Screen, Style, Terminal};
use crate::typed::Typed;
use crate::words::{self, Words};

/// The shell lets a stopped program go on.
const SIGCONT: i32 = rustix::process::Signal::CONT.as_raw();

/// Entries shown when an earlier session goes on, and by `/historial`.
const SHOWN: (usize, usize) = (6, 20);
/// Most answers that are collected to be shown whole: own ones that are not waited for, and those of other devices.
const MAX_ELSEWHERE: usize = 64;

type Flow = Result<ControlFlow<()>, Exit>;
const GO_ON: Flow = Ok(ControlFlow::Continue(()));
const LEAVE: Flow = Ok(ControlFlow::Break(()));

struct Talk<'a> {
    setup: &'a Setup,
    language: Language,
    words: &'static Words,
    screen: Screen,
    place: Place,
    /// The server's words about what it is, as shown last.
    about: Option<String>,
    /// The own message whose answer is awaited; no line is edited meanwhile.
    awaited: Option<MessageId>,
    /// Own messages that were written while that answer came: theirs are awaited then.
    next: VecDeque<MessageId>,
    /// All own messages without an answer.
    open: Vec<MessageId>,
    /// The own message that was sent last, until it has its answer.
    unanswered: Option<(MessageId, UserText)>,
    /// Something of that answer is on the screen.
    begun: bool,
    pieces: Printable,
    /// Answers that come while a line is being edited: shown when they are whole.
    elsewhere: Vec<(MessageId, String)>,
    /// `/borrar` was the last line.
    erasing: bool,
    /// The first welcome is behind us.
    greeted: bool,
    /// A welcome was the last thing the server said about itself.
    connected: bool,
    /// There is no connection.
    away: bool,
    /// The person knows that there is no connection.
    offline: bool,
    interrupts: u32,
}

/// Runs until the person leaves or the conversation is over.
pub(crate) async fn run(client: &mut Client, setup: &Setup) -> Result<(), Exit> {
    // First of all: a Ctrl-C that ended the program at once would leave the terminal quiet.
    let _interrupts = signal(SignalKind::interrupt())?;
    let terminal = Terminal::quiet();
    let Keyboard { ask, mut lines, above } = Keyboard::open().map_err(|error| Exit::Other(error.to_string()))?;
    let mut typed = Typed::default();
    let mut talk = Talk::new(setup, Screen::new(setup.color, above, terminal));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut resumed = signal(SignalKind::from_raw(SIGCONT))?;
    loop {
        if talk.awaited.is_none() && !talk.screen.prompting {
            talk.screen.end_line()?;
            talk.screen.prompting = true;
            // The keyboard's thread is there as long as its receiver.
            let prompt = talk.screen.styled(Style::Speaker, talk.words.prompt);
            let _ = ask.try_send(Ask { prompt, typed: typed.take() });
        }
        let flow = tokio::select! {
            event = client.next_event() => match event {
                Some(event) => talk.on_event(client, event).await?,
                None => return Ok(()),
            },
            input = lines.recv() => {
                talk.screen.prompting = false;
                talk.on_input(client, input.unwrap_or(Input::End)).await?
            }
            pressed = typed.pressed(), if !talk.screen.prompting => {
                pressed?;
                talk.on_keys(client, &mut typed).await?
            }
            interrupt = tokio::signal::ctrl_c() => {
                interrupt?;
                talk.on_interrupt(client)?
            }
            _ = terminate.recv() => ControlFlow::Break(()),
            _ = resumed.recv() => {
                // The line editor sets its own mode.
                if !talk.screen.prompting {
                    talk.screen.terminal.silence();
                }
                ControlFlow::Continue(())
            }
        };
        if flow.is_break() {
            return Ok(());
        }
    }
}

impl<'a> Talk<'a> {
    fn new(setup: &'a Setup, screen: Screen) -> Self {
        Self {
            setup,
            language: setup.language(),
            words: setup.words(),
            screen,
            place: Place::new(setup.country),
            about: None,
            awaited: None,
            next: VecDeque::new(),
            open: Vec::new(),
            unanswered: None,
            begun: false,
            pieces: Printable::default(),
            elsewhere: Vec::new(),
            erasing: false,
            greeted: false,
            connected: false,
            away: false,
            offline: false,
            interrupts: 0,
        }
    }

    fn remark(&mut self, text: &str) -> Result<(), Exit> {
        Ok(self.screen.lines(Style::Dim, text)?)
    }

    /// A line of somebody.
    fn speak(&mut self, speaker: &str, text: &str) -> Result<(), Exit> {
        Ok(self.screen.speech(speaker, &printable(text))?)
    }

    // ---- the person -------------------------------------------------------------------------

    async fn on_input(&mut self, client: &mut Client, input: Input) -> Flow {
        let text = match input {
            Input::Line(text) => text,
            Input::Cleared => return GO_ON,
            Input::Bad => return self.remark(self.words.too_long).map(ControlFlow::Continue),
            Input::End => return self.remark(self.words.bye).map(ControlFlow::Break),
            Input::Failed(error) => return Err(error.into()),
        };
        let confirmed = std::mem::take(&mut self.erasing);
        match Command::parse(text.expose()) {
            Command::Nothing => {}
            Command::Say(text) => self.say(client, text)?,
            Command::Leave => return self.remark(self.words.bye).map(ControlFlow::Break),
            Command::Help => self.remark(self.words.help)?,
            Command::History => self.history(client, None, SHOWN.1).await?,
            Command::Session => self.show_token(client)?,
            Command::Erase if confirmed => return self.erase(client).await,
            Command::Erase => {
                self.erasing = true;
                self.remark(self.words.confirm_erase)?;
            }
            Command::Language(tag) => self.language(client, tag).await?,
            Command::Crisis => self.crisis()?,
            Command::Country(name) => self.country(client, name).await?,
            Command::About => {
                let about = self.about.clone();
                self.remark(about.as_deref().unwrap_or(self.words.ai))?;
            }
            Command::Plan => self.plan(client).await?,
            Command::Stop if self.open.is_empty() => self.remark(self.words.nothing_to_stop)?,
            Command::Stop => {
                for id in self.open.clone() {
                    self.stop(client, &id)?;
                }
            }
            Command::GoOn => self.go_on(client)?,
            Command::Unknown => self.remark(self.words.unknown_command)?,
        }
        GO_ON
    }

    /// Keys while an answer is awaited: complete lines are sent, and what is begun may be seen before the answer is.
    async fn on_keys(&mut self, client: &mut Client, typed: &mut Typed) -> Flow {
        while let Some(input) = typed.next_line() {
            if let Input::Line(text) = &input {
                self.speak(self.words.you, text.expose())?;
                self.begun = false;
            }
            let flow = self.on_input(client, input).await?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        if typed.has_begun() && !self.begun {
            self.step_aside();
        }
        GO_ON
    }

    /// Does not wait for answers any more: they are shown when they are whole.
    fn step_aside(&mut self) {
        (self.awaited, self.begun) = (None, false);
        self.next.clear();
    }

    /// Waits for the answer to the message that was written next.
    fn await_next(&mut self) -> Result<(), Exit> {
        self.awaited = self.next.pop_front();
        (self.begun, self.pieces, self.interrupts) = (false, Printable::default(), 0);
        let Some(id) = self.awaited.clone() else { return Ok(()) };
        match self.elsewhere.iter().position(|(other, _)| *other == id) {
            Some(at) => {
                let (_, text) = self.elsewhere.swap_remove(at);
                self.on_piece(&id, &text)
            }
            None => Ok(()),
        }
    }

    /// Message `id` has its answer, or gets none. Tells whether that was waited for.
    fn end(&mut self, id: &MessageId) -> bool {
        self.open.retain(|open| open != id);
        self.next.retain(|next| next != id);
        self.awaited.take_if(|awaited| awaited == id).is_some()
    }

    fn crisis(&mut self) -> Result<(), Exit> {
        let lines = self.place.lines(self.language);
        Ok(self.screen.lines(Style::Help, &lines)?)
    }

    async fn country(&mut self, client: &mut Client, name: &str) -> Result<(), Exit> {
        let Some(country) = help::country(name) else { return self.remark(self.words.which_country) };
        self.place.choose(country);
        // The lines first: they need no server.
        self.remark(self.words.country_set)?;
        self.crisis()?;
        match unless_interrupted(client.set_country(country)).await? {
            Err(RequestError::Refused(error)) => self.remark(&printable(&error.message)),
            // The next `hello` says it.
            _ => Ok(()),
        }
    }

    async fn plan(&mut self, client: &mut Client) -> Result<(), Exit> {
        match unless_interrupted(client.safety_plan()).await? {
            Ok(None) => self.remark(self.words.no_plan),
            Ok(Some(plan)) => {
                Ok(self.screen.lines(Style::Help, &help::plan_lines(&plan, &self.place, self.language))?)
            }
            Err(error) => self.failed(&error),
        }
    }

    fn say(&mut self, client: &mut Client, text: &str) -> Result<(), Exit> {
        self.send(client, MessageId::random(), text)
    }

    /// Sends what has no answer again, under its id, or else asks for more. The person sees what is sent for them.
    fn go_on(&mut self, client: &mut Client) -> Result<(), Exit> {
        let more = || (MessageId::random(), UserText::new(self.words.go_on_text));
        let (id, text) = self.unanswered.clone().unwrap_or_else(more);
        self.speak(self.words.you, text.expose())?;
        self.send(client, id, text.expose())
    }

    fn send(&mut self, client: &mut Client, id: MessageId, text: &str) -> Result<(), Exit> {
        match client.send_as(id.clone(), text) {
            Ok(()) => {
                self.unanswered = Some((id.clone(), UserText::new(text)));
                self.open.push(id.clone());
                self.next.push_back(id);
                if self.away {
                    self.remark(self.words.lines_here)?;
                }
                if self.awaited.is_none() { self.await_next() } else { Ok(()) }
            }
            Err(SendError::NoText) => self.remark(self.words.no_text),
            Err(SendError::TooLong { .. }) => self.remark(self.words.too_long),
            Err(SendError::Full) => self.remark(self.words.too_many),
            Err(_) => self.remark(self.words.ended),
        }
    }

    /// Ctrl-C while an answer is awaited: stops it; then says so; then does not wait any more.
    fn on_interrupt(&mut self, client: &mut Client) -> Flow {
        let Some(id) = self.awaited.clone() else { return GO_ON };
        self.interrupts += 1;
        match self.interrupts {
            1 => return self.stop(client, &id).map(ControlFlow::Continue),
            2 => self.remark(self.words.leave_again)?,
            _ => {
                self.screen.end_line()?;
                self.step_aside();
            }
        }
        GO_ON
    }

    /// Ends the answer to `id`. What the server has not taken is taken back, and may be sent again.
    fn stop(&mut self, client: &mut Client, id: &MessageId) -> Result<(), Exit> {
        let before = client.unanswered();
        // Too many stops: the answer goes on, nothing is lost.
        if client.stop(id).is_err() || client.unanswered() == before {
            return Ok(());
        }
        if self.end(id) {
            self.await_next()?;
        }
        self.remark(self.words.send_again)
    }

    fn show_token(&mut self, client: &Client) -> Result<(), Exit> {
        let token = printable(client.resume_token().map_or("", |token| token.expose()));
        self.remark(self.words.token)?;
        let command = format!("  PSICOIA_RESUME={token} psicoia {}", self.setup.address());
        Ok(self.screen.verbatim(Style::Plain, &command)?)
    }

    async fn history(&mut self, client: &mut Client, before: Option<u64>, limit: usize) -> Result<(), Exit> {
        match unless_interrupted(client.history(before, limit)).await? {
            Ok(page) if page.entries.is_empty() => self.remark(self.words.no_history),
            Ok(page) => page.entries.iter().try_for_each(|entry| self.show_entry(entry, self.words.you)),
            Err(error) => self.failed(&error),
        }
    }

    fn show_entry(&mut self, entry: &Entry, you: &str) -> Result<(), Exit> {
        match entry.role {
            Role::User => self.speak(you, entry.text.expose()),
            Role::Assistant => self.speak(PSICOIA, entry.text.expose()),
            Role::Support => {
                let resources = entry.help.as_ref().map_or(&[][..], |help| &help.resources);
                self.show_help(entry.text.expose(), resources)
            }
        }
    }

    async fn erase(&mut self, client: &mut Client) -> Flow {
        match unless_interrupted(client.erase()).await? {
            Ok(_) => {
                self.setup.forget(client)?;
                self.remark(self.words.erased).map(ControlFlow::Break)
            }
            Err(error) => self.failed(&error).map(ControlFlow::Continue),
        }
    }

    async fn language(&mut self, client: &mut Client, tag: &str) -> Result<(), Exit> {
        let supported = ["es", "en"].iter().any(|code| tag.to_lowercase().starts_with(code));
        let Some(locale) = tag.parse::<Locale>().ok().filter(|_| supported) else {
            return self.remark(self.words.languages);
        };
        match unless_interrupted(client.set_locale(locale)).await? {
            Ok(locale) => {
                self.language = locale.language();
                self.words = words::of(self.language);
                self.remark(self.words.language_set)
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &RequestError) -> Result<(), Exit> {
        match error {
            RequestError::Refused(error) => self.remark(&printable(&error.message)),
            RequestError::TimedOut => self.remark(self.words.no_reply),
            error => self.remark(&error.to_string()),
        }
    }
}

/// The result of a request, or that it took too long where the person does not want to wait for it: a
/// connection that is dead, or a server that is slow, must not keep a person from leaving.
async fn unless_interrupted<T>(
    request: impl Future<Output = Result<T, RequestError>>,
) -> Result<Result<T, RequestError>, Exit> {
    tokio::select! {
        result = request => Ok(result),
        interrupt = tokio::signal::ctrl_c() => {
            interrupt?;
            Ok(Err(RequestError::TimedOut))
        }
    }
}

const PSICOIA: &str = "PsicoIA";
