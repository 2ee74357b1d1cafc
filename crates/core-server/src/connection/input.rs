//! Client input: assessed on arrival, handled in order.

use std::str::Chars;

use protocol::client_frame::Rejection;
use protocol::limits::MAX_TEXT_CHARS;
use protocol::trace::Traceparent;
use protocol::{ClientFrame, CloseReason, ErrorCode, Inbound, MessageId, ServerFrame, UserText};
use session::crisis_lines;
use tokio::time::Instant;

use super::plain::Command;
use super::read_ahead::{Input, Line};
use super::{Attached, Connection, FaceState, MAX_REQUESTS, WRITE_BYTES};
use crate::turn::now;

impl Connection {
    /// Returns true if one more line may be read. Otherwise the peer's TCP connection fills up: the back-pressure.
    pub(super) fn wants_line(&self) -> bool {
        !self.has_read_eof
            && self.closing.is_none()
            && self.ahead.has_room()
            && self.read_throttle.ready_at() <= Instant::now()
    }

    /// Returns true if the next input may be handled. Lines that a drain finds unhandled are refused instead.
    fn may_handle(&self) -> bool {
        let over = self.has_handled_eof || self.draining_since.is_some() || self.closing.is_some();
        let room = self.out.len() < WRITE_BYTES && self.outbox.occupied() < MAX_REQUESTS;
        room && !self.owes_answer_line() && !over && self.task.is_none() && self.replay.is_none()
    }

    /// Assesses a message at once, then handles it, or queues it behind earlier input.
    pub(super) fn on_inbound(&mut self, inbound: Option<Inbound>) {
        let input = match inbound {
            None => {
                self.has_read_eof = true;
                Input::End
            }
            Some(Inbound::Rejected { code, readable }) => match self.inspect_rejected(readable.trimmed()) {
                Some(()) => Input::Rejected(code),
                None => return self.greet_if_undecided(),
            },
            Some(Inbound::Line { trace, text }) => {
                let trace = trace.unwrap_or_else(|| self.peer.trace.child());
                match self.inspect(text, trace) {
                    Some(line) => Input::Line(line),
                    None => return self.greet_if_undecided(),
                }
            }
        };
        if self.ahead.is_empty() && self.may_handle() {
            self.handle(input);
        } else {
            self.ahead.push(input);
        }
    }

    /// Handles input that was read ahead, as far as it may be.
    pub(super) fn handle_ready(&mut self) {
        while self.may_handle()
            && let Some(input) = self.ahead.pop()
        {
            self.handle(input);
        }
    }

    /// Refuses the messages that were read ahead: the server drains.
    pub(super) fn refuse_unhandled(&mut self) {
        while let Some(input) = self.ahead.pop() {
            let Input::Line(line) = input else { continue };
            match (&self.face, line.frame.as_deref()) {
                (FaceState::Frames, Some(Ok(ClientFrame::Message { id, .. }))) => {
                    self.error(ErrorCode::ShuttingDown, Some(id.clone()));
                }
                (FaceState::Plain(_) | FaceState::Undecided, None)
                    if Command::parse(line.text.expose()) == Command::Message =>
                {
                    self.write_error(ErrorCode::ShuttingDown);
                }
                _ => {}
            }
        }
    }

    fn handle(&mut self, input: Input) {
        if let FaceState::Undecided = self.face
            && !matches!(&input, Input::Line(line) if ClientFrame::hint(line.text.expose()).is_some())
            && !matches!(input, Input::End)
        {
            self.ahead.put_back(input);
            return self.greet();
        }
        self.write_pending_help();
        match input {
            Input::End => self.half_close(),
            Input::Rejected(code) => self.on_rejected(code),
            Input::Line(line) => match self.face {
                FaceState::Frames => {
                    let Line { text, trace, frame, .. } = line;
                    let frame = frame.unwrap_or_else(|| Box::new(ClientFrame::parse(text.expose())));
                    self.on_frame(*frame, &text, trace);
                }
                FaceState::Undecided | FaceState::Plain(_) => self.on_plain_line(line),
            },
        }
    }

    /// Assesses the message in a line on its arrival, and shows help lines on request. Returns `None` if nothing is
    /// left to handle.
    fn inspect(&mut self, text: UserText, trace: Traceparent) -> Option<Line> {
        if let FaceState::Frames = self.face {
            let frame = Box::new(ClientFrame::parse(text.expose()));
            self.assess_frame(&frame, &text);
            return Some(Line { text, trace, id: None, frame: Some(frame) });
        }
        let text = text.trimmed();
        let id = match Command::parse(text.expose()) {
            Command::Crisis => {
                self.show_crisis_lines();
                return None;
            }
            Command::Message if ClientFrame::hint(text.expose()).is_some() => {
                self.assess_frame(&ClientFrame::parse(text.expose()), &text);
                None
            }
            Command::Message if MAX_TEXT_CHARS < text.chars() => {
                self.assess_unsubmitted(MessageId::random(), &text);
                None
            }
            Command::Message => {
                let id = MessageId::random();
                self.assess(&id, &text);
                Some(id)
            }
            command => {
                if let Some(text_behind) = command.trailing_text(text.expose()) {
                    self.assess_unsubmitted(MessageId::random(), &UserText::new(text_behind));
                }
                None
            }
        };
        Some(Line { text, trace, id, frame: None })
    }

    /// Assesses the message in a frame; of a malformed frame, the readable part.
    fn assess_frame(&mut self, frame: &Result<ClientFrame, Rejection>, line: &UserText) {
        match frame {
            Ok(ClientFrame::Message { id, text }) => self.assess(id, text),
            Ok(_) => {}
            Err(Rejection { id, text, .. }) => {
                let id = || id.clone().unwrap_or_else(MessageId::random);
                if let Some(text) = text {
                    self.assess_unsubmitted(id(), text);
                } else if let Some(text) = text_within(line.expose()) {
                    self.assess_unsubmitted(id(), &UserText::new(text));
                }
            }
        }
    }

    /// Assesses the readable part of a rejected line. Returns `None` if it requested the help lines, which are shown.
    fn inspect_rejected(&mut self, readable: UserText) -> Option<()> {
        if !matches!(self.face, FaceState::Frames) && Command::parse(readable.expose()) == Command::Crisis {
            self.show_crisis_lines();
            return None;
        }
        match ClientFrame::parse(readable.expose()) {
            Ok(ClientFrame::Message { id, text }) => self.assess_unsubmitted(id, &text),
            frame => self.assess_frame(&frame, &readable),
        }
        Some(())
    }

    /// Assesses a text that is not submitted. Of a long one only both ends are read, so that it costs no more than a
    /// message. Stores the help, which no message will bring to the store.
    fn assess_unsubmitted(&mut self, id: MessageId, text: &UserText) {
        if self.assess_text(&id, &both_ends(text)) {
            self.save_help();
        }
    }

    /// Assesses a message. In a drain it will be refused, so its help is stored now.
    pub(super) fn assess(&mut self, id: &MessageId, text: &UserText) {
        if let Some(Attached { session, .. }) = &self.attached {
            session.adopt_answered_country(text);
        }
        let is_shown = self.assess_text(id, text);
        if is_shown && self.draining_since.is_some() {
            self.save_help();
        }
    }

    /// Assesses a text in the session or, before the store has opened one, without. Returns true if help was shown.
    fn assess_text(&mut self, id: &MessageId, text: &UserText) -> bool {
        if let Some(Attached { session, .. }) = &self.attached {
            return session.assess(id, text);
        }
        let shown = self.pre_session_watch.get_or_insert_default().observe(id, text, self.language, now());
        let Some((support, line)) = shown else { return false };
        match self.face {
            FaceState::Frames => self.outbox.push(ServerFrame::Support(Box::new(support))),
            FaceState::Undecided | FaceState::Plain(_) => self.write_line(&line),
        }
        true
    }

    /// Stores help that was shown for a text which is not submitted.
    pub(super) fn save_help(&self) {
        if let Some(Attached { session, .. }) = &self.attached {
            session.save_help_later();
        }
    }

    /// Moves assessments made without a session to the attached one, so that help already shown is not repeated.
    pub(super) fn transfer_watch(&mut self) {
        if let Some(Attached { session, .. }) = &self.attached
            && let Some(watch) = self.pre_session_watch.take()
        {
            session.take_over(*watch);
        }
    }

    /// Plain face: writes help from the outbox before the reply to the next line, which bypasses the outbox.
    fn write_pending_help(&mut self) {
        while !matches!(self.face, FaceState::Frames)
            && let Some(help) = self.outbox.take_help()
        {
            self.render(help);
        }
    }

    fn greet_if_undecided(&mut self) {
        if matches!(self.face, FaceState::Undecided) && self.task.is_none() && self.draining_since.is_none() {
            self.greet();
        }
    }

    pub(super) fn show_crisis_lines(&mut self) {
        if let FaceState::Plain(plain) = &mut self.face {
            plain.erase_requested = false;
        }
        let lines = match &self.attached {
            Some(Attached { session, .. }) => session.crisis_lines(),
            None => crisis_lines(self.language, now()),
        };
        lines.iter().for_each(|line| self.write_line(line));
    }

    fn half_close(&mut self) {
        self.has_handled_eof = true;
        if let Some(Attached { session, id, .. }) = &self.attached {
            session.half_close(*id);
        }
    }

    fn on_rejected(&mut self, code: ErrorCode) {
        // Help for its readable part may have been shown before the session was opened.
        self.save_help();
        match self.face {
            FaceState::Frames => self.error(code, None),
            FaceState::Undecided | FaceState::Plain(_) => self.write_error(code),
        }
    }

    /// Closes after a read error; a client of another protocol (HTTP, TLS) gets an explanation first.
    pub(super) fn on_read_error(&mut self, error: &std::io::Error) {
        use protocol::foreign::ForeignProtocol;
        if error.get_ref().is_some_and(|inner| inner.is::<ForeignProtocol>()) {
            self.write_line(super::texts::FOREIGN_PROTOCOL);
            self.closing = Some(CloseReason::VersionUnsupported);
        } else {
            self.closing = Some(CloseReason::ClientGone);
        }
    }
}

/// Shortens `text` to the maximum length of a message, keeping its beginning and its end.
fn both_ends(text: &UserText) -> UserText {
    let chars = text.chars();
    if chars <= MAX_TEXT_CHARS {
        return text.clone();
    }
    let half = MAX_TEXT_CHARS / 2;
    let end = text.without_first_chars(chars - half + 1);
    UserText::new(format!("{}\n{}", text.first_chars(half).expose(), end.expose()))
}

/// Extracts the text from a cut or damaged frame; returns the whole line if it is no frame at all.
fn text_within(line: &str) -> Option<String> {
    if !line.starts_with(['{', '[', '"']) {
        return Some(line.to_owned());
    }
    line.match_indices("\"text\"").find_map(|(at, name)| {
        let value = line.get(at + name.len()..)?.trim_start().strip_prefix(':')?;
        value.trim_start().strip_prefix('"').map(unescaped)
    })
}

/// Decodes the contents of a JSON string up to its closing quote, or as far as it goes.
fn unescaped(value: &str) -> String {
    let (mut text, mut rest) = (String::new(), value.chars());
    while let Some(letter) = rest.next().filter(|letter| *letter != '"') {
        if letter == '\\' {
            text.extend(escaped(&mut rest));
        } else {
            text.push(letter);
        }
    }
    text
}

/// Decodes an escape after its backslash. Returns `None` for a cut one, and for half of a surrogate pair.
fn escaped(rest: &mut Chars<'_>) -> Option<char> {
    match rest.next()? {
        'n' | 'r' => Some('\n'),
        'b' | 'f' | 't' => Some(' '),
        'u' => {
            let length = rest.as_str().bytes().take(4).take_while(u8::is_ascii_hexdigit).count();
            let digits: String = rest.by_ref().take(length).collect();
            u32::from_str_radix(&digits, 16).ok().filter(|_| length == 4).and_then(char::from_u32)
        }
        letter => Some(letter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extracts_text_of_damaged_frames() {
        for (line, want) in [
            ("me quiero morir", Some("me quiero morir")),
            (r#"{"type":"message","id":"a","text":"me quiero"#, Some("me quiero")),
            (r#"{"type":"message", "text" : "no m\u00e1s","id":"ÿ"}"#, Some("no más")),
            (r#"{"type":"message","text":"\"ya\" no m\u00e"#, Some("\"ya\" no m")),
            (r#"{"type":"message","id":"text","text":"no más""#, Some("no más")),
            (r#"{"type":"message","text":7,"text":"no más"}"#, Some("no más")),
            (r#"{"type":"message","text":7}"#, None),
            (r#"{"type":"message","text":"a\q b"}"#, Some("aq b")),
            (r#"{"text":"no\nquiero\ud83d\ude00 m\u00e1s\u0""#, Some("no\nquiero más")),
            (r#"["hola"]"#, None),
        ] {
            assert_eq!(text_within(line).as_deref(), want, "{line}");
        }
    }

    #[test]
    fn long_texts_keep_both_ends() {
        let whole = "ñ".repeat(MAX_TEXT_CHARS);
        assert_eq!(both_ends(&UserText::new(whole.clone())).expose(), whole);
        for more in [1, 2, 50_000] {
            let text = UserText::new(format!("principio{}final", "ñ".repeat(MAX_TEXT_CHARS - 14 + more)));
            let ends = both_ends(&text);
            assert_eq!(ends.chars(), MAX_TEXT_CHARS, "{more}");
            assert!(ends.expose().starts_with("principio") && ends.expose().ends_with("final"), "{more}");
        }
    }
}
