//! The verdict on the first bytes of a connection is final: later bytes do not change it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::proxy_header::{ProxyHeaderParse, MAX_HEADER_BYTES, parse};

fuzz_target!(|bytes: &[u8]| {
    let judged = parse(bytes);
    let waits = |judged: &ProxyHeaderParse| matches!(judged, ProxyHeaderParse::Incomplete { .. });
    let first = (0..=bytes.len()).map(|cut| (cut, parse(&bytes[..cut]))).find(|(_, judged)| !waits(judged));
    match first {
        None => assert!(waits(&judged) && bytes.len() < MAX_HEADER_BYTES, "waits for ever"),
        Some((cut, first)) => {
            assert_eq!(first, judged);
            if let ProxyHeaderParse::Header { len, .. } = first {
                assert_eq!(len, cut, "as soon as it is whole, and no longer than that");
                assert!(len <= MAX_HEADER_BYTES);
            }
        }
    }
});
