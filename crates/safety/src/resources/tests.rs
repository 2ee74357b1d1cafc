use super::*;

const LANGUAGES: [Language; 2] = [Language::Spanish, Language::English];

fn at(text: &str) -> Timestamp {
    let at: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_unix_ms(at.as_millisecond())
}

fn need(level: Level, kinds: &[Kind]) -> Need {
    Need { level, kinds: kinds.iter().copied().collect(), ..Need::default() }
}

fn in_country(country: &str, need: Need, now: &str) -> Selection {
    select(Location { country: Some(country), time_zone: None }, need, Language::Spanish, at(now))
}

fn contacts(selection: &Selection) -> Vec<&str> {
    selection.resources.iter().map(|resource| resource.contact.as_str()).collect()
}

/// Days from 1970 of a date.
fn day(date: &str) -> i64 {
    let date: jiff::civil::Date = date.parse().unwrap_or_else(|error| panic!("{date:?}: {error}"));
    (date - jiff::civil::date(1970, 1, 1)).get_days().into()
}

#[test]
fn rows_were_reviewed_recently() {
    let rows = LINES.iter().map(|line| (line.name.es, line.source, line.source_date, line.verified_at, line.recheck));
    let countries = COUNTRIES
        .iter()
        .map(|country| (country.code, country.source, country.source_date, country.source_date, country.recheck));
    let today = day(&jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().to_string());
    for (name, source, source_date, verified_at, recheck) in rows.chain(countries) {
        assert!(!source.is_empty(), "{name} has a source");
        assert!(day(source_date) <= today + 1, "{name}: the source is of the future");
        let age = today - day(source_date).min(day(verified_at));
        assert!(age <= 365 || recheck.is_some(), "{name} is {age} days old: check it, or say why it stands (recheck)");
    }
}

#[test]
fn unverified_row_is_never_shown_alone() {
    let kinds = [&[][..], &[Kind::Abuse], &[Kind::Eating], &[Kind::Medical], &[Kind::Substance], &[Kind::HarmToOthers]];
    let base = at("2026-11-23T00:00:00Z").unix_ms();
    for country in COUNTRIES.iter().map(|country| country.code) {
        for (kinds, hour) in kinds.iter().flat_map(|kinds| (0..168).step_by(3).map(move |hour| (kinds, hour))) {
            for (minor, subject) in [(false, Subject::Own), (true, Subject::Own), (false, Subject::Other)] {
                let need = Need { minor, subject, ..need(Level::High, kinds) };
                let now = Timestamp::from_unix_ms(base + hour * 3_600_000);
                let place = Location { country: Some(country), time_zone: None };
                let shown = select(place, need, Language::Spanish, now).resources;
                assert_eq!(shown[0].open, Some(true), "{country}: a closed line first");
                assert!(shown.iter().any(|it| it.kind == "emergency" && !it.unverified), "{country}: no emergency");
                assert!(shown.iter().any(|it| it.contact.starts_with("findahelpline.com")), "{country}: no directory");
            }
        }
    }
}

#[test]
fn selects_by_country_need_and_hour() {
    let night = "2026-11-24T05:00:00Z";
    let day = "2026-11-24T18:00:00Z";
    for (country, level, kinds, now, want) in [
        ("AR", Level::High, &[][..], day, &["0800-999-0091", "(011) 5275-1135"][..]),
        ("AR", Level::High, &[], night, &["0800-999-0091", "911"]),
        ("AR", Level::Imminent, &[], day, &["911", "107", "0800-999-0091"]),
        ("AR", Level::Concern, &[Kind::Abuse], day, &["144", "137", "0800-999-0091"]),
        ("AR", Level::High, &[Kind::Medical], day, &["107", "911"]),
        ("UY", Level::High, &[Kind::Substance], day, &["105", "911"]),
        ("AU", Level::Concern, &[Kind::Eating], "2026-11-24T02:00:00Z", &["1800 33 4673", "13 11 14"]),
        ("CR", Level::High, &[], "2026-11-24T21:00:00Z", &["800-273-7869", "911"]),
        ("CR", Level::High, &[], night, &["911", "findahelpline.com/countries/cr", "800-273-7869"]),
        ("BO", Level::High, &[], day, &["118", "110", "findahelpline.com/countries/bo", "800 11 3040"]),
        ("EC", Level::High, &[], day, &["171, opción 6", "911"]),
        ("CL", Level::High, &[], day, &["*4141"]),
        ("ES", Level::High, &[], night, &["024"]),
        (
            "AF",
            Level::High,
            &[],
            night,
            &["102", "119", "el número de emergencias de tu zona (en muchos países, 112 o 911)"],
        ),
    ] {
        let shown = in_country(country, need(level, kinds), now);
        let contacts = contacts(&shown);
        assert_eq!(contacts.get(..want.len()), Some(want), "{country} {kinds:?} {now}: {contacts:?}");
    }
}

#[test]
fn minors_and_helpers_get_their_lines_first() {
    let now = "2026-11-24T18:00:00Z";
    let minor = Need { minor: true, ..need(Level::High, &[]) };
    let other = Need { subject: Subject::Other, ..need(Level::Concern, &[]) };
    for (country, need, want) in [("ES", minor, "900 20 20 10"), ("AR", minor, "102"), ("ES", other, "024")] {
        assert_eq!(contacts(&in_country(country, need, now))[0], want);
    }
}

#[test]
fn guesses_country_by_time_zone_and_asks() {
    let now = at("2026-11-24T18:00:00Z");
    for (country, zone, want) in [
        (None, Some("America/Puerto_Rico"), (None, Some("PR"), true)),
        (None, Some("America/New_York"), (None, Some("US"), true)),
        (None, Some("America/Buenos_Aires"), (None, Some("AR"), true)),
        (Some("mx"), Some("America/New_York"), (Some("MX"), None, false)),
        (Some("XX"), Some("Europe/Madrid"), (None, Some("ES"), true)),
        (None, Some("Etc/UTC"), (None, None, true)),
        (None, None, (None, None, true)),
    ] {
        let shown = select(Location { country, time_zone: zone }, Need::default(), Language::Spanish, now);
        assert_eq!((shown.country, shown.guessed, shown.asks_country), want, "{country:?} {zone:?}");
        assert!(want.0.is_some() || want.1.is_some() || shown.resources.len() == 2, "emergency and directory");
    }
}

#[test]
fn parses_country_names() {
    for (text, want) in [
        ("argentina", Some("AR")),
        ("AR", Some("AR")),
        ("ar", Some("AR")),
        ("méxico", Some("MX")),
        ("Mexico", Some("MX")),
        ("usa", Some("US")),
        ("EE. UU.", Some("US")),
        ("Estados  Unidos", Some("US")),
        ("los Estados Unidos", Some("US")),
        ("España", Some("ES")),
        ("espan\u{303}a", Some("ES")),
        ("United Kingdom", Some("GB")),
        ("uk", Some("GB")),
        ("Perú", Some("PE")),
        ("puerto rico", Some("PR")),
        ("República Dominicana", Some("DO")),
        ("el salvador", Some("SV")),
        ("ESP", Some("ES")),
        ("", None),
        ("narnia", None),
        ("🦀", None),
    ] {
        assert_eq!(parse_country(text), want, "{text:?}");
    }
}

#[test]
fn every_country_has_emergency_row_and_names() {
    assert_eq!(COUNTRIES.len(), 249);
    for (code, want) in [("AR", "911"), ("ES", "112"), ("CL", "131"), ("GB", "999"), ("BR", "192"), ("AU", "000")] {
        assert_eq!(emergency_number(code), Some(want));
    }
    for country in countries(Language::English) {
        assert_eq!(parse_country(country.name), Some(country.code), "{country:?}");
    }
}

#[test]
fn recognises_its_own_numbers() {
    for number in [
        "0800-999-0091",
        "08009990091",
        "135",
        "+54 11 5275 1135",
        "(011) 5275-1135",
        "988",
        "741741",
        "*4141",
        "1-800-799-7233",
        "800 799 7233",
        "717 003 717",
        "600 000 016",
        "112",
        "0477 13 11 14",
    ] {
        assert!(is_known_number(number), "{number}");
    }
    for number in ["0800-999-0092", "555", "1234567", "", "24", "0800"] {
        assert!(!is_known_number(number), "{number}");
    }
    // Every number shown to call is known.
    for resource in LANGUAGES.into_iter().flat_map(all).flat_map(|country| country.resources) {
        let numbers =
            [resource.dial.clone(), resource.whatsapp.clone(), resource.sms.as_ref().map(|sms| sms.to.clone())];
        assert!(numbers.iter().flatten().all(|number| is_known_number(number)), "{resource:?}");
    }
}

#[test]
fn formats_plain_lines() {
    let now = at("2026-11-24T18:00:00Z");
    let place = Location { country: None, time_zone: Some("America/Argentina/Cordoba") };
    let shown = select(place, need(Level::High, &[]), Language::Spanish, now);
    assert_eq!(
        plain_line(&shown, Language::Spanish),
        "Ayuda: no tenés que pasar por esto en soledad. Línea nacional de salud mental: 0800-999-0091 (24 h, gratis). \
         Emergencias: 911. Más: /crisis. ¿Estás en Argentina? Si es así: /pais AR; si no, /pais y el nombre de tu país."
    );
    let shown = in_country("US", need(Level::Imminent, &[]), "2026-11-24T18:00:00Z");
    assert_eq!(
        plain_line(&shown, Language::English),
        "Help: you don't have to go through this alone. Emergencias: 911. 988, línea de crisis: 988, opción 2 para español, \
         o mensaje AYUDA al 988 (24 h, gratis). More: /crisis."
            .replace("o mensaje AYUDA al 988", "or text AYUDA to 988")
            .replace("gratis", "free")
    );
    for language in LANGUAGES {
        for country in countries(language) {
            let place = Location { country: Some(country.code), time_zone: None };
            let shown = select(place, need(Level::High, &[]), language, now);
            let lines = plain_lines(&shown, language);
            assert_eq!(lines.len(), shown.resources.len());
            assert!(lines.iter().chain([&plain_line(&shown, language)]).all(|line| !line.contains('\n')));
        }
    }
}
