//! Mode of a connection: undecided until its first line, then plain or framed. Each mode owns the state that only it
//! needs.

mod assessment;
mod undecided;

use protocol::client_frame::{FrameHint, Request};
use protocol::{ClientFrame, ErrorCode, Language, ServerFrame};
use tokio::time::Instant;

pub(super) use assessment::Assessor;
pub(super) use undecided::{PreSession, Undecided, greet};

use super::attached::Attached;
use super::frames::{Frames, Replay, draining_notice};
use super::link::Link;
use super::notices;
use super::plain::{Command, Plain};
use super::read_ahead::Line;

/// Mode of a connection. A plain connection always has a session; a framed one from `welcome` on.
#[derive(Debug)]
pub(super) enum Mode {
    /// No line and no announcement yet; becomes plain after the greeting delay.
    Undecided(Undecided),
    Plain(Plain),
    Frames(Frames),
}

impl Mode {
    pub(super) fn attached(&self) -> Option<&Attached> {
        match self {
            Self::Undecided(_) => None,
            Self::Plain(plain) => Some(plain.attached()),
            Self::Frames(frames) => frames.attached(),
        }
    }

    fn attached_mut(&mut self) -> Option<&mut Attached> {
        match self {
            Self::Undecided(_) => None,
            Self::Plain(plain) => Some(plain.attached_mut()),
            Self::Frames(frames) => frames.attached_mut(),
        }
    }

    pub(super) fn language(&self) -> Language {
        match self {
            Self::Undecided(undecided) => undecided.language(),
            Self::Plain(plain) => plain.attached().language(),
            Self::Frames(frames) => frames.language(),
        }
    }

    pub(super) fn is_framed(&self) -> bool {
        matches!(self, Self::Frames(_))
    }

    /// Returns the replay in progress: its entries go out before any frame of the outbox except help.
    pub(super) fn replay(&self) -> Option<Replay> {
        match self {
            Self::Frames(frames) => frames.replay(),
            Self::Undecided(_) | Self::Plain(_) => None,
        }
    }

    /// Returns true while an answer is in progress that this connection should still get.
    pub(super) fn is_awaiting(&self) -> bool {
        self.owes_answer_line() || self.attached().is_some_and(|attached| attached.session.is_busy())
    }

    /// Returns true while a plain message lacks its one line of answer.
    pub(super) fn owes_answer_line(&self) -> bool {
        matches!(self, Self::Plain(plain) if plain.owes_answer_line())
    }

    /// Returns the due time of the reminder that answers come from no person.
    pub(super) fn reminder_at(&self) -> Option<Instant> {
        self.attached()?.reminder_at
    }

    pub(super) fn remind_if_due(&mut self, now: Instant) {
        self.attached_mut().into_iter().for_each(|attached| attached.remind_if_due(now));
    }

    /// Writes a frame of the outbox as the mode shows it.
    pub(super) fn render(&mut self, frame: ServerFrame, link: &mut Link) {
        match self {
            Self::Undecided(_) | Self::Frames(_) => link.writer.write_frame(&frame),
            Self::Plain(plain) => plain.render(frame, link),
        }
    }

    /// Goes on once no frame of the session waits: with the replay, or with the error for an erased session.
    pub(super) fn on_outbox_empty(&mut self, link: &mut Link) {
        match self {
            Self::Undecided(_) => {}
            Self::Plain(plain) => plain.write_closed_remotely(link),
            Self::Frames(frames) => frames.continue_replay(link),
        }
    }

    /// Plain face: writes help from the outbox before the reply to the next line, which bypasses the outbox.
    pub(super) fn write_pending_help(&mut self, link: &mut Link) {
        while !self.is_framed()
            && let Some(help) = link.writer.outbox().take_help()
        {
            self.render(help, link);
        }
    }

    /// Stores help that was shown for a text which is not submitted.
    pub(super) fn save_help(&self) {
        if let Some(attached) = self.attached() {
            attached.session.save_help_later();
        }
    }

    /// Handles the end of the stream.
    pub(super) fn half_close(&self) {
        if let Some(attached) = self.attached() {
            attached.session.half_close(attached.id);
        }
    }

    /// Handles a line; an undecided connection gets here with a frame only.
    pub(super) fn on_line(&mut self, line: Line, link: &mut Link) {
        let hint = ClientFrame::hint(line.text.expose());
        match (self, hint) {
            (Self::Frames(frames), hint) => frames.on_line(line, hint, link),
            (Self::Plain(plain), None) => plain.execute(line, link),
            (mode, Some(hint)) => mode.on_frame_in_plain(&line, hint, link),
            (Self::Undecided(_), None) => {}
        }
    }

    /// Handles a client frame of a plain connection: `hello` makes it framed for good unless a message was sent before;
    /// every other frame is rejected.
    fn on_frame_in_plain(&mut self, line: &Line, hint: FrameHint, link: &mut Link) {
        let frame = ClientFrame::parse(line.text.expose());
        let may_become_framed = match self {
            Self::Undecided(_) => true,
            Self::Plain(plain) => !plain.has_sent_message(),
            Self::Frames(_) => false,
        };
        if hint.is_hello() && may_become_framed {
            // Drops the greeting's session, which is empty.
            *self = Self::Frames(Frames::new(self.take_pre_session()));
            if let Self::Frames(frames) = self {
                frames.before_welcome(frame, Some(hint), link);
            }
            return;
        }
        if let Ok(ClientFrame::Request(request)) = &frame
            && let Some(response) = notices::about(request, &link.context)
        {
            return link.writer.write_frame(&response);
        }
        let id = frame.map_or_else(|rejection| rejection.id, |frame| frame.id().cloned());
        let code = if hint.is_hello() { ErrorCode::BadFrame } else { ErrorCode::HelloRequired };
        let error = link.error_frame(code, id, self.language());
        link.writer.write_frame(&error);
    }

    fn take_pre_session(&mut self) -> PreSession {
        match self {
            Self::Undecided(undecided) => undecided.take_pre_session(),
            Self::Plain(_) | Self::Frames(_) => PreSession::default(),
        }
    }

    /// Handles a line that cannot be read.
    pub(super) fn on_rejected(&mut self, code: ErrorCode, link: &mut Link) {
        // Help for its readable part may have been shown before the session was opened.
        self.save_help();
        self.send_error(code, link);
    }

    /// Sends an error about no message, in the form of the mode.
    fn send_error(&self, code: ErrorCode, link: &mut Link) {
        let language = self.language();
        match self {
            Self::Frames(_) => link.writer.push(link.error_frame(code, None, language)),
            Self::Undecided(_) | Self::Plain(_) => link.write_error(code, language),
        }
    }

    /// Announces the drain to a client that can resume elsewhere.
    pub(super) fn announce_drain(&self, link: &Link) {
        if self.is_framed() && self.attached().is_some() {
            link.writer.push(draining_notice());
        }
    }

    /// Returns true for a line that is handled in a drain too: it ends an answer or the connection.
    pub(super) fn serves_in_drain(&self, line: &Line) -> bool {
        match (self, line.frame.as_deref()) {
            (Self::Frames(_), Some(Ok(frame))) => matches!(frame, ClientFrame::Stop { .. } | ClientFrame::Bye),
            (Self::Plain(_), None) => Command::parse(line.text.expose()) == Command::Exit,
            _ => false,
        }
    }

    /// Refuses a line that was read ahead: the server drains.
    pub(super) fn refuse(&self, line: &Line, link: &mut Link) {
        match (self, line.frame.as_deref()) {
            (Self::Frames(_), Some(Ok(ClientFrame::Message { id, .. } | ClientFrame::Request(Request { id, .. })))) => {
                link.writer.push(link.error_frame(ErrorCode::ShuttingDown, Some(id.clone()), self.language()));
            }
            (Self::Plain(_) | Self::Undecided(_), None) if Command::parse(line.text.expose()) == Command::Message => {
                link.write_error(ErrorCode::ShuttingDown, self.language());
            }
            _ => {}
        }
    }

    /// Sends `shutting_down` for an answer in progress that took too long. If it still ends, the person gets it after a
    /// reconnect.
    pub(super) fn give_up_draining(&self, link: &mut Link) {
        match self {
            Self::Frames(_) | Self::Plain(_) => self.send_error(ErrorCode::ShuttingDown, link),
            Self::Undecided(_) => {}
        }
    }
}
