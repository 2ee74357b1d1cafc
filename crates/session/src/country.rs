//! Reads the answer to the question for the country, which comes with help lines.

use protocol::Country;
use safety::resources;

/// Longest answer, in characters: longer texts say more than a country.
const MAX_CHARS: usize = 60;
/// Openings before a sentence with the country; they end with a comma or a full stop, or need neither.
const OPENINGS: &[&str] =
    &["no, ", "no. ", "sí, ", "sí. ", "sí ", "si, ", "si. ", "si ", "yes, ", "yes. ", "yes ", "yeah, ", "hola, "];
/// Beginnings of a sentence that ends with the country.
const BEGINNINGS: &[&str] = &[
    "yo estoy en ",
    "estoy en ",
    "ahora estoy en ",
    "estoy acá en ",
    "yo vivo en ",
    "vivo en ",
    "ahora vivo en ",
    "yo soy de ",
    "soy de ",
    "me encuentro en ",
    "resido en ",
    "estamos en ",
    "vivimos en ",
    "te escribo desde ",
    "escribo desde ",
    "mi país es ",
    "mi pais es ",
    "desde ",
    "en ",
    "i'm in ",
    "i’m in ",
    "im in ",
    "i am in ",
    "i'm currently in ",
    "i am currently in ",
    "i live in ",
    "i'm living in ",
    "i'm from ",
    "i’m from ",
    "im from ",
    "i am from ",
    "we're in ",
    "we are in ",
    "we live in ",
    "my country is ",
    "from ",
    "in ",
];
/// Words behind the country.
const ENDINGS: &[&str] = &[" ahora", " por ahora", " ahora mismo", " gracias", " now", " right now", " thanks"];
/// Names of so few letters are words as well (`no`, `si`, `me`, `mar`), except these.
const SHORT_LETTERS: usize = 3;
const SHORT_NAMES: &[&str] = &["usa", "uk", "uae", "the us", "the usa", "the uk", "the uae", "u.s.", "u.s.a.", "u.k."];
/// Names that are cities, states, continents or names of people more often than countries.
const AMBIGUOUS: &[&str] = &["america", "américa", "granada", "georgia", "jersey", "dominica"];
/// Words or names of people, unless a sentence says that a place is meant.
const NEEDS_SENTENCE: &[&str] = &["chad", "jordan", "israel", "china", "kenia", "kenya", "irán", "iran", "india"];

/// Returns the country, if `text` names one and says nothing else.
pub(crate) fn answered_country(text: &str) -> Option<Country> {
    if MAX_CHARS < text.chars().count() {
        return None;
    }
    let lower = text.to_lowercase();
    let text = lower.trim_matches(|letter: char| letter.is_whitespace() || matches!(letter, '!' | '¡' | ',' | '.'));
    let text = OPENINGS.iter().find_map(|opening| text.strip_prefix(opening)).unwrap_or(text);
    let text = ENDINGS.iter().find_map(|ending| text.strip_suffix(ending)).unwrap_or(text);
    let place = BEGINNINGS.iter().find_map(|beginning| text.strip_prefix(beginning));
    let name = place.unwrap_or(text).trim_matches(|letter: char| letter.is_whitespace() || letter == ',');
    let is_short = name.chars().filter(|letter| letter.is_alphanumeric()).count() <= SHORT_LETTERS;
    let is_excluded = (is_short && name.contains(char::is_alphanumeric) && !SHORT_NAMES.contains(&name))
        || AMBIGUOUS.contains(&name)
        || (place.is_none() && NEEDS_SENTENCE.contains(&name));
    if is_excluded {
        return None;
    }
    let short = name.strip_prefix("the ").filter(|_| SHORT_NAMES.contains(&name)).unwrap_or(name);
    resources::parse_country(short)?.parse().ok()
}

/// A yes and nothing else, in lower case.
const YES: &[&str] = &[
    "sí",
    "si",
    "sip",
    "sii",
    "siii",
    "sí, ahí",
    "si, ahi",
    "sí señor",
    "claro",
    "claro que sí",
    "claro que si",
    "así es",
    "asi es",
    "exacto",
    "correcto",
    "afirmativo",
    "yes",
    "yeah",
    "yep",
    "yup",
    "yes i am",
    "i am",
    "that's right",
    "thats right",
    "correct",
    "right",
];

/// Returns true if `text` is a bare yes.
pub(crate) fn confirms(text: &str) -> bool {
    let lower = text.to_lowercase();
    YES.contains(&lower.trim_matches(|letter: char| letter.is_whitespace() || matches!(letter, '!' | '¡' | ',' | '.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_a_message_that_is_a_country() {
        for (text, want) in [
            ("argentina", "AR"),
            ("Argentina.", "AR"),
            ("estoy en argentina", "AR"),
            ("en México", "MX"),
            ("En mexico!", "MX"),
            ("I'm in Ireland", "IE"),
            ("I’m in the United Kingdom", "GB"),
            ("im in the us", "US"),
            ("USA", "US"),
            ("uk", "GB"),
            ("soy de perú", "PE"),
            ("vivo en EEUU", "US"),
            ("vivo en los Estados Unidos", "US"),
            ("no, estoy en Chile", "CL"),
            ("sí, en Uruguay", "UY"),
            ("estoy en españa ahora", "ES"),
            ("I live in Canada", "CA"),
            ("república dominicana", "DO"),
            ("estoy en china", "CN"),
        ] {
            let found = answered_country(text);
            assert_eq!(found.as_ref().map(Country::as_str), Some(want), "{text}");
        }
    }

    #[test]
    fn recognises_a_bare_yes() {
        for (text, want) in [
            ("Sí.", true),
            (" si ", true),
            ("Yes!", true),
            ("I am", true),
            ("sí, pero me voy", false),
            ("no", false),
            ("", false),
        ] {
            assert_eq!(confirms(text), want, "{text}");
        }
    }

    #[test]
    fn leaves_other_messages_alone() {
        for text in [
            "",
            "en",
            "en argentina todo sale mal",
            "mi ex está en México",
            "no estoy en argentina",
            "ya no vivo en chile",
            "quiero irme a españa",
            "estoy en casa",
            "estoy en la",
            "vivo en mar del plata",
            "no",
            "si",
            "me",
            "es",
            "ya",
            "mar",
            "can",
            "ven",
            "pan",
            "in it",
            "estoy en mi",
            "I'm in so",
            "I'm in pain",
            "granada",
            "Israel",
            "china",
            "estoy en granada",
            "me quiero morir",
        ] {
            assert_eq!(answered_country(text), None, "{text}");
        }
    }
}
