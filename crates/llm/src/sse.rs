//! Sans-I/O parser of server-sent events. Data stays bytes: a delta may end inside a character.

use std::collections::VecDeque;

/// Limit on one event: far above any real chunk, and a bound on the memory that an endless line takes.
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// Server-sent event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// The type is `error`.
    pub(super) is_error: bool,
    /// Data lines joined by LF.
    pub(super) data: Vec<u8>,
}

/// Error: an event exceeds [`MAX_EVENT_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Incremental parser.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// Incomplete line.
    line: Vec<u8>,
    /// The last line ended with CR: a following LF belongs to it.
    after_cr: bool,
    is_error: bool,
    /// Data of the incomplete event.
    data: Option<Vec<u8>>,
    events: VecDeque<Event>,
}

impl Parser {
    /// Parses the next bytes.
    ///
    /// # Errors
    ///
    /// [`TooLong`]; earlier events can still be read.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        if std::mem::take(&mut self.after_cr) && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (begin, rest) = bytes.split_at(end);
            self.hold(begin)?;
            self.end_line();
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => rest,
                [_, rest @ ..] => {
                    self.after_cr = rest.is_empty();
                    rest
                }
                [] => rest,
            };
        }
        self.hold(bytes)
    }

    /// Ends the stream. A last event needs no blank line.
    pub(super) fn finish(&mut self) {
        self.end_line();
        self.end_line();
    }

    /// Returns the next event.
    pub(super) fn next(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.line.extend_from_slice(bytes);
        let held = self.line.len() + self.data.as_ref().map_or(0, Vec::len);
        if held <= MAX_EVENT_BYTES { Ok(()) } else { Err(TooLong) }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let is_error = std::mem::take(&mut self.is_error);
            // The type `error` alone is an error, without data too.
            if let Some(data) = self.data.take().or_else(|| is_error.then(Vec::new)) {
                self.events.push_back(Event { is_error, data });
            }
            return;
        }
        let colon = memchr::memchr(b':', &line).unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => self.add(value),
            b"event" => self.is_error = value.trim_ascii() == b"error",
            // llama.cpp sends errors as a field, not as an event.
            b"error" => {
                self.is_error = true;
                self.add(value);
            }
            // No field name: raw JSON that a proxy has inserted, usually an error.
            [b'{', ..] => self.add(&line),
            // Comments and other fields.
            _ => {}
        }
        self.line = line;
        self.line.clear();
    }

    fn add(&mut self, value: &[u8]) {
        match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => self.data = Some(value.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses `pieces` and returns the data of each event, errors with a `!` in front.
    fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut parser = Parser::default();
        pieces.into_iter().for_each(|piece| parser.push(piece).unwrap());
        parser.finish();
        let shown = |Event { is_error, data }| {
            format!("{}{}", if is_error { "!" } else { "" }, String::from_utf8_lossy(&data).replace('\n', "|"))
        };
        std::iter::from_fn(|| parser.next()).map(shown).collect()
    }

    #[test]
    fn parses_alike_at_any_split() {
        for (stream, want) in [
            ("", &[][..]),
            ("data: a\n\ndata: b\n\n", &["a", "b"]),
            ("data:a\r\n\r\ndata:  b\r\n\r\n", &["a", " b"]),
            ("data: a\r\rdata: b\r\r", &["a", "b"]),
            ("data: a\ndata: b\n\n", &["a|b"]),
            ("data\n\ndata:\n\n", &["", ""]),
            ("\n\n\ndata: a\n\n\n\n", &["a"]),
            (": comment\nid: 1\nretry: 5\nevent: message\nfoo: bar\ndata: a\n\n", &["a"]),
            ("event: error\ndata: a\n\ndata: b\n\n", &["!a", "b"]),
            ("event: error\n\n", &["!"]),
            ("data: a\n\nerror: {\"code\":500}\n\ndata: b\n\n", &["a", "!{\"code\":500}", "b"]),
            ("event: ping\n\n", &[]),
            ("{\"error\":1}\n", &["{\"error\":1}"]),
            ("data: a: b\n\n", &["a: b"]),
            // Without the blank line, or without any line end.
            ("data: a\n\ndata: b\n", &["a", "b"]),
            ("data: a\n\ndata: b", &["a", "b"]),
        ] {
            let stream = stream.as_bytes();
            assert_eq!(events([stream]), want, "{stream:?}");
            assert_eq!(events(stream.chunks(1)), want, "{stream:?}, byte by byte");
            for at in 0..stream.len() {
                let (before, after) = stream.split_at(at);
                assert_eq!(events([before, after]), want, "{stream:?}, split at {at}");
            }
        }
    }

    #[test]
    fn rejects_an_endless_event() {
        for line in ["data: ", "data: x\n", ": "] {
            let mut parser = Parser::default();
            let chunk = line.repeat(1_024);
            let refused = (0..=MAX_EVENT_BYTES / 1_024).any(|_| parser.push(chunk.as_bytes()).is_err());
            assert!(refused, "{line:?}");
        }
        let mut parser = Parser::default();
        (0..MAX_EVENT_BYTES).step_by(1_024).for_each(|_| parser.push(&b": x\n\n".repeat(1_024)).unwrap());
        assert_eq!(parser.next(), None);
    }
}
