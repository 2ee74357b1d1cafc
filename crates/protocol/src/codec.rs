//! Lines in and out of a byte stream (`proto-line/SPEC.md` §1, §6).

use bytes::{Buf, BytesMut};
use memchr::memchr;
use tokio_util::codec::Decoder;

use crate::error_code::ErrorCode;
use crate::limits::{MAX_LINE_BYTES, MAX_TEXT_CHARS};
use crate::trace::{TRACEPARENT_LEN, Traceparent};

/// Length in bytes of a gateway's tag before a line: `@`, a `traceparent`, one space.
pub const TAG_LEN: usize = TRACEPARENT_LEN + 2;

/// Longest part of a rejected line that is decoded, in bytes: a character has four at most.
const MAX_READABLE_BYTES: usize = 4 * MAX_TEXT_CHARS;

/// Encodes the tag of one line.
pub fn encode_tag(trace: Traceparent) -> [u8; TAG_LEN] {
    let mut tag = [b' '; TAG_LEN];
    tag[0] = b'@';
    tag[1..=TRACEPARENT_LEN].copy_from_slice(&trace.encode());
    tag
}

/// One decoded line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// A line that is not blank, without its ending and its tag.
    Line {
        /// The trace the gateway put before the line.
        trace: Option<Traceparent>,
        /// The line.
        text: crate::UserText,
    },
    /// A rejected line. The stream is still in sync, so the connection continues.
    Rejected {
        /// Error to answer with.
        code: ErrorCode,
        /// Its readable beginning: it may call for help all the same.
        readable: crate::UserText,
    },
}

/// Bounded line decoder.
///
/// A line over the limit is discarded up to its LF and reported once; a line that a
/// stream's end cuts off is dropped, never taken for a message. Lines of white space
/// are skipped. Buffers at most one line and scans every byte once, however it arrives.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use protocol::{ErrorCode, Inbound, LineCodec, UserText};
///
/// let mut lines = LineCodec::default();
/// let mut received = BytesMut::from(&b"hola\r\n\n\xf1and\xfa\ncut o"[..]);
/// assert_eq!(lines.next_line(&mut received), Some(Inbound::Line { trace: None, text: UserText::new("hola") }));
/// // Not UTF-8: refused, and read as Latin-1 all the same.
/// let readable = UserText::new("ñandú");
/// assert_eq!(lines.next_line(&mut received), Some(Inbound::Rejected { code: ErrorCode::InvalidUtf8, readable }));
/// assert_eq!(lines.next_line(&mut received), None);
/// ```
#[derive(Debug)]
pub struct LineCodec {
    max_bytes: usize,
    tagged: bool,
    /// Bytes at the start of the buffer known to hold no LF.
    scanned: usize,
    /// Discards the rest of a line that was already rejected.
    discarding: bool,
}

impl Default for LineCodec {
    fn default() -> Self {
        Self::new(MAX_LINE_BYTES)
    }
}

impl LineCodec {
    /// Returns a decoder for lines of at most `max_bytes`, endings and tags not counted.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, tagged: false, scanned: 0, discarding: false }
    }

    /// Expects a gateway's tag before each line, from the next one on.
    pub fn expect_tags(&mut self) {
        self.tagged = true;
    }

    /// Returns the next complete line in `src`, or `None` when more bytes are needed.
    pub fn next_line(&mut self, src: &mut BytesMut) -> Option<Inbound> {
        loop {
            let Some(found) = memchr(b'\n', src.get(self.scanned..).unwrap_or_default()) else {
                return self.without_end(src);
            };
            let mut line = src.split_to(self.scanned + found);
            src.advance(1);
            self.scanned = 0;
            if std::mem::take(&mut self.discarding) {
                continue;
            }
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if let Some(inbound) = self.complete(line) {
                return Some(inbound);
            }
        }
    }

    /// Handles a buffer without LF: notes the scanned bytes, and rejects a line that cannot fit any more.
    fn without_end(&mut self, src: &mut BytesMut) -> Option<Inbound> {
        // A CR that belongs to the ending may be the last byte here.
        let longest = self.max_bytes + if self.tagged { TAG_LEN } else { 0 } + 1;
        let overflow = longest < src.len() && !self.discarding;
        self.discarding |= overflow;
        let rejected = overflow.then(|| {
            let mut line = src.split();
            if self.tagged {
                take_tag(&mut line);
            }
            self.rejected(ErrorCode::LineTooLong, &line)
        });
        if self.discarding {
            src.clear();
        }
        self.scanned = src.len();
        rejected
    }

    fn complete(&self, mut line: BytesMut) -> Option<Inbound> {
        let trace = if self.tagged { take_tag(&mut line) } else { None };
        if self.max_bytes < line.len() {
            return Some(self.rejected(ErrorCode::LineTooLong, &line));
        }
        match std::str::from_utf8(&line) {
            Err(_) => Some(self.rejected(ErrorCode::InvalidUtf8, &line)),
            Ok(text) if text.trim().is_empty() => None,
            Ok(text) => Some(Inbound::Line { trace, text: crate::UserText::new(text) }),
        }
    }

    fn rejected(&self, code: ErrorCode, line: &[u8]) -> Inbound {
        // The limit keeps the result the same in however many chunks the line arrives.
        let beginning = line.get(..self.max_bytes.min(MAX_READABLE_BYTES)).unwrap_or(line);
        Inbound::Rejected { code, readable: crate::UserText::new(readable(beginning)) }
    }
}

/// Reads `line` as text. A byte that is no UTF-8 is taken for Latin-1, which older terminals write.
fn readable(line: &[u8]) -> String {
    let mut text = String::new();
    for chunk in line.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| char::from(*byte)));
    }
    let end = text.char_indices().nth(MAX_TEXT_CHARS).map_or(text.len(), |(end, _)| end);
    text.truncate(end);
    text
}

/// Removes the tag at the start of `line`, if there is a well-formed one.
fn take_tag(line: &mut BytesMut) -> Option<Traceparent> {
    let (b'@', rest) = line.split_first()? else { return None };
    let (tag, rest) = rest.split_at_checked(TRACEPARENT_LEN)?;
    let trace = Traceparent::parse(tag).ok()?;
    rest.starts_with(b" ").then(|| {
        line.advance(TAG_LEN);
        trace
    })
}

impl Decoder for LineCodec {
    type Item = Inbound;
    type Error = std::io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> std::io::Result<Option<Inbound>> {
        Ok(self.next_line(src))
    }

    /// Drops a line without an ending: the stream's end has truncated it.
    fn decode_eof(&mut self, src: &mut BytesMut) -> std::io::Result<Option<Inbound>> {
        let inbound = self.next_line(src);
        if inbound.is_none() {
            src.clear();
        }
        Ok(inbound)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::UserText;

    const MAX: usize = 16;

    fn line(text: &str) -> Inbound {
        Inbound::Line { trace: None, text: UserText::new(text) }
    }

    fn rejected(code: ErrorCode, readable: &str) -> Inbound {
        Inbound::Rejected { code, readable: UserText::new(readable) }
    }

    /// Feeds `input` in chunks that end at `cuts`, draining the decoder after each.
    fn feed(codec: &mut LineCodec, input: &[u8], cuts: &[usize]) -> Vec<Inbound> {
        let mut seen = Vec::new();
        let mut buffer = BytesMut::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([input.len()]) {
            buffer.extend_from_slice(&input[from..to]);
            from = to;
            while let Some(inbound) = codec.next_line(&mut buffer) {
                seen.push(inbound);
            }
            assert!(buffer.len() <= MAX + TAG_LEN + 1, "buffers more than a line");
        }
        seen
    }

    #[test]
    fn splits_lines_at_every_byte_boundary() {
        use ErrorCode::{InvalidUtf8, LineTooLong};
        let cases: &[(&[u8], Vec<Inbound>)] = &[
            (b"hola\n", vec![line("hola")]),
            (b"hola\r\nchau\n", vec![line("hola"), line("chau")]),
            (b"\n  \r\n\t\nx\n", vec![line("x")]),
            (b"cut", vec![]),
            (b"0123456789abcdef\n", vec![line("0123456789abcdef")]),
            (b"0123456789abcdef\r\n", vec![line("0123456789abcdef")]),
            (b"0123456789abcdefX\nok\n", vec![rejected(LineTooLong, "0123456789abcdef"), line("ok")]),
            (b"0123456789abcdefXYZ....\nok\n", vec![rejected(LineTooLong, "0123456789abcdef"), line("ok")]),
            (b"\xff\xfe\nok\n", vec![rejected(InvalidUtf8, "ÿþ"), line("ok")]),
            (b"no \xc3\xa1 m\xe1s\n", vec![rejected(InvalidUtf8, "no á más")]),
            (b"a\rb\n", vec![line("a\rb")]),
        ];
        for (input, want) in cases {
            for cut in 0..=input.len() {
                let got = feed(&mut LineCodec::new(MAX), input, &[cut]);
                assert_eq!(&got, want, "{input:?} cut at {cut}");
            }
            let every: Vec<usize> = (0..input.len()).collect();
            assert_eq!(&feed(&mut LineCodec::new(MAX), input, &every), want, "{input:?} by byte");
        }
    }

    #[test]
    fn strips_one_tag_and_does_not_count_it() {
        let trace = Traceparent::random();
        let tag = String::from_utf8(encode_tag(trace).to_vec()).unwrap();
        let tagged = |text: &str| Inbound::Line { trace: Some(trace), text: UserText::new(text) };
        let cases = [
            (format!("{tag}0123456789abcdef\n"), vec![tagged("0123456789abcdef")]),
            (format!("{tag}0123456789abcdefX\n"), vec![rejected(ErrorCode::LineTooLong, "0123456789abcdef")]),
            (format!("{tag}\n"), vec![]),
            (format!("{tag}@x\n"), vec![tagged("@x")]),
            ("untagged\n".to_owned(), vec![line("untagged")]),
        ];
        for (input, want) in cases {
            let mut codec = LineCodec::new(MAX);
            codec.expect_tags();
            assert_eq!(feed(&mut codec, input.as_bytes(), &[]), want, "{input}");
        }
    }

    #[test]
    fn drops_unterminated_line_at_eof() {
        let mut codec = LineCodec::new(MAX);
        let mut buffer = BytesMut::from("whole\nhalf");
        assert_eq!(codec.decode_eof(&mut buffer).unwrap(), Some(line("whole")));
        assert_eq!(codec.decode_eof(&mut buffer).unwrap(), None);
        assert!(buffer.is_empty());
    }

    proptest! {
        #[test]
        fn chunking_does_not_change_lines(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            mut cuts in proptest::collection::vec(0usize..200, 0..8),
            tagged: bool,
        ) {
            cuts.retain(|&cut| cut <= input.len());
            cuts.sort_unstable();
            let codec = || {
                let mut codec = LineCodec::new(MAX);
                if tagged { codec.expect_tags(); }
                codec
            };
            let every: Vec<usize> = (0..input.len()).collect();
            prop_assert_eq!(feed(&mut codec(), &input, &cuts), feed(&mut codec(), &input, &every));
        }
    }
}
