//! Assesses any text without a panic; spans lie within it, between characters, and a text read in two parts scores no
//! lower.
#![no_main]

use libfuzzer_sys::fuzz_target;
use safety::{Context, assess};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let alone = assess(&Context::default(), &text);
    for reason in &alone.reasons {
        assert!(text.get(reason.span.clone()).is_some(), "{:?} is no part of {} bytes", reason.span, text.len());
    }
    assert_eq!(alone, assess(&Context::default(), &text));

    let middle = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (first, second) = text.split_at(middle);
    let context = Context { recent: vec![first], ..Context::default() };
    let split = assess(&context, second);
    assert!(split.level >= assess(&Context::default(), second).level);
    for reason in &split.reasons {
        assert!(second.get(reason.span.clone()).is_some(), "{:?} is no part of {} bytes", reason.span, second.len());
    }
});
