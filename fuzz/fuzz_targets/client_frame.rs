//! Parses any text without a panic, and a frame is the same however its JSON is formatted.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::ClientFrame;
use serde_json::Value;

fuzz_target!(|line: &str| {
    let hint = ClientFrame::hint(line);
    let Ok(frame) = ClientFrame::parse(line) else { return };
    assert_eq!(hint.map(|hint| hint.is_hello()), Some(matches!(frame, ClientFrame::Hello(_))));
    match serde_json::from_str::<Value>(line) {
        Ok(json) => assert_eq!(ClientFrame::parse(&json.to_string()), Ok(frame)),
        // Ignored fields may hold numbers that `Value` cannot hold.
        Err(error) => assert!(error.to_string().starts_with("number out of range"), "{error}"),
    }
});
