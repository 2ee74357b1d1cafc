//! The plain face: what each line does (`proto-line/SPEC.md` §2).

use std::sync::Arc;

use boot::ClientSubnet;
use protocol::limits::MAX_TEXT_CHARS;
use protocol::trace::Traceparent;
use protocol::{ClientFrame, CloseReason, Country, ErrorCode, Language, MessageId, ResumeToken, UserText};
use safety::guide::{self, Topic};
use safety::resources::parse_country;

use super::plain::{Command, Plain, history, language_named, safety_plan};
use super::read_ahead::Line;
use super::{Attached, Connection, FaceState, texts};
use crate::session::{Opened, Session};
use crate::store::StoreError;
use crate::turn::Refusal;

/// Entries `/historial` shows.
const HISTORY_ENTRIES: usize = 20;

impl Connection {
    /// Takes a line on a connection that is not framed.
    pub(super) fn on_plain_line(&mut self, line: Line) {
        match ClientFrame::hint(line.text.expose()) {
            Some(meant) => self.on_frame_in_plain(&line.text, meant.is_hello()),
            None => self.obey(line),
        }
    }

    /// Opens a session and greets.
    pub(super) fn greet(&mut self) {
        let sessions = Arc::clone(&self.context.sessions);
        self.later(async move {
            let opened = sessions.create(None, None).await;
            move |connection: &mut Self| connection.on_greeted(opened)
        });
    }

    fn on_greeted(&mut self, opened: Result<Opened, StoreError>) {
        self.face = FaceState::Plain(Plain::default());
        match opened {
            Ok(opened) => {
                let user = opened.session.user();
                self.attach(opened, false);
                self.hand_over();
                texts::greeting(user).iter().for_each(|line| self.say(line));
            }
            Err(error) => {
                self.store_failed(&error);
                self.closing = Some(CloseReason::Internal);
            }
        }
    }

    /// Does what a line asks.
    fn obey(&mut self, line: Line) {
        let Line { text, trace, id, .. } = line;
        let Some((session, token)) = self.attached.as_ref().map(|it| (Arc::clone(&it.session), it.token.clone()))
        else {
            return;
        };
        let language = session.language();
        let FaceState::Plain(plain) = &mut self.face else { return };
        let erase_asked = std::mem::take(&mut plain.erase_asked);
        match Command::parse(text.expose()) {
            Command::Say => self.converse(id.unwrap_or_else(MessageId::random), text, trace),
            Command::Crisis => self.show_crisis_lines(),
            Command::Country("") => self.say(texts::country_missing(language)),
            Command::Country(name) => self.choose_country(&session, name),
            Command::Leave => {
                session.parting_line().iter().for_each(|line| self.say(line));
                self.say(texts::goodbye(language));
                self.closing = Some(CloseReason::Bye);
            }
            Command::Help => texts::help(language).iter().for_each(|line| self.say(line)),
            Command::Unknown => {
                self.save_help();
                self.say(texts::unknown_command(language));
            }
            Command::Session => self.say(&texts::session_token(language, &token.expose())),
            Command::Resume("") => self.say(texts::token_missing(language)),
            Command::Resume(token) => self.resume(token),
            Command::Erase if erase_asked => self.erase(),
            Command::Erase => {
                plain.erase_asked = true;
                self.say(texts::confirm_erase(language));
            }
            Command::Ai => self.say(guide::notice(language)),
            Command::About => self.say_guide(Topic::About),
            Command::Protection => self.say_guide(Topic::Protection),
            Command::History => self.tell_history(session, language),
            Command::Plan => self.tell_plan(session, language),
            Command::Language(name) => match language_named(name) {
                None => self.say(texts::languages(language)),
                Some(locale) => self.later(async move {
                    let changed = session.set_locale(locale).await;
                    move |connection: &mut Self| match changed {
                        Ok(()) => connection.say(texts::language_changed(locale.language())),
                        Err(error) => connection.store_failed(&error),
                    }
                }),
            },
        }
    }

    fn tell_history(&mut self, session: Arc<Session>, language: Language) {
        let (context, address) = (Arc::clone(&self.context), ClientSubnet::of(self.peer.address));
        self.later(async move {
            let _turn = context.request_limiter.acquire(address).await;
            let entries = session.last_entries_told(HISTORY_ENTRIES).await;
            move |connection: &mut Self| match entries {
                Ok(entries) => history(&entries, language).iter().for_each(|line| connection.say(line)),
                Err(error) => connection.store_failed(&error),
            }
        });
    }

    fn tell_plan(&mut self, session: Arc<Session>, language: Language) {
        let (context, address) = (Arc::clone(&self.context), ClientSubnet::of(self.peer.address));
        self.later(async move {
            let _turn = context.request_limiter.acquire(address).await;
            let plan = session.safety_plan().await;
            move |connection: &mut Self| match plan {
                Ok(plan) => safety_plan(plan.as_ref(), language).iter().for_each(|line| connection.say(line)),
                Err(error) => connection.store_failed(&error),
            }
        });
    }

    fn choose_country(&mut self, session: &Arc<Session>, name: &str) {
        let country = parse_country(name).and_then(|code| code.parse::<Country>().ok());
        let Some(country) = country else { return self.say(texts::country_unknown(session.language())) };
        let session = Arc::clone(session);
        self.later(async move {
            let chosen = session.set_country(country).await;
            move |connection: &mut Self| match chosen {
                Ok(()) => connection.say(&texts::country_chosen(session.language(), country)),
                Err(error) => connection.store_failed(&error),
            }
        });
    }

    fn converse(&mut self, id: MessageId, text: UserText, trace: Traceparent) {
        if MAX_TEXT_CHARS < text.chars() {
            self.save_help();
            return self.say_error(ErrorCode::TextTooLong);
        }
        if let FaceState::Plain(plain) = &mut self.face {
            plain.expect(id.clone());
        }
        self.submit(id, text, trace);
    }

    fn resume(&mut self, token: &str) {
        let Ok(token) = token.parse::<ResumeToken>() else {
            return self.say_error(ErrorCode::BadResume);
        };
        let sessions = Arc::clone(&self.context.sessions);
        self.later(async move {
            let opened = sessions.resume(token, None, None).await;
            move |connection: &mut Self| match opened {
                Ok(Some(opened)) => {
                    let line = texts::resumed(opened.session.language(), opened.session.user());
                    match connection.attach(opened, true) {
                        Some(_) => connection.say(&line),
                        // Erased while it was opened.
                        None => connection.say_error(ErrorCode::BadResume),
                    }
                }
                Ok(None) => connection.say_error(ErrorCode::BadResume),
                Err(error) => connection.store_failed(&error),
            }
        });
    }

    fn erase(&mut self) {
        let Some(Attached { session, id, .. }) = &self.attached else { return };
        let (session, id) = (Arc::clone(session), *id);
        session.await_erasure(id);
        self.later(async move {
            let erased = session.erase().await;
            let is_gone = session.end_erasure(id).is_some();
            let language = session.language();
            move |connection: &mut Self| match erased {
                Err(error) if !is_gone => connection.store_failed(&error),
                // Also where another device was faster.
                Ok(_) | Err(_) => {
                    connection.say(texts::erased(language));
                    connection.attached = None;
                    connection.closing = Some(CloseReason::Erased);
                }
            }
        });
    }

    /// Says the one line a message is owed whose session was erased before its answer.
    pub(super) fn settle_erased(&mut self) {
        let is_erased = self.outbox.close_reason() == Some(CloseReason::Erased);
        if let FaceState::Plain(plain) = &mut self.face
            && is_erased
            && self.task.is_none()
            && plain.awaiting.take().is_some()
        {
            self.say(texts::erased_meanwhile(self.language()));
        }
    }

    /// Says in one line what went wrong.
    pub(super) fn say_error(&mut self, code: ErrorCode) {
        let message = code.message(self.language(), None);
        self.say(&message);
    }

    fn store_failed(&mut self, error: &StoreError) {
        if let StoreError::NoSession { .. } = error {
            // The session has closed this connection.
            return self.say(texts::erased_meanwhile(self.language()));
        }
        tracing::error!(trace_id = %self.peer.trace.trace_id, %error, "the store failed");
        let error = Refusal::from(error).frame(self.language());
        self.say(&error.message);
    }
}
