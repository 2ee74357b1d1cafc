//! Assessment of a line on its arrival, before it is handled.

use std::str::Chars;

use protocol::client_frame::Rejection;
use protocol::limits::MAX_TEXT_CHARS;
use protocol::trace::Traceparent;
use protocol::{ClientFrame, Inbound, MessageId, ServerFrame, UserText};

use super::Mode;
use crate::connection::link::Link;
use crate::connection::plain::Command;
use crate::connection::read_ahead::{Input, Line};
use crate::turn::now;
use session::crisis_lines;

/// Assesses the messages in lines as they arrive, and shows help lines on request.
#[derive(Debug)]
pub(in crate::connection) struct Assessor<'a> {
    pub(in crate::connection) mode: &'a mut Mode,
    pub(in crate::connection) link: &'a mut Link,
    /// The server drains: a message will be refused, so its help is stored now.
    pub(in crate::connection) is_draining: bool,
}

impl Assessor<'_> {
    /// Assesses the message in a line, readable or not. Returns `None` if nothing is left to handle.
    pub(in crate::connection) fn assess(&mut self, inbound: Inbound) -> Option<Input> {
        match inbound {
            Inbound::Rejected { code, readable } => {
                self.assess_rejected(readable.trimmed()).map(|()| Input::Rejected(code))
            }
            Inbound::Line { trace, text } => {
                let trace = trace.unwrap_or_else(|| self.link.peer.trace.child());
                self.assess_line(text, trace).map(Input::Line)
            }
        }
    }

    fn assess_line(&mut self, text: UserText, trace: Traceparent) -> Option<Line> {
        if self.mode.is_framed() {
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
                self.assess_message(&id, &text);
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

    /// Assesses the readable part of a rejected line. Returns `None` if it requested the help lines, which are shown.
    fn assess_rejected(&mut self, readable: UserText) -> Option<()> {
        if !self.mode.is_framed() && Command::parse(readable.expose()) == Command::Crisis {
            self.show_crisis_lines();
            return None;
        }
        match ClientFrame::parse(readable.expose()) {
            Ok(ClientFrame::Message { id, text }) => self.assess_unsubmitted(id, &text),
            frame => self.assess_frame(&frame, &readable),
        }
        Some(())
    }

    /// Assesses the message in a frame; of a malformed frame, the readable part.
    fn assess_frame(&mut self, frame: &Result<ClientFrame, Rejection>, line: &UserText) {
        match frame {
            Ok(ClientFrame::Message { id, text }) => self.assess_message(id, text),
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

    /// Assesses a text that is not submitted. Of a long one only both ends are read, so that it costs no more than a
    /// message. Stores the help, which no message will bring to the store.
    fn assess_unsubmitted(&mut self, id: MessageId, text: &UserText) {
        let text = both_ends(text);
        let is_shown = match self.mode.attached() {
            Some(attached) => attached.session.assess(&id, &text),
            None => self.assess_before_session(&id, &text),
        };
        if is_shown {
            self.mode.save_help();
        }
    }

    /// Assesses a message in the session or, before the store has opened one, without.
    fn assess_message(&mut self, id: &MessageId, text: &UserText) {
        let is_shown = match self.mode.attached() {
            Some(attached) => attached.assess(id, text),
            None => self.assess_before_session(id, text),
        };
        if is_shown && self.is_draining {
            self.mode.save_help();
        }
    }

    /// Returns true if help was shown.
    fn assess_before_session(&mut self, id: &MessageId, text: &UserText) -> bool {
        let pre_session = match self.mode {
            Mode::Undecided(undecided) => undecided.pre_session_mut(),
            Mode::Frames(frames) => match frames.pre_session_mut() {
                Some(pre_session) => pre_session,
                None => return false,
            },
            Mode::Plain(_) => return false,
        };
        let Some((support, line)) = pre_session.observe(id, text) else { return false };
        if self.mode.is_framed() {
            self.link.writer.push(ServerFrame::Support(Box::new(support)));
        } else {
            self.link.writer.write_line(&line);
        }
        true
    }

    fn show_crisis_lines(&mut self) {
        match self.mode {
            Mode::Plain(plain) => plain.write_crisis_lines(self.link),
            Mode::Undecided(_) | Mode::Frames(_) => {
                self.link.writer.write_lines(crisis_lines(self.mode.language(), now()));
            }
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
