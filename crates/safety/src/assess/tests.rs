use super::{TABLES, normalise};
use crate::{Context, Kind, Level, Subject, assess};

fn level(text: &str) -> Level {
    assess(&Context::default(), text).level
}

#[test]
fn tables_load() {
    assert!(!TABLES.rules.is_empty());
    assert!(!TABLES.rows.is_empty());
}

#[test]
fn finds_risk_despite_spelling() {
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
fn spans_refer_to_the_original_text() {
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
fn token_spans_lie_within_the_text() {
    for text in ["", " ", "\u{200d}", "😀😀", "a\u{301}", "\u{0}\u{1b}[31m", "مرحبا", "¿?¡!...", "*", "@", "€5", "'''"]
    {
        for token in normalise::reading(&TABLES.lexicon, text).tokens {
            assert!(token.begin <= token.end && text.len() >= usize::try_from(token.end).unwrap(), "{text:?}");
        }
    }
}

/// The model drops findings of messages that it takes for harmless, but never these.
#[test]
fn model_never_drops_harm_done_to_the_person() {
    for (text, kind) in [
        ("mi novio me pega", Kind::Abuse),
        ("mi papá le pega a mi mamá", Kind::Abuse),
        ("my husband hits me and i am scared to go home", Kind::Abuse),
        ("me violaron anoche", Kind::SexualViolence),
        ("un chico abusó de mí en una fiesta", Kind::SexualViolence),
        ("I was raped", Kind::SexualViolence),
        ("my stepdad touches me at night", Kind::SexualViolence),
        ("mi bebé no respira", Kind::Medical),
        ("me duele el pecho y no puedo mover el brazo izquierdo", Kind::Medical),
        ("vomito después de comer", Kind::Eating),
    ] {
        assert!(assess(&Context::default(), text).kinds.contains(kind), "{text}");
    }
}

/// The model knows few sentences of these kinds.
#[test]
fn model_never_drops_findings_of_sure_rules() {
    for (text, subject, kind) in [
        ("me autolesiono", Subject::Own, Kind::SelfHarm),
        ("me corto", Subject::Own, Kind::SelfHarm),
        ("I self-harm", Subject::Own, Kind::SelfHarm),
        ("I burn myself", Subject::Own, Kind::SelfHarm),
        ("mi amiga se corta", Subject::Other, Kind::SelfHarm),
        ("my friend cuts", Subject::Other, Kind::SelfHarm),
        ("si lo dejo se mata", Subject::Other, Kind::Suicide),
        ("I'm going to shoot up my school", Subject::Own, Kind::HarmToOthers),
        ("cuántas pastillas hacen falta para morirse", Subject::Own, Kind::Suicide),
        ("what is the most painless way", Subject::Own, Kind::Suicide),
        ("15 clonazepam", Subject::Own, Kind::Medical),
    ] {
        let found = assess(&Context::default(), text);
        assert!(found.level >= Level::Concern && found.kinds.contains(kind), "{text}: {found:?}");
        assert_eq!(found.subject, subject, "{text}");
    }
}

#[test]
fn finds_risk_despite_control_characters() {
    for text in [
        "\u{1b}[31mme quiero matar\u{1b}[0m",
        "me quiero ma\u{1b}[1;31mtar",
        "me quiero \u{9b}31mmatar",
        "me quiero mata\u{8}\u{8}tar",
        "me quiero mañ\u{8}tж\u{8}ar",
        "me quiero m\u{0}a\u{0}t\u{0}a\u{0}r",
        "\u{8}\u{7f}me quiero matar\u{1b}[",
    ] {
        assert!(level(text) >= Level::High, "{text:?}");
    }
}

/// Consecutive messages are also read as one, which must not create a risk.
#[test]
fn joined_ordinary_messages_are_no_risk() {
    for recent in [
        &["mensaje 1 del programa 3", "mensaje 2 del programa 3"][..],
        &["mensaje 1 de la casa 7", "mensaje 2 de la casa 7"],
        &["hola", "hola", "hola"],
    ] {
        let context = Context { recent: recent.to_vec(), ..Context::default() };
        assert_eq!(assess(&context, "mensaje 3 del programa 3").level, Level::None, "{recent:?}");
    }
}

#[test]
fn plain_clause_counts_whatever_follows() {
    for text in [
        "me quiero matar, perdí el trabajo",
        "me quiero morir, perdí el embarazo",
        "me voy a matar, mi jefe me acosa",
        "me voy a matar, quedé libre en la facultad y no sé qué hacer",
        "i want to die, my team lost the contract and i got fired",
    ] {
        assert!(Level::High <= level(text), "{text}");
    }
}

#[test]
fn goodbye_alone_is_no_risk() {
    for text in [
        "adiós",
        "bueno, adiós",
        "adiós, gracias por escucharme",
        "gracias por escucharme hoy, chau",
        "goodbye",
        "goodbye, thank you",
        "well, goodbye then",
    ] {
        let assessment = assess(&Context::default(), text);
        assert_eq!((assessment.level, assessment.goodbye), (Level::None, true), "{text}");
    }
    for text in ["adiós para siempre", "adiós a todos, perdónenme", "goodbye forever", "goodbye everyone, i'm sorry"]
    {
        assert_eq!(level(text), Level::Imminent, "{text}");
    }
}
