//! A `traceparent` round-trips, alone and as the tag of a line.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use protocol::codec::encode_tag;
use protocol::trace::{TRACEPARENT_LEN, Traceparent};
use protocol::{Inbound, LineCodec, UserText};

fuzz_target!(|text: &[u8]| {
    let Ok(parent) = Traceparent::parse(text) else { return };
    assert_eq!(text.len(), TRACEPARENT_LEN);
    let written = parent.encode();
    // Only the lowest flag (sampled) is kept.
    assert_eq!(text[..TRACEPARENT_LEN - 2], written[..TRACEPARENT_LEN - 2]);
    assert_eq!(Traceparent::parse(&written), Ok(parent));
    assert_eq!(parent.to_string().as_bytes(), written);

    let mut codec = LineCodec::default();
    codec.expect_tags();
    let mut line = BytesMut::from(&[encode_tag(parent).as_slice(), b"hola\n"].concat()[..]);
    let want = Inbound::Line { trace: Some(parent), text: UserText::new("hola") };
    assert_eq!(codec.next_line(&mut line), Some(want));
});
