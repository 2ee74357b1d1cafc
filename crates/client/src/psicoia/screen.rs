//! What a person sees.

use std::io::{self, Write as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::input::Above;

/// How a text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    /// Who speaks.
    Speaker,
    /// The program's own remarks.
    Dim,
    /// Help for a person at risk.
    Help,
}

impl Style {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Speaker => Some("\u{1b}[36m"),
            Self::Dim => Some("\u{1b}[2m"),
            Self::Help => Some("\u{1b}[1;33m"),
        }
    }
}

/// The terminal. While a line is being edited only whole lines appear, above it.
pub(crate) struct Screen {
    color: bool,
    above: Above,
    /// A line is being edited.
    pub(crate) prompting: bool,
    /// The cursor stands behind a piece of a line.
    open: bool,
    before: Option<Termios>,
}

impl Screen {
    pub(crate) fn new(color: bool, above: Above) -> Self {
        // What is no terminal needs no restoring.
        Self { color, above, prompting: false, open: false, before: tcgetattr(io::stdin()).ok() }
    }

    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        match style.code().filter(|_| self.color) {
            Some(code) => format!("{code}{text}\u{1b}[0m"),
            None => text.to_owned(),
        }
    }

    /// Whole lines.
    pub(crate) fn lines(&mut self, style: Style, text: &str) -> io::Result<()> {
        let mut text = self.styled(style, text);
        text.push('\n');
        if self.prompting {
            return self.above.print(text).map_err(|error| io::Error::other(error.to_string()));
        }
        self.end_line()?;
        self.write(&text)
    }

    /// The next piece of a line, while none is being edited.
    pub(crate) fn piece(&mut self, text: &str) -> io::Result<()> {
        self.open = if text.is_empty() { self.open } else { !text.ends_with('\n') };
        self.write(text)
    }

    /// Ends the line that pieces have begun.
    pub(crate) fn end_line(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.open) { self.write("\n") } else { Ok(()) }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    /// The line editor may be in the middle of a line: the terminal becomes what it was.
    fn drop(&mut self) {
        if let (true, Some(before)) = (self.prompting, &self.before) {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
            // The editor has asked for bracketed paste.
            let _ = self.write("\u{1b}[?2004l\n");
        }
    }
}
