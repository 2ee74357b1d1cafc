//! What comes from the client: assessed as it arrives, handled in its order.

use protocol::client_frame::Rejection;
use protocol::trace::Traceparent;
use protocol::{ClientFrame, CloseReason, ErrorCode, Inbound, MessageId, UserText};
use tokio::time::Instant;

use super::plain::Command;
use super::read_ahead::{Arrival, Line};
use super::{Attached, Connection, FaceState, MAX_REQUESTS, WRITE_BYTES};
use crate::session::crisis_lines;

impl Connection {
    /// Tells whether one more line may be read. While not, the peer's TCP connection fills up: that is the
    /// back-pressure.
    pub(super) fn wants_line(&self) -> bool {
        !self.has_read_all && self.closing.is_none() && self.ahead.has_room() && self.pace.ready_at() <= Instant::now()
    }

    /// Tells whether the next arrival may be handled.
    fn may_handle(&self) -> bool {
        let over = self.ended || self.draining_since.is_some() || self.closing.is_some();
        let room = self.out.len() < WRITE_BYTES && self.outbox.places() < MAX_REQUESTS;
        room && !self.owes_line() && !over && self.task.is_none() && self.replay.is_none()
    }

    /// Takes what was read. A message is assessed now, whatever it has to wait for.
    pub(super) fn on_inbound(&mut self, inbound: Option<Inbound>) {
        let arrival = match inbound {
            None => {
                self.has_read_all = true;
                Arrival::End
            }
            Some(Inbound::Rejected { code, .. }) => Arrival::Rejected(code),
            Some(Inbound::Line { trace, text }) => {
                let trace = trace.unwrap_or_else(|| self.peer.trace.child());
                match self.heed(text, trace) {
                    Some(line) => Arrival::Line(line),
                    None => return self.greet_if_undecided(),
                }
            }
        };
        if self.ahead.is_empty() && self.may_handle() {
            self.handle(arrival);
        } else {
            self.ahead.push(arrival);
        }
    }

    /// Handles what may be handled of what was read ahead.
    pub(super) fn handle_ready(&mut self) {
        while self.may_handle()
            && let Some(arrival) = self.ahead.pop()
        {
            self.handle(arrival);
        }
    }

    /// Refuses messages that were read and are not handled any more: the server is going away.
    pub(super) fn refuse_unhandled(&mut self) {
        while let Some(arrival) = self.ahead.pop() {
            let Arrival::Line(line) = arrival else { continue };
            match (&self.face, line.frame.as_deref()) {
                (FaceState::Frames, Some(Ok(ClientFrame::Message { id, .. }))) => {
                    self.error(ErrorCode::ShuttingDown, Some(id.clone()));
                }
                (FaceState::Plain(_), None) if Command::parse(line.text.expose()) == Command::Say => {
                    self.say_error(ErrorCode::ShuttingDown);
                }
                _ => {}
            }
        }
    }

    fn handle(&mut self, arrival: Arrival) {
        if let FaceState::Undecided = self.face
            && !matches!(&arrival, Arrival::Line(line) if ClientFrame::meant(line.text.expose()).is_some())
            && !matches!(arrival, Arrival::End)
        {
            self.ahead.put_back(arrival);
            return self.greet();
        }
        match arrival {
            Arrival::End => self.half_close(),
            Arrival::Rejected(code) => self.on_rejected(code),
            Arrival::Line(line) => match self.face {
                FaceState::Frames => {
                    let Line { text, trace, frame, .. } = line;
                    let frame = frame.unwrap_or_else(|| Box::new(ClientFrame::parse(text.expose())));
                    self.on_frame(*frame, &text, trace);
                }
                FaceState::Undecided | FaceState::Plain(_) => self.on_plain_line(line),
            },
        }
    }

    /// Looks at a line as it arrives: a message is assessed, help lines that are asked for are shown. `None`:
    /// nothing is left to be done for it.
    fn heed(&mut self, text: UserText, trace: Traceparent) -> Option<Line> {
        let line = match self.face {
            FaceState::Frames => {
                let frame = Box::new(ClientFrame::parse(text.expose()));
                match &*frame {
                    Ok(ClientFrame::Message { id, text }) => self.watch(id, text),
                    Err(Rejection { id, text: Some(text), .. }) => {
                        self.watch(&id.clone().unwrap_or_else(MessageId::random), text);
                    }
                    Ok(_) | Err(_) => {}
                }
                Line { text, trace, id: None, frame: Some(frame) }
            }
            FaceState::Undecided | FaceState::Plain(_) => {
                let text = text.trimmed();
                let command = Command::parse(text.expose());
                if command == Command::Crisis {
                    self.show_crisis_lines();
                    return None;
                }
                let is_message = command == Command::Say && ClientFrame::meant(text.expose()).is_none();
                let id = is_message.then(MessageId::random);
                if let Some(id) = &id {
                    self.watch(id, &text);
                }
                Line { text, trace, id, frame: None }
            }
        };
        Some(line)
    }

    /// Assesses a message, in the session or, where the store has not opened one yet, without.
    pub(super) fn watch(&mut self, id: &MessageId, text: &UserText) {
        if let Some(Attached { session, .. }) = &self.attached {
            let is_shown = session.assess(id, text);
            if is_shown && (self.draining_since.is_some() || protocol::limits::MAX_TEXT_CHARS < text.chars()) {
                session.save_help_later();
            }
        } else if !matches!(self.face, FaceState::Frames) {
            let language = self.language;
            if let Some(line) = self.lone_watch.get_or_insert_default().observe(id, text, language) {
                self.say(&line);
            }
        }
    }

    fn greet_if_undecided(&mut self) {
        if matches!(self.face, FaceState::Undecided) && self.task.is_none() {
            self.greet();
        }
    }

    pub(super) fn show_crisis_lines(&mut self) {
        if let FaceState::Plain(plain) = &mut self.face {
            plain.erase_asked = false;
        }
        let lines = match &self.attached {
            Some(Attached { session, .. }) => session.crisis_lines(),
            None => crisis_lines(self.language),
        };
        lines.iter().for_each(|line| self.say(line));
    }

    fn half_close(&mut self) {
        self.ended = true;
        if let Some(Attached { session, id, .. }) = &self.attached {
            session.half_close(*id);
        }
    }

    fn on_rejected(&mut self, code: ErrorCode) {
        match self.face {
            FaceState::Frames => self.error(code, None),
            FaceState::Undecided | FaceState::Plain(_) => self.say_error(code),
        }
    }

    /// The stream failed, or is another protocol's.
    pub(super) fn on_read_error(&mut self, error: &std::io::Error) {
        use protocol::foreign::ForeignProtocol;
        if error.get_ref().is_some_and(|inner| inner.is::<ForeignProtocol>()) {
            self.say(super::texts::FOREIGN_PROTOCOL);
            self.closing = Some(CloseReason::VersionUnsupported);
        } else {
            self.closing = Some(CloseReason::ClientGone);
        }
    }
}
