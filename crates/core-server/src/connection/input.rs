//! Client input: assessed on arrival, handled in order.

use protocol::{ClientFrame, Inbound};

use super::MAX_REQUESTS;
use super::input_queue::InputQueue;
use super::link::Link;
use super::mode::{Assessor, Mode, greet};
use super::read_ahead::Input;

/// Handles the input of a connection. Borrows its parts for one step.
#[derive(Debug)]
pub(super) struct InputHandler<'a> {
    pub(super) mode: &'a mut Mode,
    pub(super) link: &'a mut Link,
    pub(super) queue: &'a mut InputQueue,
    pub(super) is_draining: bool,
}

impl InputHandler<'_> {
    /// Returns true if the next input may be handled.
    fn may_handle(&self) -> bool {
        let over = self.queue.has_handled_eof || self.link.closing.is_some();
        let writer = &self.link.writer;
        let room = writer.has_room() && writer.outbox().occupied() < MAX_REQUESTS;
        room && !self.mode.owes_answer_line() && !over && self.link.work.is_none() && self.mode.replay().is_none()
    }

    /// Assesses a message at once, then handles it, or queues it behind earlier input.
    pub(super) fn on_inbound(&mut self, inbound: Option<Inbound>) {
        let mut assessor = Assessor { mode: self.mode, link: self.link, is_draining: self.is_draining };
        let input = match inbound {
            None => {
                self.queue.on_eof();
                Some(Input::End)
            }
            Some(inbound) => assessor.assess(inbound),
        };
        match input {
            None => self.greet_if_undecided(),
            Some(input) if self.queue.is_empty() && !self.is_draining && self.may_handle() => self.handle(input),
            Some(input) => self.queue.push(input),
        }
    }

    /// Handles input that was read ahead, as far as it may be.
    pub(super) fn handle_ready(&mut self) {
        while self.may_handle()
            && let Some(input) = self.next_input()
        {
            self.handle(input);
        }
    }

    /// Removes the next input to handle. In a drain that is a line which ends an answer or the connection; the others are
    /// refused at its end.
    fn next_input(&mut self) -> Option<Input> {
        if !self.is_draining {
            return self.queue.pop();
        }
        self.queue.take(|input| matches!(input, Input::Line(line) if self.mode.serves_in_drain(line)))
    }

    /// Refuses the messages and requests that were read ahead: the server drains.
    pub(super) fn refuse_unhandled(&mut self) {
        while let Some(input) = self.queue.pop() {
            if let Input::Line(line) = input {
                self.mode.refuse(&line, self.link);
            }
        }
    }

    fn handle(&mut self, input: Input) {
        if let Mode::Undecided(_) = self.mode
            && !matches!(&input, Input::Line(line) if ClientFrame::hint(line.text.expose()).is_some())
            && !matches!(input, Input::End)
        {
            self.queue.put_back(input);
            return greet(self.link);
        }
        self.mode.write_pending_help(self.link);
        match input {
            Input::End => {
                self.queue.has_handled_eof = true;
                self.mode.half_close();
            }
            Input::Rejected(code) => self.mode.on_rejected(code, self.link),
            Input::Line(line) => self.mode.on_line(line, self.link),
        }
    }

    fn greet_if_undecided(&mut self) {
        if matches!(self.mode, Mode::Undecided(_)) && self.link.work.is_none() && !self.is_draining {
            greet(self.link);
        }
    }
}
