mod numbers;

use super::table::EXAMPLES;
use proptest::strategy::Strategy;

use super::*;
use crate::Kind;

fn context(level: Level, kind: Option<Kind>) -> ScreenContext {
    ScreenContext { level, kinds: kind.into_iter().collect(), language: Language::Spanish, country: None }
}

/// Text shown, and the rule that was broken.
fn screen<'a>(context: ScreenContext, pieces: impl IntoIterator<Item = &'a str>) -> (String, Option<&'static str>) {
    let mut screen = Screen::new(context);
    let mut shown = String::new();
    for piece in pieces {
        match screen.push(piece) {
            Ok(text) => shown.push_str(&text),
            Err(violation) => return (shown + &violation.clean, Some(violation.rule)),
        }
    }
    match screen.finish() {
        Ok(text) => (shown + &text, None),
        Err(violation) => (shown + &violation.clean, Some(violation.rule)),
    }
}

#[test]
fn stops_bad_examples_and_passes_good_ones() {
    let mut wrong = Vec::new();
    for example in EXAMPLES {
        let (_, rule) = screen(context(example.level, example.kind), [example.text]);
        if rule.is_some() != example.stops {
            wrong.push(format!("{} {rule:?}: {}", example.rule, example.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn releases_clean_text_at_once() {
    for (text, level, want) in [
        ("Lamento", Level::None, "Lamento"),
        ("Lamento mucho que estés pasando por tant", Level::None, "Lamento mucho que estés pasando por tant"),
        ("Gracias por contarme. ¿Qué ", Level::None, "Gracias por contarme. ¿Qué "),
        ("Gracias por contarme. Ahora qui", Level::High, "Gracias por contarme."),
        ("I hear ", Level::None, "I hear "),
        // One word breaks no rule, unless it is all of a pattern.
        ("Te ", Level::None, "Te "),
        ("Sí, entiendo", Level::None, "Sí, entiendo"),
        ("Uno ", Level::None, "Uno "),
        // The last two words of a match that may be completed are held.
        ("Gracias. No le digas a nad", Level::None, "Gracias. No le "),
        ("Llamá al 0800-22", Level::None, "Llamá al "),
        ("Llamá al uno uno tr", Level::None, "Llamá al uno uno "),
        ("Llamá al quinien", Level::None, "Llamá al "),
    ] {
        let mut screen = Screen::new(context(level, None));
        assert_eq!(screen.push(text).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn flush_releases_text_that_breaks_no_rule_yet() {
    for (text, level, shown, flushed) in [
        ("No le cuentes a nad", Level::None, "No le ", "cuentes a nad"),
        ("Llamá al 0800-22", Level::None, "Llamá al ", ""),
        ("Gracias por contarme. No le cuentes a nad", Level::High, "Gracias por contarme.", ""),
    ] {
        let mut screen = Screen::new(context(level, None));
        assert_eq!(screen.push(text).as_deref(), Ok(shown));
        assert_eq!((screen.is_holding(), screen.flush().as_str()), (!flushed.is_empty(), flushed), "{text}");
        assert!(!screen.is_holding());
        let end = if level == Level::None && !flushed.is_empty() { "ie." } else { "" };
        assert_eq!(screen.push(end).err().map(|violation| violation.clean).as_deref(), (!end.is_empty()).then_some(""));
    }
}

#[test]
fn cuts_before_the_violation() {
    for (text, level, shown) in [
        ("Te escucho. No le cuentes a nadie.", Level::None, "Te escucho. No le "),
        ("Te escucho. Mirá, no le cuentes a nadie.", Level::High, "Te escucho."),
        ("Hola. Llamá al 0800-222-5555 ahora.", Level::None, "Hola. Llamá al "),
    ] {
        let (clean, rule) = screen(context(level, None), [text]);
        assert_eq!(clean, shown);
        assert!(rule.is_some(), "{text}");
    }
}

#[test]
fn violation_is_final() {
    let mut screen = Screen::new(ScreenContext { language: Language::English, ..ScreenContext::default() });
    let violation = screen.push("I love you so much. ").unwrap_err();
    assert_eq!((violation.rule, violation.clean.as_str()), ("romance", "I "));
    assert!(violation.replacement.starts_with("I am an AI"));
    assert_eq!(screen.push("And more.").unwrap_err().clean, "");
    assert!(screen.finish().is_err());
}

#[test]
fn distinguishes_phone_numbers_from_other_numbers() {
    let phone = [
        "0800-222-5555",
        "+54 9 11 2345 6789",
        "(11) 4444 3333",
        "11.4444.3333",
        "1-800-555-0199",
        "900 123 456",
        "8005551234",
        "cero ochocientos dos dos dos cinco cinco cinco cinco",
        "one eight zero zero five five five one two three four",
        "4 7 8 3 2 2 1 1",
        "1-800-555-HELP",
        "２２２-３３３-４４４４",
        "2\u{200b}2\u{200b}2 3\u{200b}33 44\u{200b}44",
        "0800, 222, 5555",
        "١١٤٥٥٥١٢٣٤",
        "۱۱ ۴۵۵۵ ۱۲۳۴",
        "११४५५५१२३४",
        "❶❶❹❺❺❺❶❷❸❹",
        "11, 4555, 1234",
        "11\n4555\n\n1234",
        "20/22/2555",
    ];
    let none = [
        "2019-2024",
        "15/03/2024",
        "2024-03-15",
        "$ 1.500.000",
        "1,500,000 pesos",
        "4-4-4-4",
        "5-4-3-2-1",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10",
        "10 9 8 7 6 5 4 3 2 1",
        "4-7-8",
        "22:30",
        "24/7",
        "8 a 24",
        "365",
        "uno, dos, tres, cuatro, cinco, seis, siete, ocho",
        "3,5",
        "0800-999-0091",
        "0800 999 0091 (24 h)",
        "(011) 5275-1135",
        "911/107",
        "911, 107 o 135",
        "741741",
        "13 11 14",
        "100 %",
        "20/11/2025",
        "11, 2022, 2023",
        "entre 1500 y 2500",
        "del 15 de 2022 al 3 de 2024",
    ];
    for (numbers, bad) in [(&phone[..], true), (&none[..], false)] {
        for number in numbers {
            let (_, rule) = screen(context(Level::None, None), [format!("Anotá esto: {number} y seguimos.").as_str()]);
            assert_eq!(rule == Some("phone"), bad, "{number}: {rule:?}");
        }
    }
}

#[test]
fn short_numbers_count_only_where_called() {
    for (text, bad) in [
        ("Llamá al 555.", true),
        ("Marcá 77889 ahora.", true),
        ("Text HELP to 55555.", true),
        ("Llamá al cinco cinco cinco.", true),
        ("Llamá al 135.", false),
        ("Marcá uno tres cinco.", false),
        ("Mandales un mensaje al 555.", true),
        ("Un mensaje de texto al 555 alcanza.", true),
        ("Send a message to 4455.", true),
        ("Message 55555 any time.", true),
        ("El número es 555.", true),
        ("eco: mensaje 109", false),
        ("Este es tu mensaje 109 de hoy.", false),
        ("Leí tus mensajes 555 y 556.", false),
        ("That was message 555.", false),
        ("El texto 109 habla de eso.", false),
        ("Call nine one one.", false),
        ("La línea abrió en 2022.", false),
        ("Llamá a alguien y contá hasta 200.", false),
        ("La línea atiende los 365 días del año.", false),
        ("Vivís en el 555 de esa calle.", false),
        ("Call your sister and walk for 350 steps.", false),
        ("Llamá al 123-4.", true),
        ("Tel 20/22/2555", true),
        ("Llamá al 2222 (24 h).", true),
        ("Llamá al 2222, 24 horas.", true),
        ("Llamá al 135 (24 h).", false),
        ("Número: 15 de 5555 de 4444", true),
        ("Llamá al 11 y después 4555 y 1234", true),
        ("Llamá al 11, 4555, 1234", true),
        ("Llamá al\n11\n4555\n1234", true),
        ("Llamá al 135 y después al 911.", false),
        ("Podés llamar a tu hermana hoy, a las 1830.", false),
        ("Podés llamar a tu hermana a las 18.30 o a las 1900.", false),
        ("Llamá a tu hermana, 1830 hs.", false),
        ("Llamá a las 5555.", true),
        ("Escribí el 15 de marzo de 2026.", false),
    ] {
        assert_eq!(screen(context(Level::None, None), [text]).1.is_some(), bad, "{text}");
    }
}

#[test]
fn stops_numbers_of_another_country() {
    for (country, text, bad) in [
        (Some("MX"), "Llamá al 135.", true),
        (Some("MX"), "Llama al 0800-999-0091, es gratis.", true),
        (Some("MX"), "Marca ciento treinta y cinco.", true),
        (Some("MX"), "Llama al 911/107.", true),
        (Some("MX"), "Llama al 911.", false),
        (Some("AR"), "Llamá al 135.", false),
        (Some("AR"), "Llamá al 911/107, o al 0800-999-0091 (24 h).", false),
        (Some("AR"), "Call 988 now.", true),
        (Some("US"), "Call 988 now. Text HOME to 741741.", false),
        (Some("ES"), "Llama al 024 o al 112.", false),
        (Some("ES"), "Hola. Llama al 024. O llama al 135.", true),
        (Some("MX"), "Pasaron 135 días.", false),
        (None, "Llamá al 135.", false),
        (None, "Call 988 now.", false),
    ] {
        let country = country.map(|code| code.parse().unwrap());
        let context = ScreenContext { country, ..context(Level::None, None) };
        assert_eq!(screen(context, [text]).1.is_some(), bad, "{country:?}: {text}");
    }
}

#[test]
fn stops_unknown_addresses() {
    for (text, bad) in [
        ("Visitá www.ayuda-falsa.com y contame.", true),
        ("Escribí a ayuda@falso.org.", true),
        ("Mirá https://ayuda-falsa.example/linea", true),
        ("Entrá a HTTP://AYUDA.LAT", true),
        ("Está en ayudafalsa.org.ar, gratis.", true),
        ("[línea](https://988lifeline.org@falso.org)", true),
        ("WhatsApp: wa.me/ayuda", true),
        ("https://t.me/ayuda", true),
        ("Mirá ayuda．falsa．com", true),
        ("Seguí a @ayudafalsa en la red.", true),
        ("Write to help at 988lifeline@gmail.com", true),
        ("Podés mirar findahelpline.com/countries/ar.", false),
        ("See https://988lifeline.org or www.crisistextline.org.", false),
        ("Gracias por contarme.Me importa.", false),
        ("A las 10 a.m. o 3.5 veces, EE.UU., p. ej. hoy... es así.", false),
        ("Tod@s y amig@s sufren y/o lloran.", false),
        ("Mal...es duro. ¿Sí?No.", false),
        ("wow, hay www en la web", false),
    ] {
        let (shown, rule) = screen(context(Level::None, None), [text]);
        assert_eq!(rule == Some("address"), bad, "{text}: {rule:?}");
        assert!(!(bad && (shown.contains("www") || shown.contains("http"))), "{shown}");
    }
}

#[test]
fn tokenizes_as_in_training() {
    for (text, want) in [
        ("Hola, ¿qué tal?", vec!["hola ,", "¿ que tal ?"]),
        ("Te «quiero» 3.5 veces. No… I don’t!", vec!["te \" quiero \" #1 #1 veces", "no", "i dont"]),
        ("¿? \n\n...", vec![]),
    ] {
        let words: Vec<String> = sentences(text).iter().map(|words| words.join(" ")).collect();
        assert_eq!(words, want, "{text}");
    }
}

/// Text made of words of the rules, and of any others.
fn answers() -> impl Strategy<Value = String> {
    let examples = proptest::sample::select(EXAMPLES.iter().map(|example| example.text.to_owned()).collect::<Vec<_>>());
    let odd = proptest::sample::select(vec![
        "¿", "?", ".", "\n", "1.", "5", "٣", "ﷺ", "½", "ﬁ", "e\u{301}", "\u{200b}", "no ", "…", "0800-", "😀", "І",
        "www.", "h", "https://", "@", ".com", "a.org ", "\n45 ", "11 y 4", " 55", "(24 h",
    ]);
    let part = proptest::prop_oneof![
        3 => examples.clone(),
        2 => (examples, 0usize..60).prop_map(|(text, len)| text.chars().take(len).collect()),
        2 => odd.prop_map(str::to_owned),
        1 => "\\PC{0,12}",
    ];
    proptest::collection::vec(part, 0..5).prop_map(|parts| parts.join(" "))
}

proptest::proptest! {
    #[test]
    fn chunking_does_not_change_screening(
        text in answers(),
        cuts in proptest::collection::vec(0usize..200, 0..12),
        level in proptest::sample::select(vec![Level::None, Level::Concern, Level::High]),
        eating in proptest::bool::ANY,
    ) {
        let context = context(level, eating.then_some(Kind::Eating));
        let chars: Vec<String> = text.chars().map(String::from).collect();
        let by_char = screen(context, chars.iter().map(String::as_str));
        proptest::prop_assert!(text.starts_with(&by_char.0));
        proptest::prop_assert_eq!(&by_char, &screen(context, [text.as_str()]));
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| text.is_char_boundary(*cut)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).filter_map(|pair| text.get(pair[0]..pair[1])).collect();
        proptest::prop_assert_eq!(&by_char, &screen(context, pieces));
        if by_char.1.is_none() {
            proptest::prop_assert_eq!(by_char.0, text);
        }
    }
}
