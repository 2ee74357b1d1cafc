//! A conversation with a person at the terminal.
//!
//! Either a line is being edited, and what comes appears above it in whole lines, or an answer
//! is awaited and streams, and Ctrl-C stops it.

mod event;

use std::ops::ControlFlow;

use client::{Client, Event, Locale, MessageId, RequestError, Role, SendError, UserText};
use protocol::server_frame::Entry;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Setup;
use crate::commands::Command;
use crate::exit::Exit;
use crate::input::{Input, Keyboard};
use crate::printable::{Printable, printable};
use crate::screen::{Screen, Style, Terminal};
use crate::words::{self, Words};

/// The shell lets a stopped program go on.
const SIGCONT: i32 = rustix::process::Signal::CONT.as_raw();

/// Entries shown when an earlier session goes on, and by `/historial`.
const SHOWN: (usize, usize) = (6, 20);
/// Where texts of other devices' answers are cut; a session has one at a time.
const MAX_ELSEWHERE: usize = 8;

type Flow = Result<ControlFlow<()>, Exit>;
const GO_ON: Flow = Ok(ControlFlow::Continue(()));
const LEAVE: Flow = Ok(ControlFlow::Break(()));

struct Talk<'a> {
    setup: &'a Setup,
    words: &'static Words,
    screen: Screen,
    /// The own message whose answer is awaited; no line is edited meanwhile.
    awaited: Option<MessageId>,
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
    let mut talk = Talk::new(setup, Screen::new(setup.color, above, terminal));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut resumed = signal(SignalKind::from_raw(SIGCONT))?;
    loop {
        if talk.awaited.is_none() && !talk.screen.prompting {
            talk.screen.end_line()?;
            talk.screen.prompting = true;
            // The keyboard's thread is there as long as its receiver.
            let _ = ask.try_send(talk.screen.styled(Style::Speaker, talk.words.prompt));
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
            words: setup.words(),
            screen,
            awaited: None,
            unanswered: None,
            begun: false,
            pieces: Printable::default(),
            elsewhere: Vec::new(),
            erasing: false,
            greeted: false,
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
            Command::Stop => self.remark(self.words.nothing_to_stop)?,
            Command::GoOn => self.go_on(client)?,
            Command::Unknown => self.remark(self.words.unknown_command)?,
        }
        GO_ON
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
                self.awaited = Some(id);
                (self.begun, self.pieces, self.interrupts) = (false, Printable::default(), 0);
                Ok(())
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
                self.elsewhere.push((id, String::new()));
                self.awaited = None;
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
        self.awaited = None;
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
            Role::Support => Ok(self.screen.lines(Style::Help, &printable(entry.text.expose()))?),
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
                self.words = words::of(locale.language());
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
