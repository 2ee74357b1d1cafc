//! The plain face: handlers of lines (`proto-line/SPEC.md` §2).

use std::sync::Arc;

use protocol::limits::MAX_TEXT_CHARS;
use protocol::trace::Traceparent;
use protocol::{ClientFrame, CloseReason, Country, ErrorCode, Language, MessageId, ResumeToken, UserText};
use safety::guide::{self, Topic};
use safety::resources::parse_country;
use limits::ClientSubnet;

use super::plain::{Command, PlainState, history, language_named, safety_plan};
use super::read_ahead::{Input, Line};
use super::{Attached, Connection, FaceState, texts};
use crate::sessions::{LiveSession, Opened, SessionError};

/// Entries shown by `/historial`.
const HISTORY_ENTRIES: usize = 20;

impl Connection {
    /// Handles a line of a connection that is not framed.
    pub(super) fn on_plain_line(&mut self, line: Line) {
        match ClientFrame::hint(line.text.expose()) {
            Some(meant) => self.on_frame_in_plain(&line.text, meant.is_hello()),
            None => self.execute_command(line),
        }
    }

    /// Opens a session, then writes the greeting.
    pub(super) fn greet(&mut self) {
        let sessions = Arc::clone(&self.context.sessions);
        self.spawn_then(async move {
            let opened = sessions.create(None, None).await;
            move |connection: &mut Self| connection.on_greeted(opened)
        });
    }

    fn on_greeted(&mut self, opened: Result<Opened, SessionError>) {
        match opened {
            Ok(opened) => {
                self.face = FaceState::Plain(PlainState::default());
                let user = opened.session.user();
                self.attach(opened, false);
                self.transfer_watch();
                texts::greeting(user).iter().for_each(|line| self.write_line(line));
            }
            Err(error) => {
                // Stays open, and the next line tries again: a message in risk must not meet a closed connection.
                self.has_failed_to_greet = true;
                self.on_session_error(&error);
                self.refuse_ungreeted();
            }
        }
    }

    /// Drops the line for which no session could be opened: the error is its answer.
    fn refuse_ungreeted(&mut self) {
        match self.ahead.pop() {
            Some(Input::Line(line)) if ClientFrame::hint(line.text.expose()).is_none() => {
                if Command::parse(line.text.expose()) == Command::Exit {
                    self.closing = Some(CloseReason::Bye);
                }
            }
            Some(Input::Rejected(_)) | None => {}
            Some(input) => self.ahead.put_back(input),
        }
    }

    fn execute_command(&mut self, line: Line) {
        let Line { text, trace, id, .. } = line;
        let Some((session, token)) = self.attached.as_ref().map(|it| (Arc::clone(&it.session), it.token.clone()))
        else {
            return;
        };
        let language = session.language();
        let FaceState::Plain(plain) = &mut self.face else { return };
        let erase_requested = std::mem::take(&mut plain.erase_requested);
        match Command::parse(text.expose()) {
            Command::Message => self.submit_text(id.unwrap_or_else(MessageId::random), text, trace),
            Command::Crisis => self.show_crisis_lines(),
            Command::Country("") => self.write_line(texts::country_missing(language)),
            Command::Country(name) => self.choose_country(&session, name),
            Command::Exit => {
                session.parting_line().iter().for_each(|line| self.write_line(line));
                self.write_line(texts::goodbye(language));
                self.closing = Some(CloseReason::Bye);
            }
            Command::Help => texts::help(language).iter().for_each(|line| self.write_line(line)),
            Command::Unknown => {
                self.save_help();
                self.write_line(texts::unknown_command(language));
            }
            Command::Session => self.write_line(&texts::session_token(language, &token.expose())),
            Command::Resume("") => self.write_line(texts::token_missing(language)),
            Command::Resume(token) => self.resume(token),
            Command::Erase if erase_requested => self.erase(),
            Command::Erase => {
                plain.erase_requested = true;
                self.write_line(texts::confirm_erase(language));
            }
            Command::Ai => self.write_line(guide::notice(language)),
            Command::About => self.write_guide(Topic::About),
            Command::Protection => self.write_guide(Topic::Protection),
            Command::History => self.write_history(session, language),
            Command::Plan => self.write_plan(session, language),
            Command::Language(name) => match language_named(name) {
                None => self.write_line(texts::languages(language)),
                Some(locale) => self.spawn_then(async move {
                    let changed = session.set_locale(locale).await;
                    move |connection: &mut Self| match changed {
                        Ok(()) => connection.write_line(texts::language_changed(locale.language())),
                        Err(error) => connection.on_session_error(&error),
                    }
                }),
            },
        }
    }

    fn write_history(&mut self, session: Arc<LiveSession>, language: Language) {
        let (context, address) = (Arc::clone(&self.context), ClientSubnet::of(self.peer.address));
        self.spawn_then(async move {
            let _permit = context.request_limiter.acquire(address).await;
            let entries = session.last_entries_with_help(HISTORY_ENTRIES).await;
            move |connection: &mut Self| match entries {
                Ok(entries) => history(&entries, language).iter().for_each(|line| connection.write_line(line)),
                Err(error) => connection.on_session_error(&error),
            }
        });
    }

    fn write_plan(&mut self, session: Arc<LiveSession>, language: Language) {
        let (context, address) = (Arc::clone(&self.context), ClientSubnet::of(self.peer.address));
        self.spawn_then(async move {
            let _permit = context.request_limiter.acquire(address).await;
            let plan = session.safety_plan().await;
            move |connection: &mut Self| match plan {
                Ok(plan) => safety_plan(plan.as_ref(), language).iter().for_each(|line| connection.write_line(line)),
                Err(error) => connection.on_session_error(&error),
            }
        });
    }

    fn choose_country(&mut self, session: &Arc<LiveSession>, name: &str) {
        let country = parse_country(name).and_then(|code| code.parse::<Country>().ok());
        let Some(country) = country else { return self.write_line(texts::country_unknown(session.language())) };
        let session = Arc::clone(session);
        self.spawn_then(async move {
            let chosen = session.set_country(country).await;
            move |connection: &mut Self| match chosen {
                Ok(()) => connection.write_line(&texts::country_chosen(session.language(), country)),
                Err(error) => connection.on_session_error(&error),
            }
        });
    }

    fn submit_text(&mut self, id: MessageId, text: UserText, trace: Traceparent) {
        if MAX_TEXT_CHARS < text.chars() {
            self.save_help();
            return self.write_error(ErrorCode::TextTooLong);
        }
        if let FaceState::Plain(plain) = &mut self.face {
            plain.await_answer(id.clone());
        }
        self.submit(id, text, trace);
    }

    fn resume(&mut self, token: &str) {
        let Ok(token) = token.parse::<ResumeToken>() else {
            return self.write_error(ErrorCode::BadResume);
        };
        let sessions = Arc::clone(&self.context.sessions);
        self.spawn_then(async move {
            let opened = sessions.resume(token, None, None).await;
            move |connection: &mut Self| match opened {
                Ok(Some(opened)) => {
                    let line = texts::resumed(opened.session.language(), opened.session.user());
                    match connection.attach(opened, true) {
                        Some(_) => connection.write_line(&line),
                        // Erased by another connection in the meantime.
                        None => connection.write_error(ErrorCode::BadResume),
                    }
                }
                Ok(None) => connection.write_error(ErrorCode::BadResume),
                Err(error) => connection.on_session_error(&error),
            }
        });
    }

    fn erase(&mut self) {
        let Some(Attached { session, id, .. }) = &self.attached else { return };
        let (session, id) = (Arc::clone(session), *id);
        session.await_erasure(id);
        self.spawn_then(async move {
            let erased = session.erase().await;
            let is_gone = session.end_erasure(id).is_some();
            let language = session.language();
            move |connection: &mut Self| match erased {
                Err(error) if !is_gone => connection.on_session_error(&error),
                // Also if another device erased it first.
                Ok(_) | Err(_) => {
                    connection.write_line(texts::erased(language));
                    connection.attached = None;
                    connection.closing = Some(CloseReason::Erased);
                }
            }
        });
    }

    /// Writes the one line of answer to a message whose session was erased before.
    pub(super) fn write_erased_error(&mut self) {
        let is_erased = self.outbox.close_reason() == Some(CloseReason::Erased);
        if let FaceState::Plain(plain) = &mut self.face
            && is_erased
            && self.task.is_none()
            && plain.awaiting.take().is_some()
        {
            self.write_line(texts::erased_meanwhile(self.language()));
        }
    }

    /// Writes an error as one line.
    pub(super) fn write_error(&mut self, code: ErrorCode) {
        let message = code.message(self.language(), None);
        self.write_line(&message);
    }

    fn on_session_error(&mut self, error: &SessionError) {
        if let SessionError::Gone = error {
            // Erased; the session closes this connection.
            return self.write_line(texts::erased_meanwhile(self.language()));
        }
        tracing::error!(trace_id = %self.peer.trace.trace_id, %error, "store operation failed");
        let error = error.rejection().frame(self.language());
        self.write_line(&error.message);
    }
}
