//! Keys that are pressed while no line is being edited.
//!
//! They are not shown: they would land in the middle of an answer. A line that is complete is a message at once, however
//! long the answer takes; the rest is where the next prompt begins.

use std::io;
use std::time::Duration;

use protocol::UserText;
use protocol::limits::MAX_LINE_BYTES;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::sleep;

use crate::input::Input;
use crate::printable::Printable;

/// How often the terminal is asked for keys, while an answer is awaited and only then.
const ASK_EVERY: Duration = Duration::from_millis(20);
const END_OF_INPUT: char = '\u{4}';
const ERASE_LINE: char = '\u{15}';
const ERASE: [char; 2] = ['\u{8}', '\u{7f}'];

#[derive(Default)]
pub(crate) struct Typed(Vec<u8>);

impl Typed {
    /// Waits for keys. To be awaited only while the line editor does not read. Cancel safe.
    pub(crate) async fn pressed(&mut self) -> io::Result<()> {
        let terminal = io::stdin();
        while !has_input(&terminal)? {
            sleep(ASK_EVERY).await;
        }
        let mut chunk = [0; 256];
        let count = rustix::io::read(&terminal, &mut chunk)?;
        if count == 0 {
            // The terminal is gone, which others find out about.
            std::future::pending::<()>().await;
        }
        let room = MAX_LINE_BYTES.saturating_sub(self.0.len());
        self.0.extend(chunk.iter().take(count.min(room)));
        Ok(())
    }

    /// Takes the first line that is complete.
    pub(crate) fn next_line(&mut self) -> Option<Input> {
        let end = self.0.iter().position(|key| [b'\r', b'\n'].contains(key))?;
        let line: Vec<u8> = self.0.drain(..=end).collect();
        let line = edited(&line[..end]);
        Some(if line.starts_with(END_OF_INPUT) { Input::End } else { Input::Line(UserText::new(line)) })
    }

    /// Whether a line was begun.
    pub(crate) fn has_begun(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes the line that was begun.
    pub(crate) fn take(&mut self) -> UserText {
        UserText::new(edited(&std::mem::take(&mut self.0)).replace(END_OF_INPUT, ""))
    }
}

fn has_input(terminal: &io::Stdin) -> io::Result<bool> {
    let mut waits = [PollFd::new(terminal, PollFlags::IN)];
    Ok(0 < poll(&mut waits, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?)
}

/// The line that these keys make.
fn edited(keys: &[u8]) -> String {
    let (mut line, mut printable) = (String::new(), Printable::default());
    for key in String::from_utf8_lossy(keys).chars() {
        match key {
            END_OF_INPUT if line.is_empty() => line.push(key),
            ERASE_LINE => line.clear(),
            key if ERASE.contains(&key) => drop(line.pop()),
            key => line.push_str(&printable.piece(key.encode_utf8(&mut [0; 4]))),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_make_a_line() {
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
    fn lines_are_taken_one_by_one_and_the_rest_stays() {
        let keys = "uno\rdos\ntr".as_bytes().to_vec();
        let mut typed = Typed(keys);
        let line = |input: Option<Input>| match input {
            Some(Input::Line(text)) => text.expose().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!((line(typed.next_line()), line(typed.next_line())), ("uno".to_owned(), "dos".to_owned()));
        assert!(typed.next_line().is_none() && typed.has_begun());
        assert_eq!((typed.take().expose(), typed.has_begun()), ("tr", false));
    }
}
