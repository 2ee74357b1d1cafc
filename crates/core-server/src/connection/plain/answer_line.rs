//! The one line of answer to a plain message.

use protocol::server_frame::NoticeCode;
use protocol::{ErrorCode, Language, MessageId, ServerFrame};

use super::lines::answer;

/// Collects the deltas of an answer, which is written as one line.
#[derive(Debug, Default)]
pub(super) struct AnswerLine {
    /// Message without its line of answer yet; the next line waits for it.
    awaiting: Option<MessageId>,
    /// Answer so far.
    reply: String,
    /// Prefix of the next answer, in the same line.
    reminder: Option<String>,
}

impl AnswerLine {
    /// Makes the next line wait for the answer to `id`.
    pub(super) fn expect(&mut self, id: MessageId) {
        self.awaiting = Some(id);
        self.reply = String::new();
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.awaiting.is_some()
    }

    /// Ends the wait. Returns true if there was one.
    pub(super) fn abandon(&mut self) -> bool {
        self.awaiting.take().is_some()
    }

    /// Consumes a frame. Returns the line of the awaited message once it is complete; frames of other messages are
    /// dropped.
    pub(super) fn render(&mut self, frame: ServerFrame, language: Language) -> Option<String> {
        let awaited = self.awaiting.as_ref();
        match frame {
            ServerFrame::Delta { id, offset, text, .. } if awaited == Some(&id) => {
                if offset == 0 {
                    // The answer restarted: another text replaces the pieces so far.
                    self.reply.clear();
                }
                self.reply.push_str(text.expose());
                None
            }
            ServerFrame::Done(done) if awaited == Some(&done.id) => {
                let line = answer(&std::mem::take(&mut self.reply));
                self.awaiting = None;
                if line.is_empty() {
                    return Some(ErrorCode::Stopped.message(language, None));
                }
                Some(match self.reminder.take() {
                    Some(reminder) => format!("{reminder} {line}"),
                    None => line,
                })
            }
            ServerFrame::Forgotten(forgotten) if awaited == Some(&forgotten.id) => {
                self.reply.clear();
                self.awaiting = None;
                Some(ErrorCode::Stopped.message(language, None))
            }
            ServerFrame::Notice { code: NoticeCode::Ai, text, .. } => {
                self.reminder = text;
                None
            }
            ServerFrame::Error(error) if error.id.is_some() && awaited == error.id.as_ref() => {
                self.awaiting = None;
                Some(error.message)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::UserText;
    use protocol::server_frame::{ErrorFrame, Forgotten};

    use super::*;

    fn id(name: &str) -> MessageId {
        name.parse().unwrap()
    }

    fn delta(name: &str, offset: usize, text: &str) -> ServerFrame {
        ServerFrame::Delta { id: id(name), offset, text: UserText::new(text), exercise: None }
    }

    fn done(name: &str) -> ServerFrame {
        let ms = r#"{"queue":0,"first":0,"total":0}"#;
        let json =
            format!(r#"{{"type":"done","id":"{name}","seq":2,"finish":"stop","source":"llm","chars":4,"ms":{ms}}}"#);
        serde_json::from_str(&json).unwrap()
    }

    fn forgotten(name: &str) -> ServerFrame {
        ServerFrame::Forgotten(Forgotten { seq: 3, id: id(name), from_seq: 1 })
    }

    fn error(name: &str) -> ServerFrame {
        ServerFrame::Error(ErrorFrame::new(ErrorCode::Overloaded, Language::English).with_id(Some(id(name))))
    }

    fn reminder(text: &str) -> ServerFrame {
        ServerFrame::Notice { code: NoticeCode::Ai, text: Some(text.to_owned()), reconnect_in_ms: None }
    }

    #[test]
    fn writes_one_line_for_each_awaited_message() {
        let overloaded = ErrorFrame::new(ErrorCode::Overloaded, Language::English).message;
        let stopped = ErrorCode::Stopped.message(Language::English, None);
        let rows: &[(&str, Vec<ServerFrame>, &[&str])] = &[
            ("pieces", vec![delta("a", 0, "uno\n"), delta("a", 4, "dos"), done("a")], &["uno dos"]),
            ("marks", vec![delta("a", 0, "**uno** y *"), delta("a", 11, "dos*"), done("a")], &["uno y dos"]),
            ("restart", vec![delta("a", 0, "borrador"), delta("a", 0, "texto"), done("a")], &["texto"]),
            ("of another device", vec![delta("b", 0, "no"), done("b"), error("b")], &[]),
            ("without text", vec![done("a")], &[&stopped]),
            ("error", vec![delta("a", 0, "uno"), error("a")], &[&overloaded]),
            ("forgotten", vec![delta("a", 0, "uno"), forgotten("a"), done("a")], &[&stopped]),
            ("once", vec![delta("a", 0, "uno"), done("a"), done("a"), error("a")], &["uno"]),
            (
                "reminder",
                vec![reminder("Soy un programa."), delta("a", 0, "uno"), done("a")],
                &["Soy un programa. uno"],
            ),
        ];
        for (name, frames, want) in rows {
            let mut answer = AnswerLine::default();
            answer.expect(id("a"));
            let lines: Vec<String> =
                frames.iter().filter_map(|frame| answer.render(frame.clone(), Language::English)).collect();
            assert_eq!(lines, *want, "{name}");
            assert_eq!(answer.abandon(), want.is_empty(), "{name}");
        }
    }
}
