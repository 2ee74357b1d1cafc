//! Countries by code, name and time zone.

use std::collections::HashMap;
use std::sync::LazyLock;

use protocol::Language;

use super::table::{COUNTRIES, Country, ZONES};

/// A country with its name in one language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountryName {
    /// ISO 3166 alpha-2 code.
    pub code: &'static str,
    /// Name.
    pub name: &'static str,
}

/// Returns all countries, in the order of their codes.
pub fn countries(language: Language) -> impl Iterator<Item = CountryName> {
    COUNTRIES.iter().map(move |country| CountryName { code: country.code, name: country.name.get(language) })
}

/// Returns the country that keeps an IANA time zone (`America/Puerto_Rico` → `PR`).
pub fn country_of_zone(zone: &str) -> Option<&'static str> {
    by_zone(zone).map(|country| country.code)
}

/// Returns the IANA time zones with their countries, sorted by zone.
pub fn zones() -> impl Iterator<Item = (&'static str, &'static str)> {
    ZONES.iter().copied()
}

/// Returns the code of the country that `text` names: a code of two or three letters, or a name in Spanish
/// or English, in any case, with or without accents.
pub fn parse_country(text: &str) -> Option<&'static str> {
    static NAMES: LazyLock<HashMap<String, &'static str>> = LazyLock::new(names);
    let name = fold(text);
    let bare = ["la ", "el ", "los ", "las ", "the "].iter().find_map(|article| name.strip_prefix(article));
    [Some(name.as_str()), bare].into_iter().flatten().find_map(|name| NAMES.get(name).copied())
}

pub(super) fn by_code(code: &str) -> Option<&'static Country> {
    let index = COUNTRIES.binary_search_by(|country| country.code.cmp(code)).ok();
    index
        .or_else(|| COUNTRIES.iter().position(|country| country.code.eq_ignore_ascii_case(code)))
        .and_then(|index| COUNTRIES.get(index))
}

pub(super) fn by_zone(zone: &str) -> Option<&'static Country> {
    let index = ZONES.binary_search_by(|(name, _)| (*name).cmp(zone)).ok()?;
    ZONES.get(index).and_then(|(_, country)| by_code(country))
}

fn names() -> HashMap<String, &'static str> {
    let mut names = HashMap::new();
    for country in COUNTRIES {
        let own = [country.code, country.code3, country.name.es, country.name.en];
        for name in own.iter().chain(country.aliases) {
            names.entry(fold(name)).or_insert(country.code);
        }
    }
    names
}

/// Lower case, without accents and punctuation, single blanks.
fn fold(text: &str) -> String {
    let mut folded = String::new();
    for char in text.chars().flat_map(char::to_lowercase) {
        match char {
            'á' | 'à' | 'â' | 'ã' | 'å' | 'ä' => folded.push('a'),
            'é' | 'è' | 'ê' | 'ë' => folded.push('e'),
            'í' | 'ì' | 'î' | 'ï' => folded.push('i'),
            'ó' | 'ò' | 'ô' | 'õ' | 'ö' => folded.push('o'),
            'ú' | 'ù' | 'û' | 'ü' => folded.push('u'),
            'ñ' => folded.push('n'),
            'ç' => folded.push('c'),
            // Combining marks: an accent typed apart.
            '\u{300}'..='\u{36f}' => {}
            _ if char.is_alphanumeric() => folded.push(char),
            '.' | '\'' | '’' => {}
            _ if !folded.ends_with(' ') => folded.push(' '),
            _ => {}
        }
    }
    folded.trim().to_owned()
}
