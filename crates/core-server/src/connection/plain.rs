//! The plain face: lines for people (`proto-line/SPEC.md` §2).

mod answer_line;
mod command;
mod execute;
mod lines;

use protocol::{CloseReason, MessageId, ServerFrame};

pub(super) use command::Command;

use self::answer_line::AnswerLine;
use super::attached::Attached;
use super::link::Link;
use super::texts;

/// Plain mode: a person at a terminal, with a session.
#[derive(Debug)]
pub(super) struct Plain {
    attached: Attached,
    /// A message was sent: the connection stays plain for good.
    has_sent_message: bool,
    answer: AnswerLine,
    /// `/borrar` was the last line; a second one confirms it.
    erase_requested: bool,
}

impl Plain {
    pub(super) fn new(attached: Attached) -> Self {
        Self { attached, has_sent_message: false, answer: AnswerLine::default(), erase_requested: false }
    }

    pub(super) fn attached(&self) -> &Attached {
        &self.attached
    }

    pub(super) fn attached_mut(&mut self) -> &mut Attached {
        &mut self.attached
    }

    pub(super) fn has_sent_message(&self) -> bool {
        self.has_sent_message
    }

    pub(super) fn owes_answer_line(&self) -> bool {
        self.answer.is_awaited()
    }

    /// Makes the next line wait for the answer to `id`.
    fn await_answer(&mut self, id: MessageId) {
        self.has_sent_message = true;
        self.answer.expect(id);
    }

    /// Writes a frame of the session, if it has a line in this face.
    pub(super) fn render(&mut self, frame: ServerFrame, link: &mut Link) {
        let session = &self.attached.session;
        let line = match frame {
            ServerFrame::Support(support) => Some(session.help_line(&support.help)),
            frame => self.answer.render(frame, session.language()),
        };
        link.writer.write_lines(line);
    }

    /// Writes all help lines.
    pub(super) fn write_crisis_lines(&mut self, link: &mut Link) {
        self.erase_requested = false;
        link.writer.write_lines(self.attached.session.crisis_lines());
    }

    /// Writes the one line of answer to a message whose connection another one has ended.
    pub(super) fn write_closed_remotely(&mut self, link: &mut Link) {
        let text = match link.writer.close_reason() {
            Some(CloseReason::Erased) => texts::erased_meanwhile,
            Some(CloseReason::Revoked) => texts::revoked,
            _ => return,
        };
        if link.work.is_none() && self.answer.abandon() {
            link.writer.write_line(text(self.attached.language()));
        }
    }
}
