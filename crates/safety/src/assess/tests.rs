use super::{TABLES, normalise};
use crate::{Context, Level, assess};

fn level(text: &str) -> Level {
    assess(&Context::default(), text).level
}

#[test]
fn tables_are_read() {
    assert!(!TABLES.rules.is_empty());
    assert!(!TABLES.rows.is_empty());
}

#[test]
fn spelling_does_not_hide_a_risk() {
    for text in [
        "quiero morirme",
        "QUIERO MORIRME",
        "kiero morirme",
        "quiero moriirme",
        "quiero morirrrmeee",
        "quiero mrirme",
        "quieromorirme",
        "qu13r0 m0r1rm3",
        "quiero m.o.r.i.r.m.e",
        "q u i e r o m o r i r m e",
        "quiero m\u{200b}orir\u{301}me",
        "quierо mоrirmе",
        "ｑｕｉｅｒｏ ｍｏｒｉｒｍｅ",
        "𝗾𝘂𝗶𝗲𝗿𝗼 𝗺𝗼𝗿𝗶𝗿𝗺𝗲",
        "quiero m*rirme",
        "quiero mori rme",
        "q̸u̸i̸e̸r̸o̸ m̸o̸r̸i̸r̸m̸e̸",
    ] {
        assert_eq!(level(text), Level::High, "{text}");
    }
}

#[test]
fn spans_are_of_the_text_as_given() {
    let cases = [
        ("ay, quiero morirme ya", "quiero morirme"),
        ("¡QUIÉRO  MÓRIRME!", "QUIÉRO  MÓRIRME"),
        ("así: kieromorirme.", "kieromorirme"),
    ];
    for (text, expected) in cases {
        let assessment = assess(&Context::default(), text);
        let found: Vec<&str> = assessment.reasons.iter().filter_map(|reason| text.get(reason.span.clone())).collect();
        assert!(found.contains(&expected), "{text}: {found:?}");
    }
}

#[test]
fn any_text_has_tokens_inside_of_it() {
    for text in ["", " ", "\u{200d}", "😀😀", "a\u{301}", "\u{0}\u{1b}[31m", "مرحبا", "¿?¡!...", "*", "@", "€5", "'''"]
    {
        for token in normalise::tokens(&TABLES.lexicon, text) {
            assert!(token.begin <= token.end && text.len() >= usize::try_from(token.end).unwrap(), "{text:?}");
        }
    }
}
