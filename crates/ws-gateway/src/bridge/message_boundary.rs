//! Detects message boundaries in a client's frame stream.

/// Longest frame header of RFC 6455.
const MAX_HEADER_BYTES: usize = 14;
/// Frames up to this length leave a buffer too small to be worth freeing.
const SHORT_FRAME_BYTES: u64 = 4 * 1_024;

/// Tracks frame headers without parsing payloads. tungstenite keeps a buffer as long as the longest frame so far; its
/// context can be replaced without loss only between two messages.
#[derive(Debug, Default)]
pub(super) struct MessageBoundary {
    header: [u8; MAX_HEADER_BYTES],
    /// Bytes of the current header received so far.
    header_len: usize,
    /// Payload bytes of the current frame still missing.
    payload_left: u64,
    /// A fragmented message is incomplete.
    fragmented: bool,
    /// A long frame has arrived since the last renewal.
    grown: bool,
}

impl MessageBoundary {
    /// Tracks `input`, the next bytes of the stream.
    pub(super) fn advance(&mut self, mut input: &[u8]) {
        while let Some((&first, rest)) = input.split_first() {
            if 0 < self.payload_left {
                let taken = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(input.len());
                self.payload_left -= taken as u64;
                input = &input[taken..];
                continue;
            }
            self.header[self.header_len] = first;
            self.header_len += 1;
            input = rest;
            if let Some(payload) = payload_len(&self.header[..self.header_len]) {
                self.begin(payload);
            }
        }
    }

    fn begin(&mut self, payload: u64) {
        let (is_last, is_control) = (self.header[0] & 0x80 != 0, self.header[0] & 0x08 != 0);
        if !is_control {
            self.fragmented = !is_last;
        }
        self.grown = self.grown || SHORT_FRAME_BYTES < payload;
        (self.payload_left, self.header_len) = (payload, 0);
    }

    /// Returns true once after each long frame, at the next message boundary.
    pub(super) fn take_renewal(&mut self) -> bool {
        let between = self.header_len == 0 && self.payload_left == 0 && !self.fragmented;
        between && std::mem::take(&mut self.grown)
    }
}

/// Returns the payload length of a complete header.
fn payload_len(header: &[u8]) -> Option<u64> {
    let second = *header.get(1)?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (extended, short) = match second & 0x7f {
        126 => (2, 0),
        127 => (8, 0),
        short => (0, u64::from(short)),
    };
    let long = header.get(2..2 + extended)?;
    (header.len() == 2 + extended + mask).then(|| long.iter().fold(short, |len, &byte| len << 8 | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, len: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match u16::try_from(len) {
            Ok(short @ 0..126) => frame.push(0x80 | u8::try_from(short).unwrap()),
            Ok(long) => frame.extend([&[0xfe][..], &long.to_be_bytes()].concat()),
            Err(_) => frame.extend([&[0xff][..], &(len as u64).to_be_bytes()].concat()),
        }
        frame.extend([1, 2, 3, 4]);
        frame.resize(frame.len() + len, 0x81);
        frame
    }

    #[test]
    fn renews_at_boundary_after_long_frame() {
        const TEXT: u8 = 0x81;
        let (begin, go_on, end, ping) = (0x01, 0x00, 0x80, 0x89);
        let rows: &[(&str, Vec<Vec<u8>>, bool)] = &[
            ("short", vec![frame(TEXT, 5), frame(TEXT, 4_096)], false),
            ("long", vec![frame(TEXT, 4_097)], true),
            ("longer", vec![frame(TEXT, 65_536)], true),
            ("long, then short", vec![frame(TEXT, 9_000), frame(TEXT, 5)], true),
            (
                "a message in fragments, not at its end",
                vec![frame(begin, 9_000), frame(go_on, 9), frame(ping, 0)],
                false,
            ),
            ("at its end", vec![frame(begin, 9_000), frame(ping, 3), frame(go_on, 9), frame(end, 0)], true),
        ];
        for (name, frames, want) in rows {
            let bytes = frames.concat();
            for step in [1, 7, bytes.len()] {
                let mut boundary = MessageBoundary::default();
                let (mut renewed, mut last) = (0, false);
                for part in bytes.chunks(step) {
                    boundary.advance(part);
                    last = boundary.take_renewal();
                    renewed += usize::from(last);
                }
                assert_eq!((0 < renewed, renewed < 2), (*want, true), "{name}, {step} bytes at a time");
                assert!(step == 1 || !want || last || name.contains("then"), "{name}");
            }
            let mut cut = MessageBoundary::default();
            cut.advance(&bytes[..bytes.len() - 1]);
            assert!(name.contains("short") || !cut.take_renewal(), "{name}: the last byte is missing");
        }
    }
}
