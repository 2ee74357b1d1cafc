//! What a person sees.

use std::io::{self, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use unicode_width::UnicodeWidthStr as _;

use crate::input::Above;
use crate::wrap::{Wrap, wrapped};

/// `_POSIX_VDISABLE`: no key has this function.
const DISABLED: u8 = 0;

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

/// The terminal's settings, which become what they were when this is dropped.
///
/// While no line is being edited what is typed is not shown: it would land in the middle of an answer. It
/// waits for the next prompt, where the line editor takes it as if it were typed then.
pub(crate) struct Terminal(Option<Termios>);

impl Terminal {
    /// To be called before the line editor is made, whose idea of a terminal without it is the one it finds.
    pub(crate) fn quiet() -> Self {
        // What is no terminal needs no restoring.
        let terminal = Self(tcgetattr(io::stdin()).ok());
        terminal.silence();
        terminal
    }

    /// Again, as after the program was stopped and continued by a shell.
    pub(crate) fn silence(&self) {
        let Some(mut quiet) = self.0.clone() else { return };
        // Without lines of the terminal's own: backspace is the editor's. A signal must not discard what was
        // typed or is being shown.
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
        quiet.local_modes |= LocalModes::NOFLSH;
        // Ctrl-\ would end the program before it can restore this.
        quiet.special_codes[SpecialCodeIndex::VQUIT] = DISABLED;
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &quiet);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// The output. While a line is being edited only whole lines appear, above it.
pub(crate) struct Screen {
    color: bool,
    above: Above,
    /// A line is being edited.
    pub(crate) prompting: bool,
    /// The line that pieces have begun.
    line: Wrap,
    pub(crate) terminal: Terminal,
}

impl Screen {
    pub(crate) fn new(color: bool, above: Above, terminal: Terminal) -> Self {
        Self { color, above, prompting: false, line: Wrap::default(), terminal }
    }

    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        match style.code().filter(|_| self.color) {
            Some(code) => format!("{code}{text}\u{1b}[0m"),
            None => text.to_owned(),
        }
    }

    /// Whole lines, broken between words.
    pub(crate) fn lines(&mut self, style: Style, text: &str) -> io::Result<()> {
        self.verbatim(style, &wrapped(text, width()))
    }

    /// Whole lines as they are, for what is to be copied.
    pub(crate) fn verbatim(&mut self, style: Style, text: &str) -> io::Result<()> {
        self.whole(self.styled(style, text))
    }

    /// A line of `speaker`.
    pub(crate) fn speech(&mut self, speaker: &str, text: &str) -> io::Result<()> {
        let label = format!("{speaker}:");
        let text = wrapped(&format!("{label} {text}"), width());
        match text.strip_prefix(&label) {
            Some(rest) => self.whole(self.styled(Style::Speaker, &label) + rest),
            // The terminal is narrower than that.
            None => self.whole(text),
        }
    }

    /// Begins a line of `speaker`, whose text comes in pieces.
    pub(crate) fn begin(&mut self, speaker: &str) -> io::Result<()> {
        self.end_line()?;
        let label = format!("{speaker}:");
        self.line = Wrap::behind(label.width() + 1);
        self.write(&format!("{} ", self.styled(Style::Speaker, &label)))
    }

    /// The next piece of a line, while none is being edited.
    pub(crate) fn piece(&mut self, text: &str) -> io::Result<()> {
        let shown = self.line.piece(text, width());
        self.write(&shown)
    }

    /// Ends the line that pieces have begun.
    pub(crate) fn end_line(&mut self) -> io::Result<()> {
        let mut line = std::mem::take(&mut self.line);
        if !line.is_open() {
            return Ok(());
        }
        let rest = line.rest(width());
        self.write(&format!("{rest}\n"))
    }

    fn whole(&mut self, mut text: String) -> io::Result<()> {
        text.push('\n');
        if self.prompting {
            return self.above.print(text).map_err(|error| io::Error::other(error.to_string()));
        }
        self.end_line()?;
        self.write(&text)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// Columns of the terminal, as they are now.
fn width() -> Option<usize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|&columns| 0 < columns)
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The editor is in the middle of a line, and has asked for bracketed paste.
        if self.prompting {
            let _ = self.write("\u{1b}[?2004l\n");
        }
    }
}
