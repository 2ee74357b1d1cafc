//! Lines from the keyboard or from a pipe, each from a thread that may wait for ever.

use std::cell::Cell;
use std::io::{self, Read as _};
use std::sync::mpsc::{Receiver as AskReceiver, SyncSender, sync_channel};
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

/// What came in.
#[derive(Debug)]
pub(crate) enum Input {
    Line(UserText),
    /// A line that cannot be a message: too long, or not UTF-8.
    Bad,
    /// Ctrl-C at a line with something in it.
    Cleared,
    /// Ctrl-C at the empty prompt, Ctrl-D, the end of the pipe.
    End,
    Failed(io::Error),
}

/// Lines from standard input. One is read ahead.
pub(crate) fn piped() -> Receiver<Input> {
    let (lines, received) = channel(1);
    thread::spawn(move || {
        let end = read_pipe(&lines).map_or_else(Input::Failed, |()| Input::End);
        // Nobody listens any more: then nobody needs the end.
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
            // A last line without an ending is a line.
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

/// Prints whole lines above the line that is being edited.
pub(crate) type Above = Box<dyn rustyline::ExternalPrinter + Send>;

/// The line that is to be edited.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) prompt: String,
    /// Typed before there was a prompt.
    pub(crate) typed: UserText,
}

/// The keyboard.
pub(crate) struct Keyboard {
    /// Asks for one line.
    pub(crate) ask: SyncSender<Ask>,
    pub(crate) lines: Receiver<Input>,
    pub(crate) above: Above,
}

impl Keyboard {
    /// Lines are remembered for the arrow keys, and nowhere else: they are health data.
    pub(crate) fn open() -> Result<Self, ReadlineError> {
        let config = Config::builder().auto_add_history(true).max_history_size(100)?.build();
        let mut editor = Editor::<Watch, MemHistory>::with_history(config, MemHistory::new())?;
        editor.set_helper(Some(Watch::default()));
        let above = Box::new(editor.create_external_printer()?);
        // One question at a time, one answer.
        let ((ask, asked), (answers, lines)) = (sync_channel(1), channel(1));
        thread::spawn(move || answer(&mut editor, &asked, &answers));
        Ok(Self { ask, lines, above })
    }
}

fn answer(editor: &mut Editor<Watch, MemHistory>, asked: &AskReceiver<Ask>, answers: &Sender<Input>) {
    for Ask { prompt, typed } in asked {
        let input = match editor.readline_with_initial(&prompt, (typed.expose(), "")) {
            Ok(line) => Input::Line(UserText::new(line)),
            Err(ReadlineError::Eof) => Input::End,
            Err(ReadlineError::Interrupted) => {
                let empty = editor.helper().is_none_or(|watch| watch.empty.get());
                if empty { Input::End } else { Input::Cleared }
            }
            Err(ReadlineError::Io(error)) => Input::Failed(error),
            Err(error) => Input::Failed(io::Error::other(error.to_string())),
        };
        if let Some(watch) = editor.helper() {
            watch.empty.set(true);
        }
        if answers.blocking_send(input).is_err() {
            return;
        }
    }
}

/// Notes whether there is something on the line, which the editor does not tell on Ctrl-C.
#[derive(Debug)]
struct Watch {
    empty: Cell<bool>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { empty: Cell::new(true) }
    }
}

impl Hinter for Watch {
    type Hint = String;

    fn hint(&self, line: &str, _pos: usize, _ctx: &Context<'_>) -> Option<String> {
        self.empty.set(line.is_empty());
        None
    }
}

impl Helper for Watch {}
impl Highlighter for Watch {}
impl Validator for Watch {}
impl Completer for Watch {
    type Candidate = String;
}
