//! Decodes the same lines however the stream is chunked, and buffers no more than one.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use protocol::codec::TAG_LEN;
use protocol::{ErrorCode, Inbound, LineCodec, UserText};

// Two bytes choose the limit, tags and the pieces; the rest is the stream.
fuzz_target!(|data: &[u8]| {
    let [settings, pieces, stream @ ..] = data else { return };
    let (max_bytes, tagged) = (usize::from(settings >> 1), settings & 1 == 1);
    let whole = lines(max_bytes, tagged, stream.chunks(stream.len().max(1)));
    let by_piece = lines(max_bytes, tagged, Pieces { left: stream, seed: *pieces });
    assert_eq!(whole, by_piece);
    assert_eq!(whole, lines(max_bytes, tagged, stream.chunks(1)));
    if !tagged {
        assert_eq!(whole, specified(max_bytes, stream));
    }
});

/// Returns all lines that the codec decodes from a stream that arrives in `pieces`.
fn lines<'a>(max_bytes: usize, tagged: bool, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Inbound> {
    let mut codec = LineCodec::new(max_bytes);
    if tagged {
        codec.expect_tags();
    }
    let (mut lines, mut kept) = (Vec::new(), BytesMut::new());
    for piece in pieces {
        kept.extend_from_slice(piece);
        lines.extend(std::iter::from_fn(|| codec.next_line(&mut kept)));
        assert!(kept.len() <= max_bytes + TAG_LEN + 1, "keeps more than a line, its tag and a CR");
    }
    lines
}

/// Reference decoder by the words of `SPEC.md` §1, for a whole stream without tags.
fn specified(max_bytes: usize, stream: &[u8]) -> Vec<Inbound> {
    let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let cut = lines.pop().unwrap_or_default();
    let whole = lines.into_iter().filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match std::str::from_utf8(line) {
            _ if max_bytes < line.len() => Some(rejected(ErrorCode::LineTooLong, line, max_bytes)),
            Err(_) => Some(rejected(ErrorCode::InvalidUtf8, line, max_bytes)),
            Ok(text) if text.trim().is_empty() => None,
            Ok(text) => Some(Inbound::Line { trace: None, text: UserText::new(text) }),
        }
    });
    // A line that cannot fit any more is rejected before its end arrives.
    let refused = (max_bytes + 1 < cut.len()).then(|| rejected(ErrorCode::LineTooLong, cut, max_bytes));
    whole.chain(refused).collect()
}

/// Returns a rejected line, with its first bytes as text: those that are no UTF-8 as Latin-1.
fn rejected(code: ErrorCode, line: &[u8], max_bytes: usize) -> Inbound {
    let (mut rest, mut text) = (&line[..max_bytes.min(line.len())], String::new());
    while !rest.is_empty() {
        let whole = (1..=rest.len().min(4)).find_map(|length| std::str::from_utf8(&rest[..length]).ok());
        let length = whole.map_or(1, str::len);
        text.push_str(whole.unwrap_or(&char::from(rest[0]).to_string()));
        rest = &rest[length..];
    }
    Inbound::Rejected { code, readable: UserText::new(text) }
}

/// A stream in pieces of 1 to 32 bytes.
struct Pieces<'a> {
    left: &'a [u8],
    seed: u8,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.seed = self.seed.wrapping_mul(77).wrapping_add(31);
        let (piece, left) = self.left.split_at(self.left.len().min(1 + usize::from(self.seed >> 3)));
        self.left = left;
        (!piece.is_empty()).then_some(piece)
    }
}
