//! Results of the tasks for which a connection's next line waits.

use protocol::server_frame::{Entry, SafetyPlan};
use protocol::{Country, Language, LinkCode, Locale, MessageId, UserText};
use store::{ReadableEntries, Summary};

use super::frames::Replay;
use super::input_queue::InputQueue;
use super::link::Link;
use super::mode::Mode;
use crate::sessions::Opened;
use crate::sessions::SessionError;

/// Result of a task, applied on the connection's own task. Named after the mode that waits for it.
#[derive(Debug)]
pub(super) enum Completion {
    /// A session for the greeting.
    Greeted(Result<Opened, SessionError>),
    /// The session of a `hello`.
    HelloOpened(Box<HelloOutcome>),
    /// The session admitted or rejected a message, and has sent the result.
    Submitted,
    /// `stop` was handled; `found`: its message was in flight.
    Stopped { id: MessageId, found: bool },
    /// A page of a replay.
    ReplayPage { replay: Replay, page: Result<ReadableEntries, SessionError> },
    /// The request `erase` has its response. With the session's language if it is gone.
    FramesErased(Option<Language>),
    /// `/reanudar`; `None`: no session has the token.
    PlainResumed(Result<Option<Opened>, SessionError>),
    /// `/historial`.
    PlainHistory(Result<Vec<Entry>, SessionError>),
    /// `/plan`.
    PlainSafetyPlan(Result<Option<SafetyPlan>, SessionError>),
    /// `/codigo`.
    PlainLinked(Result<LinkCode, SessionError>),
    /// `/cerrar-otros`.
    PlainRotated(Result<(), SessionError>),
    /// `/olvidar`; `Ok(false)`: there was no message.
    PlainForgotten(Result<bool, SessionError>),
    /// `/resumen`.
    PlainSummary(Result<Option<Summary>, SessionError>),
    /// `/olvidar-resumen`.
    PlainSummaryForgotten(Result<(), SessionError>),
    /// `/idioma`.
    PlainLocale { locale: Locale, changed: Result<(), SessionError> },
    /// `/pais`.
    PlainCountry { country: Country, chosen: Result<(), SessionError> },
    /// `/borrar`; `Ok` if the session is gone, also if another device erased it first.
    PlainErased(Result<(), SessionError>),
}

/// Result of opening the session of a `hello`, with the rest of the frame.
#[derive(Debug)]
pub(super) struct HelloOutcome {
    pub(super) opened: Result<Option<Opened>, SessionError>,
    pub(super) resumed: bool,
    pub(super) since: Option<u64>,
    pub(super) time_zone: Option<UserText>,
}

impl Mode {
    /// Applies the result of a task. Lists every completion, so that a new one cannot be forgotten.
    pub(super) fn on_completion(&mut self, completion: Completion, link: &mut Link, input: &mut InputQueue) {
        use Completion as Done;
        match (completion, self) {
            (Done::Submitted, _) => {}
            (Done::Greeted(opened), mode @ Self::Undecided(_)) => mode.on_greeted(opened, link, input),
            (Done::HelloOpened(outcome), Self::Frames(frames)) => frames.on_opened(*outcome, link),
            (Done::Stopped { id, found }, Self::Frames(frames)) => frames.on_stopped(id, found, link),
            (Done::ReplayPage { replay, page }, Self::Frames(frames)) => frames.on_replay_page(replay, page, link),
            (Done::FramesErased(language), Self::Frames(frames)) => frames.on_erased(language),
            (Done::PlainResumed(opened), Self::Plain(plain)) => plain.on_resumed(opened, link),
            (Done::PlainHistory(entries), Self::Plain(plain)) => plain.on_history(entries, link),
            (Done::PlainSafetyPlan(found), Self::Plain(plain)) => plain.on_safety_plan(found, link),
            (Done::PlainLinked(code), Self::Plain(plain)) => plain.on_linked(code, link),
            (Done::PlainRotated(rotated), Self::Plain(plain)) => plain.on_rotated(rotated, link),
            (Done::PlainForgotten(forgotten), Self::Plain(plain)) => plain.on_forgotten(forgotten, link),
            (Done::PlainSummary(summary), Self::Plain(plain)) => plain.on_summary(summary, link),
            (Done::PlainSummaryForgotten(forgotten), Self::Plain(plain)) => plain.on_summary_forgotten(forgotten, link),
            (Done::PlainLocale { locale, changed }, Self::Plain(plain)) => plain.on_locale(locale, changed, link),
            (Done::PlainCountry { country, chosen }, Self::Plain(plain)) => plain.on_country(country, chosen, link),
            (Done::PlainErased(erased), Self::Plain(plain)) => plain.on_erased(erased, link),
            // Never reached: only lines change the mode, and the next line waits for the completion.
            (
                Done::Greeted(_)
                | Done::HelloOpened(_)
                | Done::Stopped { .. }
                | Done::ReplayPage { .. }
                | Done::FramesErased(_)
                | Done::PlainResumed(_)
                | Done::PlainHistory(_)
                | Done::PlainSafetyPlan(_)
                | Done::PlainLinked(_)
                | Done::PlainRotated(_)
                | Done::PlainForgotten(_)
                | Done::PlainSummary(_)
                | Done::PlainSummaryForgotten(_)
                | Done::PlainLocale { .. }
                | Done::PlainCountry { .. }
                | Done::PlainErased(_),
                Self::Undecided(_) | Self::Plain(_) | Self::Frames(_),
            ) => {}
        }
    }
}
