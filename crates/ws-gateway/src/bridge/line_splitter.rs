//! Splits the core's byte stream into lines.

use memchr::memchr;
use protocol::CloseReason;
use protocol::proxy_header::CLOSING_LINE_MARK;

/// Longest closing line kept, in bytes; every reason's name is shorter.
const MAX_CLOSING_BYTES: usize = 64;

/// Incremental line splitter without a buffer: a partial line is passed on in fragments. Only the closing line is kept,
/// for its reason.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    position: Position,
    reason: Option<CloseReason>,
}

#[derive(Debug, Default)]
enum Position {
    #[default]
    Start,
    /// A fragment of the line has been passed on.
    Middle,
    /// Inside the closing line.
    Closing(Vec<u8>),
}

/// A line of the core, or a fragment of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineFragment<'a> {
    pub(crate) bytes: &'a [u8],
    /// True for the first fragment of a line.
    pub(crate) first: bool,
    /// True for the last fragment of a line.
    pub(crate) last: bool,
}

impl LineSplitter {
    /// Passes the lines in `input` to `sink`, without their line ends.
    pub(crate) fn feed(&mut self, mut input: &[u8], mut sink: impl FnMut(LineFragment<'_>)) {
        while !input.is_empty() {
            let end = memchr(b'\n', input);
            let (bytes, rest) = match end {
                Some(end) => (&input[..end], &input[end + 1..]),
                None => (input, &[][..]),
            };
            input = rest;
            self.fragment(bytes, end.is_some(), &mut sink);
        }
    }

    fn fragment(&mut self, bytes: &[u8], last: bool, sink: &mut impl FnMut(LineFragment<'_>)) {
        if matches!(self.position, Position::Start) && bytes.first() == Some(&CLOSING_LINE_MARK) {
            self.position = Position::Closing(Vec::new());
        }
        if let Position::Closing(line) = &mut self.position {
            line.extend(bytes.iter().take(MAX_CLOSING_BYTES - line.len()));
            if last {
                self.reason = self.reason.or_else(|| Some(closing_reason(line)));
            }
        } else {
            let first = matches!(self.position, Position::Start);
            sink(LineFragment { bytes, first, last });
            self.position = Position::Middle;
        }
        if last {
            self.position = Position::Start;
        }
    }

    /// Returns the reason of the closing line, if there was one.
    pub(crate) fn closing_reason(&self) -> Option<CloseReason> {
        self.reason
    }
}

/// Parses a closing line; an unknown reason counts as `internal` (SPEC §8).
fn closing_reason(line: &[u8]) -> CloseReason {
    let name = line.get(1..).unwrap_or_default().trim_ascii_end();
    CloseReason::from_name(name).unwrap_or(CloseReason::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the lines and the reason for `input` fed in chunks that end at `cuts`.
    fn check(input: &[u8], cuts: &[usize]) -> (Vec<String>, Option<CloseReason>) {
        let (mut lines, mut whole, mut part) = (LineSplitter::default(), Vec::new(), String::new());
        let mut from = 0;
        for to in cuts.iter().copied().chain([input.len()]) {
            lines.feed(&input[from..to], |fragment| {
                assert_eq!(fragment.first, part.is_empty(), "a line begins once");
                part.push_str(&format!("+{}", fragment.bytes.escape_ascii()));
                if fragment.last {
                    whole.push(std::mem::take(&mut part).replace('+', ""));
                }
            });
            from = to;
        }
        (whole, lines.closing_reason())
    }

    #[test]
    fn split_at_every_byte() {
        let cases: &[(&[u8], &[&str], Option<CloseReason>)] = &[
            (b"hola\n", &["hola"], None),
            (b"a\n\nb\ncut", &["a", "", "b"], None),
            (b"chau\n\x04bye\n", &["chau"], Some(CloseReason::Bye)),
            (b"\x04idle\r\n", &[], Some(CloseReason::Idle)),
            (b"\x04nonsense\nx\n", &["x"], Some(CloseReason::Internal)),
            (b"\x04\n", &[], Some(CloseReason::Internal)),
            (b"\x04nonsense\n\x04bye\n", &[], Some(CloseReason::Internal)),
            (b"\x04bye", &[], None),
            (b"a\x04bye\n", &["a\\x04bye"], None),
            (b"\x04draining\n\x04bye\n", &[], Some(CloseReason::Draining)),
        ];
        for (input, want, reason) in cases {
            for cut in 0..=input.len() {
                let (lines, got) = check(input, &[cut]);
                assert_eq!((&lines[..], got), (&want.map_strings()[..], *reason), "{input:?} cut at {cut}");
            }
            let every: Vec<usize> = (0..input.len()).collect();
            assert_eq!(check(input, &every), (want.map_strings(), *reason), "{input:?} by byte");
        }
    }

    trait MapStrings {
        fn map_strings(&self) -> Vec<String>;
    }

    impl MapStrings for &[&str] {
        fn map_strings(&self) -> Vec<String> {
            self.iter().map(|&text| text.to_owned()).collect()
        }
    }

    #[test]
    fn bounds_closing_line() {
        let mut lines = LineSplitter::default();
        lines.feed(&[CLOSING_LINE_MARK; 10_000], |_| unreachable!("not passed on"));
        assert!(matches!(&lines.position, Position::Closing(line) if line.len() == MAX_CLOSING_BYTES));
    }
}
