//! Input lines of the keyboard or a pipe, each read by a blocking thread.

use std::cell::Cell;
use std::io::{self, Read as _};
use std::sync::mpsc::{Receiver as PromptReceiver, SyncSender, sync_channel};
use std::thread;

use bytes::BytesMut;
use protocol::{Inbound, LineCodec, UserText};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Input event.
#[derive(Debug)]
pub(crate) enum Input {
    Line(UserText),
    /// A line that is too long or not UTF-8.
    Bad,
    /// Ctrl-C on a non-empty line.
    Cleared,
    /// Ctrl-C at an empty prompt, Ctrl-D, or end of file.
    End,
    Failed(io::Error),
}

/// Reads lines of standard input, one ahead of the receiver.
pub(crate) fn piped() -> Receiver<Input> {
    let (lines, received) = channel(1);
    thread::spawn(move || {
        let end = read_pipe(&lines).map_or_else(Input::Failed, |()| Input::End);
        // A dropped receiver means that the program is ending.
        let _ = lines.blocking_send(end);
    });
    received
}

fn read_pipe(lines: &Sender<Input>) -> io::Result<()> {
    let (mut codec, mut buffer) = (LineCodec::default(), BytesMut::new());
    let (mut stdin, mut chunk) = (io::stdin().lock(), [0; 4_096]);
    loop {
        let count = stdin.read(&mut chunk)?;
        buffer.extend_from_slice(&chunk[..count]);
        if count == 0 {
            // A last line without a newline counts as a line.
            buffer.extend_from_slice(b"\n");
        }
        while let Some(inbound) = codec.next_line(&mut buffer) {
            let input = match inbound {
                Inbound::Line { text, .. } => Input::Line(text),
                Inbound::Rejected { .. } => Input::Bad,
            };
            if lines.blocking_send(input).is_err() {
                return Ok(());
            }
        }
        if count == 0 {
            return Ok(());
        }
    }
}

/// Prints whole lines above the line being edited.
pub(crate) type LinePrinter = Box<dyn rustyline::ExternalPrinter + Send>;

/// Request to edit a line.
#[derive(Debug)]
pub(crate) struct PromptRequest {
    pub(crate) prompt: String,
    /// Text typed before the prompt appeared.
    pub(crate) initial: UserText,
}

/// Line editor on a thread of its own.
pub(crate) struct Keyboard {
    /// Requests one line.
    pub(crate) prompts: SyncSender<PromptRequest>,
    pub(crate) lines: Receiver<Input>,
    pub(crate) printer: LinePrinter,
}

impl Keyboard {
    /// Opens the editor. Its history is in memory only: lines are health data and must not reach the disk.
    pub(crate) fn open() -> Result<Self, ReadlineError> {
        let config = Config::builder().auto_add_history(true).max_history_size(100)?.build();
        let mut editor = Editor::<EmptyLineTracker, MemHistory>::with_history(config, MemHistory::new())?;
        editor.set_helper(Some(EmptyLineTracker::default()));
        let printer = Box::new(editor.create_external_printer()?);
        // Capacity 1: one prompt, then one line.
        let ((prompts, requests), (answers, lines)) = (sync_channel(1), channel(1));
        thread::spawn(move || read_lines(&mut editor, &requests, &answers));
        Ok(Self { prompts, lines, printer })
    }
}

fn read_lines(
    editor: &mut Editor<EmptyLineTracker, MemHistory>,
    requests: &PromptReceiver<PromptRequest>,
    answers: &Sender<Input>,
) {
    for PromptRequest { prompt, initial } in requests {
        let input = match editor.readline_with_initial(&prompt, (initial.expose(), "")) {
            Ok(line) => Input::Line(UserText::new(line)),
            Err(ReadlineError::Eof) => Input::End,
            Err(ReadlineError::Interrupted) => {
                let empty = editor.helper().is_none_or(|tracker| tracker.empty.get());
                if empty { Input::End } else { Input::Cleared }
            }
            Err(ReadlineError::Io(error)) => Input::Failed(error),
            Err(error) => Input::Failed(io::Error::other(error.to_string())),
        };
        if let Some(tracker) = editor.helper() {
            tracker.empty.set(true);
        }
        if answers.blocking_send(input).is_err() {
            return;
        }
    }
}

/// Tracks whether the line is empty, which the editor does not report on Ctrl-C.
#[derive(Debug)]
struct EmptyLineTracker {
    empty: Cell<bool>,
}

impl Default for EmptyLineTracker {
    fn default() -> Self {
        Self { empty: Cell::new(true) }
    }
}

impl Hinter for EmptyLineTracker {
    type Hint = String;

    fn hint(&self, line: &str, _pos: usize, _ctx: &Context<'_>) -> Option<String> {
        self.empty.set(line.is_empty());
        None
    }
}

impl Helper for EmptyLineTracker {}
impl Highlighter for EmptyLineTracker {}
impl Validator for EmptyLineTracker {}
impl Completer for EmptyLineTracker {
    type Candidate = String;
}
