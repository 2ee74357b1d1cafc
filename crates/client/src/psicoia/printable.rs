//! Text from the server as a terminal can show it safely.

/// Removes control characters and escape sequences (ECMA-48) from a text that comes in pieces,
/// wherever it is cut; line breaks stay, tabs become spaces.
#[derive(Debug, Default)]
pub(crate) struct Printable(State);

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
    /// After ESC in there.
    CommandEscape,
}

impl Printable {
    /// What is to be shown of the next piece.
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
            // No sequence goes over the end of a line.
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

/// The whole of `text`, made safe.
pub(crate) fn printable(text: &str) -> String {
    Printable::default().piece(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wherever_it_is_cut() {
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
            assert_eq!(printable(text), want, "{text:?}");
            for (cut, _) in text.char_indices() {
                let mut pieces = Printable::default();
                let (a, b) = text.split_at(cut);
                assert_eq!([pieces.piece(a), pieces.piece(b)].concat(), want, "{text:?} at {cut}");
            }
        }
    }
}
