//! Text decoder that joins characters split over two chunks.

/// Streaming decoder of WTF-8: UTF-8 in which a lone surrogate stands as its three bytes. Some servers split an answer
/// at tokens, and a token may end inside a character: in half of a surrogate pair (`"\ud83d"`, then `"\udc99"`), or in
/// some of its bytes.
#[derive(Debug, Default)]
pub(super) struct TextDecoder {
    /// Incomplete character at the end of the input; fewer than six bytes.
    partial: Vec<u8>,
}

/// Classes of input that is not UTF-8.
enum Invalid {
    /// Possibly the beginning of a character.
    Incomplete,
    /// A surrogate pair: its character and length in bytes.
    SurrogatePair(char, usize),
    /// Invalid bytes: their number.
    Garbage(usize),
}

impl TextDecoder {
    /// Decodes `bytes` into `out`, and keeps an incomplete last character for the next call. Invalid bytes become
    /// U+FFFD; U+0000 is dropped, because databases and terminals reject it.
    pub(super) fn decode(&mut self, bytes: &[u8], out: &mut String) {
        let joined;
        let mut rest = if self.partial.is_empty() {
            bytes
        } else {
            joined = [std::mem::take(&mut self.partial).as_slice(), bytes].concat();
            joined.as_slice()
        };
        while !rest.is_empty() {
            let valid = match std::str::from_utf8(rest) {
                Ok(text) => return push(text, out),
                Err(error) => rest.split_at(error.valid_up_to()),
            };
            push(&String::from_utf8_lossy(valid.0), out);
            rest = valid.1;
            let skipped = match classify_invalid(rest) {
                Invalid::Incomplete => {
                    self.partial = rest.to_vec();
                    return;
                }
                Invalid::SurrogatePair(character, length) => {
                    out.push(character);
                    length
                }
                Invalid::Garbage(length) => {
                    out.push(char::REPLACEMENT_CHARACTER);
                    length
                }
            };
            rest = rest.get(skipped..).unwrap_or_default();
        }
    }
}

fn push(text: &str, out: &mut String) {
    text.split('\0').for_each(|part| out.push_str(part));
}

/// Classifies the beginning of `bytes`, which is not UTF-8.
fn classify_invalid(bytes: &[u8]) -> Invalid {
    match (surrogate(bytes), bytes) {
        (Some(high @ 0xd800..0xdc00), _) => match (surrogate(bytes.get(3..).unwrap_or_default()), bytes.len()) {
            (Some(low), _) => match char::decode_utf16([high, low]).next() {
                Some(Ok(character)) => Invalid::SurrogatePair(character, 6),
                _ => Invalid::Garbage(3),
            },
            // Nothing yet, or a prefix of the low surrogate.
            (None, length) if is_surrogate_prefix(bytes.get(3..length.min(6)).unwrap_or_default()) => {
                Invalid::Incomplete
            }
            (None, _) => Invalid::Garbage(3),
        },
        (Some(_), _) => Invalid::Garbage(3),
        // Invalid UTF-8, but a prefix of a surrogate.
        (None, [0xed, ..]) if bytes.len() < 3 && is_surrogate_prefix(bytes) => Invalid::Incomplete,
        (None, _) => match std::str::from_utf8(bytes).map_err(|error| error.error_len()) {
            Err(None) => Invalid::Incomplete,
            Err(Some(length)) => Invalid::Garbage(length),
            Ok(_) => Invalid::Garbage(bytes.len()),
        },
    }
}

/// Surrogate at the beginning of `bytes`.
fn surrogate(bytes: &[u8]) -> Option<u16> {
    match bytes {
        [0xed, middle @ 0xa0..=0xbf, last @ 0x80..=0xbf, ..] => {
            Some(0xd000 | (u16::from(middle & 0x3f) << 6) | u16::from(last & 0x3f))
        }
        _ => None,
    }
}

/// True if `bytes`, fewer than three, are a prefix of a surrogate.
fn is_surrogate_prefix(bytes: &[u8]) -> bool {
    matches!(bytes, [] | [0xed] | [0xed, 0xa0..=0xbf])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `pieces` in sequence.
    fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let (mut decoder, mut out) = (TextDecoder::default(), String::new());
        pieces.into_iter().for_each(|piece| decoder.decode(piece, &mut out));
        out
    }

    #[test]
    fn joins_characters_at_any_split() {
        // U+1F499 as a surrogate pair is ED A0 BD, ED B2 99.
        let pair = b"\xed\xa0\xbd\xed\xb2\x99";
        for (bytes, want) in [
            ("año 💙".as_bytes().to_vec(), "año 💙"),
            ([b"a".as_slice(), pair, b"b"].concat(), "a💙b"),
            ([pair.as_slice(), pair].concat(), "💙💙"),
            (b"\xed\xa0\xbdx".to_vec(), "\u{fffd}x"),
            (b"\xed\xb2\x99x".to_vec(), "\u{fffd}x"),
            ([b"\xed\xa0\xbd".as_slice(), pair].concat(), "\u{fffd}💙"),
            (b"\xed\xa0\xbd\xed\x95\x9c".to_vec(), "\u{fffd}한"),
            (b"a\xffb\xc3(".to_vec(), "a\u{fffd}b\u{fffd}("),
            (b"a\0b\0".to_vec(), "ab"),
            // An answer that ends inside a character: the rest of it is dropped.
            (b"a\xf0\x9f".to_vec(), "a"),
            (b"a\xed\xa0\xbd".to_vec(), "a"),
        ] {
            assert_eq!(decoded([bytes.as_slice()]), want, "{bytes:x?}");
            assert_eq!(decoded(bytes.chunks(1)), want, "{bytes:x?}, byte by byte");
            for at in 0..bytes.len() {
                let (before, after) = bytes.split_at(at);
                assert_eq!(decoded([before, after]), want, "{bytes:x?}, split at {at}");
            }
        }
    }
}
