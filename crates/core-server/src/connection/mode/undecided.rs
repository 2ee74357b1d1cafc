//! Connection before its first line: the greeting, and assessment without a session.

use std::sync::Arc;

use protocol::server_frame::Support;
use protocol::{ClientFrame, CloseReason, Country, Language, Locale, MessageId, UserText};

use super::Mode;
use crate::connection::completion::Completion;
use crate::connection::input_queue::InputQueue;
use crate::connection::link::Link;
use crate::connection::plain::{Command, Plain};
use crate::connection::read_ahead::Input;
use crate::connection::texts;
use crate::sessions::SessionError;
use crate::sessions::{LiveSession, Opened};
use crate::turn::now;
use session::PreSessionWatch;

/// State of a connection without a session.
#[derive(Debug, Default)]
pub(in crate::connection) struct PreSession {
    /// Language of the last `hello`, or of the erased session.
    pub(in crate::connection) language: Language,
    /// Assesses messages while no session is open, so that help never waits for the store.
    watch: Option<Box<PreSessionWatch>>,
}

impl PreSession {
    pub(in crate::connection) fn new(language: Language) -> Self {
        Self { language, watch: None }
    }

    /// Assesses message `id`. Returns the help that it calls for, and the extra line of the plain face.
    pub(in crate::connection) fn observe(&mut self, id: &MessageId, text: &UserText) -> Option<(Support, String)> {
        self.watch.get_or_insert_default().observe(id, text, self.language, now())
    }

    /// Applies the country, the time zone and the locale of a `hello`, as far as it has them.
    pub(in crate::connection) fn learn(
        &mut self,
        country: Option<Country>,
        time_zone: Option<&UserText>,
        locale: Option<Locale>,
    ) {
        self.watch.get_or_insert_default().learn(country, time_zone, locale.map(Locale::language));
    }

    /// Moves assessments to the session, so that help already shown is not repeated.
    pub(in crate::connection) fn hand_over(&mut self, session: &Arc<LiveSession>) {
        if let Some(watch) = self.watch.take() {
            session.take_over(*watch);
        }
    }
}

/// Undecided mode.
#[derive(Debug, Default)]
pub(in crate::connection) struct Undecided {
    pre_session: PreSession,
    /// No session could be opened for the greeting; the next line tries again.
    has_failed_to_greet: bool,
}

impl Undecided {
    pub(in crate::connection) fn has_failed_to_greet(&self) -> bool {
        self.has_failed_to_greet
    }

    pub(super) fn language(&self) -> Language {
        self.pre_session.language
    }

    pub(super) fn pre_session_mut(&mut self) -> &mut PreSession {
        &mut self.pre_session
    }

    pub(super) fn take_pre_session(&mut self) -> PreSession {
        std::mem::take(&mut self.pre_session)
    }
}

/// Opens a session for the greeting.
pub(in crate::connection) fn greet(link: &mut Link) {
    let sessions = Arc::clone(&link.context.sessions);
    link.spawn(async move { Completion::Greeted(sessions.create(true, None, None).await) });
}

impl Mode {
    /// Becomes plain and writes the greeting. Without a session the connection stays open and undecided, and the next
    /// line tries again: a message in risk must not meet a closed connection.
    pub(in crate::connection) fn on_greeted(
        &mut self,
        opened: Result<Opened, SessionError>,
        link: &mut Link,
        input: &mut InputQueue,
    ) {
        let attached = opened
            .and_then(|opened| link.attach(opened, false).map(|(attached, _)| attached).ok_or(SessionError::Gone));
        match attached {
            Ok(attached) => {
                let user = attached.session.user();
                self.take_pre_session().hand_over(&attached.session);
                *self = Self::Plain(Plain::new(attached));
                link.writer.write_lines(texts::greeting(user));
            }
            Err(error) => {
                link.write_store_error(&error, self.language());
                if let Self::Undecided(undecided) = self {
                    undecided.has_failed_to_greet = true;
                }
                refuse_ungreeted(link, input);
            }
        }
    }
}

/// Drops the line for which no session could be opened: the error is its answer.
fn refuse_ungreeted(link: &mut Link, input: &mut InputQueue) {
    match input.pop() {
        Some(Input::Line(line)) if ClientFrame::hint(line.text.expose()).is_none() => {
            if Command::parse(line.text.expose()) == Command::Exit {
                link.closing = Some(CloseReason::Bye);
            }
        }
        Some(Input::Rejected(_)) | None => {}
        Some(input_kept) => input.put_back(input_kept),
    }
}
