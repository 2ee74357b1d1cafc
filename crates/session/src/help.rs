//! Builds help for a need: the text and the help lines.

use protocol::server_frame::{
    Help, Kind as WireKind, Level as WireLevel, Resource, Sms, Subject as WireSubject, Support,
};
use protocol::{Country, Language, MessageId, Timestamp, UserText};
use safety::resources::{self, Location, Need, Selection};
use safety::{Kind, Level, Subject};

/// Location of the session's person, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Whereabouts {
    /// Chosen or confirmed by the person.
    pub(crate) country: Option<Country>,
    /// Time zone of the client that said `hello` last: a guess at the country.
    pub(crate) time_zone: Option<Box<str>>,
}

impl Whereabouts {
    /// Selects the lines for `need`.
    pub(crate) fn select(&self, need: Need, language: Language, now: Timestamp) -> Selection {
        let country = self.country.as_ref().map(Country::as_str);
        resources::select(Location { country, time_zone: self.time_zone.as_deref() }, need, language, now)
    }

    /// Returns the emergency number of the country that is known or guessed.
    pub(crate) fn emergency_number(&self) -> Option<String> {
        let country = self.country.or_else(|| self.guessed_country())?;
        resources::emergency_number(country.as_str()).map(str::to_owned)
    }

    /// Returns the country that the time zone suggests; `None` where one was chosen.
    pub(crate) fn guessed_country(&self) -> Option<Country> {
        let zone = self.time_zone.as_deref().filter(|_| self.country.is_none())?;
        resources::country_of_zone(zone)?.parse().ok()
    }

    pub(crate) fn support(&self, id: MessageId, need: Need, language: Language, now: Timestamp) -> Support {
        let selection = self.select(need, language, now);
        let text = match country_question(&selection, language) {
            Some(question) => format!("{} {question}", words(need, language)),
            None => words(need, language).to_owned(),
        };
        Support { id, seq: None, text: UserText::new(text), help: wire_help(need, wire_resources(selection)) }
    }
}

/// Normalizes `country` to its ISO 3166 code, also from an alias (`UK`); `None` if there is no such country.
pub fn known_country(country: Country) -> Option<Country> {
    resources::parse_country(country.as_str())?.parse().ok()
}

/// Converts a need and its lines to the wire.
pub(crate) fn wire_help(need: Need, resources: Vec<Resource>) -> Help {
    let level = match need.level {
        Level::None | Level::Concern => WireLevel::Concern,
        Level::High => WireLevel::High,
        Level::Imminent => WireLevel::Imminent,
    };
    let subject = match need.subject {
        Subject::Own | Subject::Unknown => WireSubject::Own,
        Subject::Other => WireSubject::Other,
    };
    let kind = need.kinds.iter().find_map(wire_kind);
    Help { level, subject, kind, resources }
}

/// Converts selected lines to the wire.
pub(crate) fn wire_resources(selection: Selection) -> Vec<Resource> {
    let wire = |resource: resources::Resource| Resource {
        name: resource.name,
        contact: resource.contact,
        dial: resource.dial,
        sms: resource.sms.map(|resources::Sms { to, body }| Sms { to, body }),
        whatsapp: resource.whatsapp,
        url: resource.url,
        kind: resource.kind.to_owned(),
        country: resource.country,
        region: resource.region,
        area: resource.area,
        hours: resource.hours,
        languages: resource.languages,
        source: resource.source,
        verified_at: resource.verified_at,
    };
    selection.resources.into_iter().map(wire).collect()
}

fn wire_kind(kind: Kind) -> Option<WireKind> {
    Some(match kind {
        Kind::Medical => WireKind::Medical,
        Kind::Suicide => WireKind::Suicide,
        Kind::SexualViolence => WireKind::SexualViolence,
        Kind::Abuse => WireKind::Abuse,
        Kind::HarmToOthers => WireKind::HarmToOthers,
        Kind::SelfHarm => WireKind::SelfHarm,
        Kind::Substance => WireKind::Substance,
        Kind::Eating => WireKind::Eating,
        Kind::Psychosis => return None,
    })
}

/// Converts a kind from the wire.
pub(crate) fn kind_of(kind: WireKind) -> Kind {
    match kind {
        WireKind::Suicide => Kind::Suicide,
        WireKind::SelfHarm => Kind::SelfHarm,
        WireKind::Abuse => Kind::Abuse,
        WireKind::SexualViolence => Kind::SexualViolence,
        WireKind::Eating => Kind::Eating,
        WireKind::HarmToOthers => Kind::HarmToOthers,
        WireKind::Medical => Kind::Medical,
        WireKind::Substance => Kind::Substance,
    }
}

/// Returns the sentence above the lines.
fn words(need: Need, language: Language) -> &'static str {
    use Language::{English, Spanish};
    let has = |kind| need.kinds.contains(kind);
    if need.subject == Subject::Other {
        return match (language, need.level) {
            (Spanish, Level::Imminent) => {
                "Esa persona puede estar en peligro ahora: llamá a emergencias y, si podés sin arriesgarte, que no se quede sola."
            }
            (Spanish, _) => "No tenés que cargar con esto en soledad. Estas líneas también orientan a quien ayuda.",
            (English, Level::Imminent) => {
                "They may be in danger right now: call emergency services and, if it is safe for you, don't leave them alone."
            }
            (English, _) => "You don't have to carry this alone. These lines also guide those who help.",
        };
    }
    match language {
        _ if has(Kind::Medical) || (has(Kind::Substance) && need.level >= Level::High) => match language {
            Spanish => "Esto puede ser una urgencia médica: llamá ahora a emergencias, o pedile a alguien que llame.",
            English => "This may be a medical emergency: call emergency services now, or ask somebody to call.",
        },
        Spanish if need.level == Level::Imminent => {
            "Me importa que estés a salvo. Llamá ahora a emergencias o a una de estas líneas, y buscá a alguien que se quede con vos."
        }
        English if need.level == Level::Imminent => {
            "I care that you are safe. Call emergency services or one of these lines now, and find somebody to stay with you."
        }
        Spanish if has(Kind::Abuse) || has(Kind::SexualViolence) => {
            "Lo que te hacen no es tu culpa. Acá hay personas que saben acompañar en esto, cuando vos quieras."
        }
        English if has(Kind::Abuse) || has(Kind::SexualViolence) => {
            "What is being done to you is not your fault. These people know how to help with this, whenever you want."
        }
        Spanish if need.level == Level::High => {
            "Gracias por contármelo. Me importa que estés a salvo: en estas líneas hay personas para hablar ahora mismo."
        }
        English if need.level == Level::High => {
            "Thank you for telling me. I care that you are safe: on these lines there are people to talk to right now."
        }
        Spanish => {
            "Lo que contás importa, y no tenés que pasar por esto en soledad. En estas líneas hay personas que escuchan."
        }
        English => "What you are telling me matters, and you don't have to go through it alone. These people listen.",
    }
}

/// Returns the question for the country, unless the person has chosen one.
fn country_question(selection: &Selection, language: Language) -> Option<String> {
    if !selection.asks_country {
        return None;
    }
    let mut names = resources::countries(language);
    let guessed = selection.guessed.and_then(|code| names.find(|country| country.code == code));
    Some(match (language, guessed) {
        (Language::Spanish, Some(country)) => format!("¿Estás en {}?", country.name),
        (Language::Spanish, None) => "¿En qué país estás?".to_owned(),
        (Language::English, Some(country)) => format!("Are you in {}?", country.name),
        (Language::English, None) => "Which country are you in?".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_has_its_text_and_resources() {
        let now = Timestamp::from_unix_ms(1_790_000_000_000);
        let need = |level, kinds: &[Kind], subject| Need {
            level,
            kinds: kinds.iter().copied().collect(),
            subject,
            minor: false,
        };
        let needs = [
            need(Level::Concern, &[Kind::Suicide], Subject::Own),
            need(Level::High, &[Kind::Suicide], Subject::Unknown),
            need(Level::Imminent, &[Kind::Suicide], Subject::Own),
            need(Level::Concern, &[Kind::Abuse], Subject::Own),
            need(Level::High, &[Kind::Substance], Subject::Own),
            need(Level::High, &[Kind::Suicide], Subject::Other),
            need(Level::Imminent, &[Kind::Suicide], Subject::Other),
            need(Level::Concern, &[Kind::Psychosis], Subject::Own),
        ];
        for language in [Language::Spanish, Language::English] {
            let mut texts = Vec::new();
            for need in needs {
                let support = Whereabouts::default().support("a".parse().unwrap(), need, language, now);
                assert!(!support.help.resources.is_empty(), "{need:?}");
                assert!(support.text.expose().ends_with('?'), "the country is asked for: {:?}", support.text.expose());
                texts.push(support.text.expose().to_owned());
            }
            texts.dedup();
            assert_eq!(texts.len(), needs.len(), "{texts:?}");
        }
    }

    #[test]
    fn known_country_resolves_aliases_and_rejects_unknown_codes() {
        for (code, want) in [("AR", Some("AR")), ("gb", Some("GB")), ("UK", Some("GB")), ("QQ", None), ("ZZ", None)] {
            let known = known_country(code.parse().unwrap());
            assert_eq!(known.as_ref().map(Country::as_str), want, "{code}");
        }
    }

    #[test]
    fn asks_country_until_chosen() {
        let now = Timestamp::from_unix_ms(1_790_000_000_000);
        let need = Need { level: Level::High, ..Need::default() };
        let ask = |country: Option<&str>, zone: Option<&str>| {
            let country = country.map(|code| code.parse().unwrap());
            let place = Whereabouts { country, time_zone: zone.map(Into::into) };
            let support = place.support("a".parse().unwrap(), need, Language::Spanish, now);
            (support.text.expose().to_owned(), support.help.resources)
        };
        let (text, resources) = ask(None, Some("America/Montevideo"));
        assert!(text.ends_with("¿Estás en Uruguay?") && resources.iter().any(|it| it.country == "UY"), "{text}");
        let (text, resources) = ask(Some("ES"), Some("America/Montevideo"));
        assert!(!text.ends_with('?') && resources.iter().all(|it| it.country != "UY"), "{text}");
        assert!(ask(None, Some("Marte/Olimpo")).0.ends_with("¿En qué país estás?"));
    }
}
