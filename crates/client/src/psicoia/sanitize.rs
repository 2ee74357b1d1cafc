//! Sanitizes server text for terminals.

use protocol::markdown::{self, MarkdownStripper};

/// Removes control characters and escape sequences (ECMA-48) from streamed text, at any delta
/// boundary; keeps line breaks, replaces tabs by spaces.
#[derive(Debug, Default)]
pub(crate) struct Sanitizer(State);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// In a control sequence, up to its final byte.
    Control,
    /// In an operating system command, up to its terminator.
    Command,
    /// After ESC in an operating system command.
    CommandEscape,
}

impl Sanitizer {
    /// Returns the printable part of the next delta.
    pub(crate) fn piece(&mut self, piece: &str) -> String {
        piece.chars().filter_map(|letter| self.letter(letter)).collect()
    }

    fn letter(&mut self, letter: char) -> Option<char> {
        let (state, shown) = match (self.0, letter) {
            (State::CommandEscape, '\\') => (State::Text, None),
            (_, '\u{1b}') if self.0 == State::Command => (State::CommandEscape, None),
            (_, '\u{1b}') => (State::Escape, None),
            (State::Escape, '[') => (State::Control, None),
            (State::Escape, ']') => (State::Command, None),
            (State::Control, '@'..='~') | (State::Command, '\u{07}') => (State::Text, None),
            // A newline ends any sequence, so that a stray ESC cannot swallow the rest of the text.
            (State::Control | State::Command, letter) if letter != '\n' => (self.0, None),
            (State::Escape | State::CommandEscape, letter) if letter != '\n' => (State::Text, None),
            (_, letter) => (State::Text, shown(letter)),
        };
        self.0 = state;
        shown
    }
}

fn shown(letter: char) -> Option<char> {
    match letter {
        '\n' | '\u{2028}' | '\u{2029}' | '\u{85}' => Some('\n'),
        '\t' | '\u{0b}' | '\u{0c}' => Some(' '),
        letter if letter.is_control() => None,
        letter => Some(letter),
    }
}

/// Sanitizes a complete text.
pub(crate) fn sanitize(text: &str) -> String {
    Sanitizer::default().piece(text)
}

/// Streamed answer as plain text: sanitized, without Markdown marks.
#[derive(Debug, Default)]
pub(crate) struct AnswerText {
    sanitizer: Sanitizer,
    marks: MarkdownStripper,
}

impl AnswerText {
    /// Returns the printable part of the next delta. Characters that may become marks are held back.
    pub(crate) fn piece(&mut self, piece: &str) -> String {
        self.marks.push(&self.sanitizer.piece(piece))
    }

    /// Returns the rest of an answer that has ended.
    pub(crate) fn rest(&mut self) -> String {
        self.sanitizer = Sanitizer::default();
        self.marks.finish()
    }
}

/// Returns a complete answer as plain text.
pub(crate) fn answer_text(text: &str) -> String {
    markdown::strip(&sanitize(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_plain_text_at_any_char() {
        let (text, want) = (
            "**Hola**\u{1b}[31m, [guía](https://a.example/b_c)\n* uno\n* _dos",
            "Hola, guía (https://a.example/b_c)\n- uno\n- dos",
        );
        assert_eq!(answer_text(text), want);
        for (cut, _) in text.char_indices() {
            let mut answer = AnswerText::default();
            let (a, b) = text.split_at(cut);
            assert_eq!([answer.piece(a), answer.piece(b), answer.rest()].concat(), want, "{text:?} at {cut}");
        }
    }

    #[test]
    fn removes_escape_sequences_split_at_any_char() {
        for (text, want) in [
            ("hola\nqué tal", "hola\nqué tal"),
            ("a\tb\r\nc", "a b\nc"),
            ("\u{1b}[31mrojo\u{1b}[0m", "rojo"),
            ("\u{1b}]0;título\u{07}x", "x"),
            ("\u{1b}]8;;http://x\u{1b}\\y", "y"),
            ("\u{1b}cx\u{8}\u{0}\u{9b}2J", "x2J"),
            ("👩‍👩‍👧 ñ", "👩‍👩‍👧 ñ"),
            ("\u{1b}[31\nx", "\nx"),
            ("\u{1b}", ""),
        ] {
            assert_eq!(sanitize(text), want, "{text:?}");
            for (cut, _) in text.char_indices() {
                let mut pieces = Sanitizer::default();
                let (a, b) = text.split_at(cut);
                assert_eq!([pieces.piece(a), pieces.piece(b)].concat(), want, "{text:?} at {cut}");
            }
        }
    }
}
