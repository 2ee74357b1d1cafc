//! Type-ahead: keys pressed while no line is being edited.
//!
//! They are not echoed, because they would land in the middle of an answer. A complete line is sent at once; a partial
//! one is the initial text of the next prompt.

use std::io;
use std::time::Duration;

use protocol::UserText;
use protocol::limits::MAX_LINE_BYTES;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::sleep;

use crate::input::Input;
use crate::sanitize::Sanitizer;

/// Poll interval for keys, only while an answer is awaited: below the delay a person notices.
const ASK_EVERY: Duration = Duration::from_millis(20);
const END_OF_INPUT: char = '\u{4}';
const ERASE_LINE: char = '\u{15}';
const ERASE: [char; 2] = ['\u{8}', '\u{7f}'];

#[derive(Default)]
pub(crate) struct TypeAhead(Vec<u8>);

impl TypeAhead {
    /// Waits for keys. Must not be awaited while the line editor reads. Cancel safe.
    pub(crate) async fn pressed(&mut self) -> io::Result<()> {
        let terminal = io::stdin();
        while !has_input(&terminal)? {
            sleep(ASK_EVERY).await;
        }
        let mut chunk = [0; 256];
        let count = rustix::io::read(&terminal, &mut chunk)?;
        if count == 0 {
            // End of file: SIGHUP or a failed write ends the program.
            std::future::pending::<()>().await;
        }
        // No line may exceed the protocol's limit, so further keys are dropped.
        let room = MAX_LINE_BYTES.saturating_sub(self.0.len());
        self.0.extend(chunk.iter().take(count.min(room)));
        Ok(())
    }

    /// Takes the first complete line.
    pub(crate) fn next_line(&mut self) -> Option<Input> {
        let end = self.0.iter().position(|key| [b'\r', b'\n'].contains(key))?;
        let line: Vec<u8> = self.0.drain(..=end).collect();
        let line = edited(&line[..end]);
        Some(if line.starts_with(END_OF_INPUT) { Input::End } else { Input::Line(UserText::new(line)) })
    }

    /// True if a partial line is buffered.
    pub(crate) fn has_begun(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes the partial line.
    pub(crate) fn take(&mut self) -> UserText {
        UserText::new(edited(&std::mem::take(&mut self.0)).replace(END_OF_INPUT, ""))
    }
}

fn has_input(terminal: &io::Stdin) -> io::Result<bool> {
    let mut waits = [PollFd::new(terminal, PollFlags::IN)];
    Ok(0 < poll(&mut waits, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?)
}

/// Applies editing keys and returns the line.
fn edited(keys: &[u8]) -> String {
    let (mut line, mut sanitizer) = (String::new(), Sanitizer::default());
    for key in String::from_utf8_lossy(keys).chars() {
        match key {
            END_OF_INPUT if line.is_empty() => line.push(key),
            ERASE_LINE => line.clear(),
            key if ERASE.contains(&key) => drop(line.pop()),
            key => line.push_str(&sanitizer.piece(key.encode_utf8(&mut [0; 4]))),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_line_from_keys() {
        for (keys, want) in [
            ("hola", "hola"),
            ("hols\u{7f}a", "hola"),
            ("\u{7f}\u{8}ñu\u{7f}o", "ño"),
            ("nada\u{15}hola", "hola"),
            // An arrow key, and a tab.
            ("ho\u{1b}[Dla\t", "hola "),
            ("\u{4}", "\u{4}"),
            ("a\u{4}", "a"),
        ] {
            assert_eq!(edited(keys.as_bytes()), want, "{keys:?}");
        }
    }

    #[test]
    fn yields_complete_lines_and_keeps_the_rest() {
        let keys = "uno\rdos\ntr".as_bytes().to_vec();
        let mut type_ahead = TypeAhead(keys);
        let line = |input: Option<Input>| match input {
            Some(Input::Line(text)) => text.expose().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!((line(type_ahead.next_line()), line(type_ahead.next_line())), ("uno".to_owned(), "dos".to_owned()));
        assert!(type_ahead.next_line().is_none() && type_ahead.has_begun());
        assert_eq!((type_ahead.take().expose(), type_ahead.has_begun()), ("tr", false));
    }
}
