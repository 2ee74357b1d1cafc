//! Commands and messages of a plain connection.

use std::sync::Arc;

use protocol::limits::MAX_TEXT_CHARS;
use protocol::server_frame::{Entry, SafetyPlan};
use protocol::trace::Traceparent;
use protocol::{CloseReason, Country, ErrorCode, LinkCode, Locale, MessageId, ResumeSecret, ResumeToken, UserText};
use safety::guide::{self, Topic};
use safety::resources::parse_country;

use super::Plain;
use super::command::{Command, language_named};
use super::lines::{history, safety_plan, to_single_line};
use crate::connection::attached::NewMessage;
use crate::connection::completion::Completion;
use crate::connection::link::Link;
use crate::connection::read_ahead::Line;
use crate::connection::{notices, texts};
use crate::sessions::Opened;
use crate::sessions::SessionError;
use store::Summary;

/// Entries shown by `/historial`.
const HISTORY_ENTRIES: usize = 20;

impl Plain {
    /// Executes the command in a line, or submits the line as a message.
    pub(in crate::connection) fn execute(&mut self, line: Line, link: &mut Link) {
        let Line { text, trace, id, .. } = line;
        let (session, language) = (Arc::clone(&self.attached.session), self.attached.language());
        let erase_requested = std::mem::take(&mut self.erase_requested);
        let writer = &mut link.writer;
        match Command::parse(text.expose()) {
            Command::Message => self.submit(id.unwrap_or_else(MessageId::random), text, trace, link),
            Command::Crisis => self.write_crisis_lines(link),
            Command::Country("") => writer.write_line(texts::country_missing(language)),
            Command::Country(name) => self.choose_country(name, link),
            Command::Exit => {
                writer.write_lines(session.parting_line());
                writer.write_line(texts::goodbye(language));
                link.closing = Some(CloseReason::Bye);
            }
            Command::Help => writer.write_lines(texts::help(language)),
            Command::Unknown => {
                session.save_help_later();
                writer.write_line(texts::unknown_command(language));
            }
            Command::Session => writer.write_line(&texts::session_token(language, &session.token().expose())),
            Command::Resume("") => writer.write_line(texts::token_missing(language)),
            Command::Resume(token) => self.resume(token, link),
            Command::Erase if erase_requested => self.erase(link),
            Command::Erase => {
                self.erase_requested = true;
                writer.write_line(texts::confirm_erase(language));
            }
            Command::Ai => writer.write_line(guide::notice(language)),
            Command::About => writer.write_lines(notices::guide_lines(Topic::About, &link.context.about, language)),
            Command::Protection => {
                writer.write_lines(notices::guide_lines(Topic::Protection, &link.context.about, language));
            }
            Command::History => self.read_history(link),
            Command::Plan => self.read_safety_plan(link),
            Command::LinkCode => link.spawn(async move { Completion::PlainLinked(session.link().await) }),
            Command::ForgetLast => self.forget_last(link),
            Command::Summary => link.spawn(async move { Completion::PlainSummary(session.summary().await) }),
            Command::ForgetSummary => {
                link.spawn(async move { Completion::PlainSummaryForgotten(session.forget_summary().await) });
            }
            Command::CloseOthers => self.close_others(link),
            Command::Language(name) => {
                match language_named(name) {
                    None => writer.write_line(texts::languages(language)),
                    Some(locale) => link.spawn(async move {
                        Completion::PlainLocale { locale, changed: session.set_locale(locale).await }
                    }),
                }
            }
        }
    }

    fn submit(&mut self, id: MessageId, text: UserText, trace: Traceparent, link: &mut Link) {
        if MAX_TEXT_CHARS < text.chars() {
            self.attached.session.save_help_later();
            return link.write_error(ErrorCode::TextTooLong, self.attached.language());
        }
        self.await_answer(id.clone());
        self.attached.submit(NewMessage { id, text, trace }, link);
    }

    fn read_history(&self, link: &mut Link) {
        let (session, context, subnet) =
            (Arc::clone(&self.attached.session), Arc::clone(&link.context), link.client_subnet());
        link.spawn(async move {
            let _permit = context.request_limiter.acquire(subnet).await;
            Completion::PlainHistory(session.history().last_with_help(HISTORY_ENTRIES).await)
        });
    }

    pub(in crate::connection) fn on_history(&self, entries: Result<Vec<Entry>, SessionError>, link: &mut Link) {
        let language = self.attached.language();
        match entries {
            Ok(entries) => link.writer.write_lines(history(&entries, language)),
            Err(error) => link.write_store_error(&error, language),
        }
    }

    fn read_safety_plan(&self, link: &mut Link) {
        let (session, context, subnet) =
            (Arc::clone(&self.attached.session), Arc::clone(&link.context), link.client_subnet());
        link.spawn(async move {
            let _permit = context.request_limiter.acquire(subnet).await;
            Completion::PlainSafetyPlan(session.safety_plan().await)
        });
    }

    pub(in crate::connection) fn on_safety_plan(
        &self,
        plan: Result<Option<SafetyPlan>, SessionError>,
        link: &mut Link,
    ) {
        let language = self.attached.language();
        match plan {
            Ok(plan) => link.writer.write_lines(safety_plan(plan.as_ref(), language)),
            Err(error) => link.write_store_error(&error, language),
        }
    }

    pub(in crate::connection) fn on_locale(&self, locale: Locale, changed: Result<(), SessionError>, link: &mut Link) {
        match changed {
            Ok(()) => link.writer.write_line(texts::language_changed(locale.language())),
            Err(error) => link.write_store_error(&error, self.attached.language()),
        }
    }

    fn choose_country(&self, name: &str, link: &mut Link) {
        let country = parse_country(name).and_then(|code| code.parse::<Country>().ok());
        let Some(country) = country else {
            return link.writer.write_line(texts::country_unknown(self.attached.language()));
        };
        let session = Arc::clone(&self.attached.session);
        link.spawn(
            async move { Completion::PlainCountry { country, chosen: session.set_country_quietly(country).await } },
        );
    }

    pub(in crate::connection) fn on_country(
        &self,
        country: Country,
        chosen: Result<(), SessionError>,
        link: &mut Link,
    ) {
        let language = self.attached.language();
        match chosen {
            Ok(()) => link.writer.write_line(&texts::country_chosen(language, country)),
            Err(error) => link.write_store_error(&error, language),
        }
        // Behind that line, which says why the help comes again.
        self.attached.session.resend_help();
    }

    fn resume(&self, secret: &str, link: &mut Link) {
        let Ok(secret) = secret.parse::<ResumeSecret>() else {
            return link.write_error(ErrorCode::BadResume, self.attached.language());
        };
        let sessions = Arc::clone(&link.context.sessions);
        link.spawn(async move { Completion::PlainResumed(sessions.resume(secret, None, None).await) });
    }

    pub(in crate::connection) fn on_resumed(&mut self, opened: Result<Option<Opened>, SessionError>, link: &mut Link) {
        // `None` also if it was erased by another connection in the meantime.
        match opened.map(|opened| opened.and_then(|opened| link.attach(opened, true))) {
            Ok(Some((attached, _))) => {
                self.attached = attached;
                let session = &self.attached.session;
                link.writer.write_line(&texts::resumed(session.language(), session.user()));
            }
            Ok(None) => link.write_error(ErrorCode::BadResume, self.attached.language()),
            Err(error) => link.write_store_error(&error, self.attached.language()),
        }
    }

    fn forget_last(&self, link: &mut Link) {
        let (session, from) = (Arc::clone(&self.attached.session), self.attached.id);
        link.spawn(
            async move { Completion::PlainForgotten(session.forget_last(from).await.map(|(id, ..)| id.is_some())) },
        );
    }

    fn close_others(&self, link: &mut Link) {
        let (session, from) = (Arc::clone(&self.attached.session), self.attached.id);
        link.spawn(async move { Completion::PlainRotated(session.rotate_resume(from, ResumeToken::random()).await) });
    }

    pub(in crate::connection) fn on_linked(&self, code: Result<LinkCode, SessionError>, link: &mut Link) {
        let language = self.attached.language();
        match code {
            Ok(code) => link.writer.write_line(&texts::link_code(language, &code.expose())),
            Err(error) => link.write_store_error(&error, language),
        }
    }

    pub(in crate::connection) fn on_forgotten(&self, forgotten: Result<bool, SessionError>, link: &mut Link) {
        let language = self.attached.language();
        match forgotten {
            Ok(true) => link.writer.write_line(texts::forgotten(language)),
            Ok(false) => link.writer.write_line(texts::no_history(language)),
            Err(error) => link.write_store_error(&error, language),
        }
    }

    pub(in crate::connection) fn on_summary(&self, summary: Result<Option<Summary>, SessionError>, link: &mut Link) {
        let language = self.attached.language();
        match summary {
            Ok(Some(summary)) => link.writer.write_line(&to_single_line(summary.text.expose())),
            Ok(None) => link.writer.write_line(texts::no_summary(language)),
            Err(error) => link.write_store_error(&error, language),
        }
    }

    pub(in crate::connection) fn on_summary_forgotten(&self, forgotten: Result<(), SessionError>, link: &mut Link) {
        let language = self.attached.language();
        match forgotten {
            Ok(()) => link.writer.write_line(texts::summary_forgotten(language)),
            Err(error) => link.write_store_error(&error, language),
        }
    }

    pub(in crate::connection) fn on_rotated(&self, rotated: Result<(), SessionError>, link: &mut Link) {
        let language = self.attached.language();
        match rotated {
            Ok(()) => {
                link.writer.write_line(texts::others_closed(language));
                link.writer.write_line(&texts::session_token(language, &self.attached.session.token().expose()));
            }
            Err(error) => link.write_store_error(&error, language),
        }
    }

    fn erase(&self, link: &mut Link) {
        let (session, id) = (Arc::clone(&self.attached.session), self.attached.id);
        session.await_erasure(id);
        link.spawn(async move {
            let erased = session.erase().await;
            let is_gone = session.end_erasure(id).is_some();
            Completion::PlainErased(if is_gone { Ok(()) } else { erased.map(|_| ()) })
        });
    }

    pub(in crate::connection) fn on_erased(&mut self, erased: Result<(), SessionError>, link: &mut Link) {
        let language = self.attached.language();
        match erased {
            Ok(()) => {
                link.writer.write_line(texts::erased(language));
                link.closing = Some(CloseReason::Erased);
            }
            Err(error) => link.write_store_error(&error, language),
        }
    }
}
