//! Terminal output.

use std::io::{self, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use unicode_width::UnicodeWidthStr as _;

use crate::input::LinePrinter;
use crate::wrap::{Wrap, wrapped};

/// `_POSIX_VDISABLE`: no key has this function.
const DISABLED: u8 = 0;

/// Text style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    /// Name before a line.
    Speaker,
    /// Notes of the program.
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

/// Guard that restores the terminal's settings on drop.
///
/// Echo is off while no line is being edited: typed text would land in the middle of an answer. It is kept
/// for the next prompt.
pub(crate) struct Terminal(Option<Termios>);

impl Terminal {
    /// Saves the settings and turns echo off. Must precede the line editor, which restores the settings it finds.
    pub(crate) fn quiet() -> Self {
        // Not a terminal: nothing to restore.
        let terminal = Self(tcgetattr(io::stdin()).ok());
        terminal.silence();
        terminal
    }

    /// Turns echo off; to be repeated after SIGCONT, because the shell resets the mode.
    pub(crate) fn silence(&self) {
        let Some(mut quiet) = self.0.clone() else { return };
        // Non-canonical mode: the editor handles backspace. NOFLSH: a signal must not discard typed or
        // pending text.
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
        quiet.local_modes |= LocalModes::NOFLSH;
        // Ctrl-\ would end the program without restoring the settings.
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

/// Output. While a line is being edited, only whole lines are printed, above it.
pub(crate) struct Screen {
    color: bool,
    printer: LinePrinter,
    /// A line is being edited.
    pub(crate) prompting: bool,
    /// The line being streamed.
    line: Wrap,
    pub(crate) terminal: Terminal,
}

impl Screen {
    pub(crate) fn new(color: bool, printer: LinePrinter, terminal: Terminal) -> Self {
        Self { color, printer, prompting: false, line: Wrap::default(), terminal }
    }

    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        match style.code().filter(|_| self.color) {
            Some(code) => format!("{code}{text}\u{1b}[0m"),
            None => text.to_owned(),
        }
    }

    /// Prints whole lines, wrapped between words.
    pub(crate) fn lines(&mut self, style: Style, text: &str) -> io::Result<()> {
        self.verbatim(style, &wrapped(text, width()))
    }

    /// Prints whole lines unwrapped, for text to be copied.
    pub(crate) fn verbatim(&mut self, style: Style, text: &str) -> io::Result<()> {
        self.whole(self.styled(style, text))
    }

    /// Prints a complete line of `speaker`.
    pub(crate) fn speech(&mut self, speaker: &str, text: &str) -> io::Result<()> {
        let label = format!("{speaker}:");
        let text = wrapped(&format!("{label} {text}"), width());
        match text.strip_prefix(&label) {
            Some(rest) => self.whole(self.styled(Style::Speaker, &label) + rest),
            // The terminal is narrower than the label.
            None => self.whole(text),
        }
    }

    /// Starts a streamed line of `speaker`.
    pub(crate) fn begin(&mut self, speaker: &str) -> io::Result<()> {
        self.end_line()?;
        let label = format!("{speaker}:");
        self.line = Wrap::behind(label.width() + 1);
        self.write(&format!("{} ", self.styled(Style::Speaker, &label)))
    }

    /// Prints the next delta of the streamed line. Must not be called while a line is being edited.
    pub(crate) fn piece(&mut self, text: &str) -> io::Result<()> {
        let shown = self.line.piece(text, width());
        self.write(&shown)
    }

    /// Ends the streamed line.
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
            return self.printer.print(text).map_err(|error| io::Error::other(error.to_string()));
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

/// Current width of the terminal in columns.
fn width() -> Option<usize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|&columns| 0 < columns)
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The editor is mid-line and has enabled bracketed paste: undo both.
        if self.prompting {
            let _ = self.write("\u{1b}[?2004l\n");
        }
    }
}
