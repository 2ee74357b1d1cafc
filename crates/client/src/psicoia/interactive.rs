//! Interactive conversation at a terminal.
//!
//! Either a line is being edited, and output appears above it in whole lines, or an answer
//! is awaited and streams, and Ctrl-C stops it. Writing never waits for an answer: before the first delta a
//! key brings the prompt back; later a complete line is sent as a message.

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
use crate::help::{self, Location};
use crate::input::{Input, Keyboard, PromptRequest};
use crate::sanitize::{AnswerText, answer_text, sanitize};
use crate::screen::{Screen, Style, Terminal};
use crate::strings::{self, Strings};
use crate::type_ahead::TypeAhead;

/// Sent by the shell when it continues a stopped program.
const SIGCONT: i32 = rustix::process::Signal::CONT.as_raw();

/// Entries shown after a resume, and by `/historial`.
const SHOWN: (usize, usize) = (6, 20);
/// Bound on answers buffered to be shown whole: own ones that are not awaited, and those of other devices.
const MAX_OTHER_ANSWERS: usize = 64;

type Flow = Result<ControlFlow<()>, Exit>;
const CONTINUE: Flow = Ok(ControlFlow::Continue(()));
const EXIT: Flow = Ok(ControlFlow::Break(()));

struct InteractiveSession<'a> {
    setup: &'a Setup,
    language: Language,
    strings: &'static Strings,
    screen: Screen,
    location: Location,
    /// The server's AI disclosure, as last shown.
    about: Option<String>,
    /// Own message whose answer is awaited; the prompt is hidden meanwhile.
    awaited: Option<MessageId>,
    /// Own messages written during that answer; their answers are awaited next.
    next: VecDeque<MessageId>,
    /// All own messages without an answer.
    pending: Vec<MessageId>,
    /// Own message sent last, until it is answered.
    unanswered: Option<(MessageId, UserText)>,
    /// Text of the awaited answer is on the screen.
    started: bool,
    pieces: AnswerText,
    /// Answers that arrive while a line is being edited; shown when complete.
    other_answers: Vec<(MessageId, String)>,
    /// `/borrar` was the last line.
    erasing: bool,
    /// The greeting was shown.
    greeted: bool,
    /// The next notice belongs to a `welcome`.
    connected: bool,
    disconnected: bool,
    /// The loss of the connection was shown.
    offline_shown: bool,
    interrupts: u32,
}

/// Runs until the person leaves or the conversation is over.
pub(crate) async fn run(client: &mut Client, setup: &Setup) -> Result<(), Exit> {
    // Install the handler before silencing the terminal: a Ctrl-C in between would exit without restoring it.
    let _interrupts = signal(SignalKind::interrupt())?;
    let terminal = Terminal::quiet();
    let Keyboard { prompts, mut lines, printer } = Keyboard::open().map_err(|error| Exit::Other(error.to_string()))?;
    let mut type_ahead = TypeAhead::default();
    let mut session = InteractiveSession::new(setup, Screen::new(setup.color, printer, terminal));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut resumed = signal(SignalKind::from_raw(SIGCONT))?;
    loop {
        if session.awaited.is_none() && !session.screen.prompting {
            session.screen.end_line()?;
            session.screen.prompting = true;
            // The editor's thread lives as long as its receiver, so the send cannot fail.
            let prompt = session.screen.styled(Style::Speaker, session.strings.prompt);
            let _ = prompts.try_send(PromptRequest { prompt, initial: type_ahead.take() });
        }
        let flow = tokio::select! {
            event = client.next_event() => match event {
                Some(event) => session.on_event(client, event).await?,
                None => return Ok(()),
            },
            input = lines.recv() => {
                session.screen.prompting = false;
                session.on_input(client, input.unwrap_or(Input::End)).await?
            }
            pressed = type_ahead.pressed(), if !session.screen.prompting => {
                pressed?;
                session.on_keys(client, &mut type_ahead).await?
            }
            interrupt = tokio::signal::ctrl_c() => {
                interrupt?;
                session.on_interrupt(client)?
            }
            _ = terminate.recv() => ControlFlow::Break(()),
            _ = resumed.recv() => {
                // While prompting, the line editor sets its own mode.
                if !session.screen.prompting {
                    session.screen.terminal.silence();
                }
                ControlFlow::Continue(())
            }
        };
        if flow.is_break() {
            return Ok(());
        }
    }
}

impl<'a> InteractiveSession<'a> {
    fn new(setup: &'a Setup, screen: Screen) -> Self {
        Self {
            setup,
            language: setup.language(),
            strings: setup.strings(),
            screen,
            location: Location::new(setup.country),
            about: None,
            awaited: None,
            next: VecDeque::new(),
            pending: Vec::new(),
            unanswered: None,
            started: false,
            pieces: AnswerText::default(),
            other_answers: Vec::new(),
            erasing: false,
            greeted: false,
            connected: false,
            disconnected: false,
            offline_shown: false,
            interrupts: 0,
        }
    }

    fn print_note(&mut self, text: &str) -> Result<(), Exit> {
        Ok(self.screen.lines(Style::Dim, text)?)
    }

    fn print_speech(&mut self, speaker: &str, text: &str) -> Result<(), Exit> {
        Ok(self.screen.speech(speaker, &sanitize(text))?)
    }

    fn print_answer(&mut self, text: &str) -> Result<(), Exit> {
        Ok(self.screen.speech(PSICOIA, &answer_text(text))?)
    }

    // ---- input ------------------------------------------------------------------------------

    async fn on_input(&mut self, client: &mut Client, input: Input) -> Flow {
        let text = match input {
            Input::Line(text) => text,
            Input::Cleared => return CONTINUE,
            Input::Bad => return self.print_note(self.strings.too_long).map(ControlFlow::Continue),
            Input::End => return self.print_note(self.strings.bye).map(ControlFlow::Break),
            Input::Failed(error) => return Err(error.into()),
        };
        let confirmed = std::mem::take(&mut self.erasing);
        match Command::parse(text.expose()) {
            Command::Empty => {}
            Command::Message(text) => self.send_message(client, text)?,
            Command::Leave => return self.print_note(self.strings.bye).map(ControlFlow::Break),
            Command::Help => self.print_note(self.strings.help)?,
            Command::History => self.history(client, None, SHOWN.1).await?,
            Command::Session => self.show_token(client)?,
            Command::Erase if confirmed => return self.erase(client).await,
            Command::Erase => {
                self.erasing = true;
                self.print_note(self.strings.confirm_erase)?;
            }
            Command::Language(tag) => self.language(client, tag).await?,
            Command::Crisis => self.crisis()?,
            Command::Country(name) => self.country(client, name).await?,
            Command::About => {
                let about = self.about.clone();
                self.print_note(about.as_deref().unwrap_or(self.strings.ai))?;
            }
            Command::Plan => self.plan(client).await?,
            Command::LinkCode => self.link(client).await?,
            Command::CloseOthers => self.close_others(client).await?,
            Command::ForgetLast => self.forget_last(client).await?,
            Command::Summary => self.summary(client).await?,
            Command::ForgetSummary => match unless_interrupted(client.forget_summary()).await? {
                Ok(()) => self.print_note(self.strings.summary_forgotten)?,
                Err(error) => self.failed(&error)?,
            },
            Command::Stop if self.pending.is_empty() => self.print_note(self.strings.nothing_to_stop)?,
            Command::Stop => {
                for id in self.pending.clone() {
                    self.stop(client, &id)?;
                }
            }
            Command::Continue => self.continue_answer(client)?,
            Command::Unknown => self.print_note(self.strings.unknown_command)?,
        }
        CONTINUE
    }

    /// Handles keys while an answer is awaited: sends complete lines, and shows the prompt for a partial line if
    /// the answer has not started.
    async fn on_keys(&mut self, client: &mut Client, type_ahead: &mut TypeAhead) -> Flow {
        while let Some(input) = type_ahead.next_line() {
            if let Input::Line(text) = &input {
                self.print_speech(self.strings.you, text.expose())?;
                self.started = false;
            }
            let flow = self.on_input(client, input).await?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        if type_ahead.has_begun() && !self.started {
            self.stop_awaiting();
        }
        CONTINUE
    }

    /// Returns to the prompt; pending answers are shown when complete.
    fn stop_awaiting(&mut self) {
        (self.awaited, self.started) = (None, false);
        self.next.clear();
    }

    /// Awaits the answer to the next message written.
    fn await_next(&mut self) -> Result<(), Exit> {
        self.awaited = self.next.pop_front();
        (self.started, self.pieces, self.interrupts) = (false, AnswerText::default(), 0);
        let Some(id) = self.awaited.clone() else { return Ok(()) };
        match self.other_answers.iter().position(|(other, _)| *other == id) {
            Some(at) => {
                let (_, text) = self.other_answers.swap_remove(at);
                self.on_piece(&id, &text)
            }
            None => Ok(()),
        }
    }

    /// Finishes message `id`; true if its answer was awaited.
    fn finish(&mut self, id: &MessageId) -> bool {
        self.pending.retain(|pending| pending != id);
        self.next.retain(|next| next != id);
        self.awaited.take_if(|awaited| awaited == id).is_some()
    }

    fn crisis(&mut self) -> Result<(), Exit> {
        let lines = self.location.lines(self.language);
        Ok(self.screen.lines(Style::Help, &lines)?)
    }

    async fn country(&mut self, client: &mut Client, name: &str) -> Result<(), Exit> {
        let Some(country) = help::country(name) else { return self.print_note(self.strings.which_country) };
        self.location.choose(country);
        // Help lines come first: they must not depend on the server.
        self.print_note(self.strings.country_set)?;
        self.crisis()?;
        match unless_interrupted(client.set_country(country)).await? {
            Err(RequestError::Refused(error)) => self.print_note(&sanitize(&error.message)),
            // The next `hello` carries the country.
            _ => Ok(()),
        }
    }

    async fn plan(&mut self, client: &mut Client) -> Result<(), Exit> {
        match unless_interrupted(client.safety_plan()).await? {
            Ok(None) => self.print_note(self.strings.no_plan),
            Ok(Some(plan)) => {
                Ok(self.screen.lines(Style::Help, &help::plan_lines(&plan, &self.location, self.language))?)
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn link(&mut self, client: &mut Client) -> Result<(), Exit> {
        match unless_interrupted(client.link()).await? {
            Ok((code, _)) => {
                self.print_note(self.strings.link)?;
                let command = format!("  PSICOIA_RESUME={} psicoia {}", sanitize(code.expose()), self.setup.address());
                Ok(self.screen.verbatim(Style::Plain, &command)?)
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn close_others(&mut self, client: &mut Client) -> Result<(), Exit> {
        let rotated = unless_interrupted(client.rotate_resume()).await?;
        // Also after a lost response: the new token may be the valid one.
        self.setup.remember(client)?;
        match rotated {
            Ok(_) => self.print_note(self.strings.others_closed),
            Err(error) => self.failed(&error),
        }
    }

    async fn forget_last(&mut self, client: &mut Client) -> Result<(), Exit> {
        match unless_interrupted(client.forget_last()).await? {
            // The event says so.
            Ok(Some(_)) => Ok(()),
            Ok(None) => self.print_note(self.strings.no_history),
            Err(error) => self.failed(&error),
        }
    }

    async fn summary(&mut self, client: &mut Client) -> Result<(), Exit> {
        match unless_interrupted(client.summary()).await? {
            Ok(Some(summary)) => self.print_note(&sanitize(summary.text.expose())),
            Ok(None) => self.print_note(self.strings.no_summary),
            Err(error) => self.failed(&error),
        }
    }

    fn send_message(&mut self, client: &mut Client, text: &str) -> Result<(), Exit> {
        self.send(client, MessageId::random(), text)
    }

    /// Resends the unanswered message under its id, or asks the model to continue. Shows the text sent on the
    /// person's behalf.
    fn continue_answer(&mut self, client: &mut Client) -> Result<(), Exit> {
        let more = || (MessageId::random(), UserText::new(self.strings.go_on_text));
        let (id, text) = self.unanswered.clone().unwrap_or_else(more);
        self.print_speech(self.strings.you, text.expose())?;
        self.send(client, id, text.expose())
    }

    fn send(&mut self, client: &mut Client, id: MessageId, text: &str) -> Result<(), Exit> {
        match client.send_as(id.clone(), text) {
            Ok(()) => {
                self.unanswered = Some((id.clone(), UserText::new(text)));
                self.pending.push(id.clone());
                self.next.push_back(id);
                if self.disconnected {
                    self.print_note(self.strings.lines_here)?;
                }
                if self.awaited.is_none() { self.await_next() } else { Ok(()) }
            }
            Err(SendError::NoText) => self.print_note(self.strings.no_text),
            Err(SendError::TooLong { .. }) => self.print_note(self.strings.too_long),
            Err(SendError::Full) => self.print_note(self.strings.too_many),
            Err(_) => self.print_note(self.strings.ended),
        }
    }

    /// Handles Ctrl-C while an answer is awaited: first stops it, then prints a hint, then returns to the prompt.
    fn on_interrupt(&mut self, client: &mut Client) -> Flow {
        let Some(id) = self.awaited.clone() else { return CONTINUE };
        self.interrupts += 1;
        match self.interrupts {
            1 => return self.stop(client, &id).map(ControlFlow::Continue),
            2 => self.print_note(self.strings.leave_again)?,
            _ => {
                self.screen.end_line()?;
                self.stop_awaiting();
            }
        }
        CONTINUE
    }

    /// Stops the answer to `id`, or withdraws the message; a withdrawn one may be sent again.
    fn stop(&mut self, client: &mut Client, id: &MessageId) -> Result<(), Exit> {
        let before = client.unanswered();
        // A full queue of stops leaves the answer streaming; nothing is lost.
        if client.stop(id).is_err() || client.unanswered() == before {
            return Ok(());
        }
        if self.finish(id) {
            self.await_next()?;
        }
        self.print_note(self.strings.send_again)
    }

    fn show_token(&mut self, client: &Client) -> Result<(), Exit> {
        let token = sanitize(client.resume_token().map_or("", |token| token.expose()));
        self.print_note(self.strings.token)?;
        let command = format!("  PSICOIA_RESUME={token} psicoia {}", self.setup.address());
        Ok(self.screen.verbatim(Style::Plain, &command)?)
    }

    async fn history(&mut self, client: &mut Client, before: Option<u64>, limit: usize) -> Result<(), Exit> {
        match unless_interrupted(client.history(before, limit)).await? {
            Ok(page) if page.entries.is_empty() => self.print_note(self.strings.no_history),
            Ok(page) => page.entries.iter().try_for_each(|entry| self.show_entry(entry, self.strings.you)),
            Err(error) => self.failed(&error),
        }
    }

    fn show_entry(&mut self, entry: &Entry, you: &str) -> Result<(), Exit> {
        match entry.role {
            Role::User => self.print_speech(you, entry.text.expose()),
            Role::Assistant => self.print_answer(entry.text.expose()),
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
                self.print_note(self.strings.erased).map(ControlFlow::Break)
            }
            Err(error) => self.failed(&error).map(ControlFlow::Continue),
        }
    }

    async fn language(&mut self, client: &mut Client, tag: &str) -> Result<(), Exit> {
        let supported = ["es", "en"].iter().any(|code| tag.to_lowercase().starts_with(code));
        let Some(locale) = tag.parse::<Locale>().ok().filter(|_| supported) else {
            return self.print_note(self.strings.languages);
        };
        match unless_interrupted(client.set_locale(locale)).await? {
            Ok(locale) => {
                self.language = locale.language();
                self.strings = strings::of(self.language);
                self.print_note(self.strings.language_set)
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &RequestError) -> Result<(), Exit> {
        match error {
            RequestError::Refused(error) => self.print_note(&sanitize(&error.message)),
            RequestError::TimedOut => self.print_note(self.strings.no_reply),
            error => self.print_note(&error.to_string()),
        }
    }
}

/// Awaits a request; Ctrl-C maps to a timeout: a dead connection or a slow server must not keep a person
/// from leaving.
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
