//! Compression and hashes of files.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// Window of brotli as a power of two: browsers take up to 24; no file is longer than this one.
const WINDOW_BITS: i32 = 18;
const BUFFER_BYTES: usize = 4 * 1_024;

/// Compresses with brotli; `quality` is 0 to 11, the best.
pub fn brotli(bytes: &[u8], quality: u8) -> Vec<u8> {
    let params = brotli::enc::BrotliEncoderParams {
        quality: quality.into(),
        lgwin: WINDOW_BITS,
        size_hint: bytes.len(),
        ..Default::default()
    };
    let mut out = Vec::new();
    let mut input = bytes;
    brotli::BrotliCompress(&mut input, &mut out, &params).expect("memory takes every byte");
    debug_assert!(out.len() <= bytes.len() + BUFFER_BYTES);
    out
}

/// Compresses with gzip, without a time in its header: equal files stay equal.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes every byte");
    encoder.finish().expect("memory takes every byte")
}

/// Returns a strong entity tag: the first half of the SHA-256, in quotes.
pub fn entity_tag(bytes: &[u8]) -> String {
    let hex: String = sha256_hex(bytes).chars().take(32).collect();
    format!("\"{hex}\"")
}

/// Returns the source expression of an inline script or style in a content security policy.
pub fn integrity(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn compressed_files_open_again() {
        let text = "agua ".repeat(900);
        let mut opened = String::new();
        flate2::read::GzDecoder::new(&gzip(text.as_bytes())[..]).read_to_string(&mut opened).unwrap();
        assert_eq!(opened, text);
        let (small, mut opened) = (brotli(text.as_bytes(), 11), Vec::new());
        brotli::BrotliDecompress(&mut &small[..], &mut opened).unwrap();
        assert_eq!(opened, text.as_bytes());
        assert!(small.len() < 60 && gzip(text.as_bytes()) == gzip(text.as_bytes()));
    }

    #[test]
    fn hashes() {
        assert_eq!(integrity(""), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
        assert_eq!(entity_tag(b""), "\"e3b0c44298fc1c149afbf4c8996fb924\"");
    }
}
