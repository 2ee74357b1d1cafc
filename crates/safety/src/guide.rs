//! Texts about the service: that it is no person, its protocol on risk, its data retention and its operator.
//!
//! Everything comes from `data/guide.{es,en}.toml`, read when the crate is built, and from the help lines.

use protocol::Language;

use crate::resources::{self, CountryHelp, Resource};

include!(concat!(env!("OUT_DIR"), "/guide.rs"));

#[derive(Debug)]
struct Texts {
    greeting: &'static str,
    start: &'static str,
    reminder: &'static str,
    /// Text with the fact, and the one without it; likewise below.
    operator: (&'static str, &'static str),
    contact: (&'static str, &'static str),
    kept: (&'static str, &'static str),
    unreached: (&'static str, &'static str),
    protection: TopicTexts,
    about: TopicTexts,
    /// Name, meaning, consequence.
    levels: [(&'static str, &'static str, &'static str); 4],
    /// Name, consequence.
    kinds: [(&'static str, &'static str); 10],
}

#[derive(Debug)]
struct TopicTexts {
    title: &'static str,
    lead: &'static str,
    sections: &'static [SectionTexts],
}

#[derive(Debug)]
struct SectionTexts {
    id: &'static str,
    title: &'static str,
    short: Option<&'static str>,
    text: &'static [&'static str],
    insert: Option<Insert>,
}

#[derive(Debug, Clone, Copy)]
enum Insert {
    Levels,
    Kinds,
    Lines,
}

/// Topic of a guide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The protocol on suicide, self-harm and eating disorders.
    Protection,
    /// Purpose and limits of the service, data retention, operator.
    About,
}

/// Settings that a guide states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Operator of the service.
    pub operator: Option<String>,
    /// Contact of the operator.
    pub contact: Option<String>,
    /// Days that entries are kept; 0: until they are erased.
    pub retention_days: u64,
    /// Days without a connection after which a conversation is erased; 0: never.
    pub unreached_days: u64,
}

/// A guide in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guide {
    /// Its title.
    pub title: &'static str,
    /// Its first paragraph.
    pub lead: &'static str,
    /// Its sections, in order.
    pub sections: Vec<Section>,
}

/// A section of a guide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Names it in a link; the same in both languages.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// Its one sentence for the plain face; `None` where it is left out there.
    pub short: Option<String>,
    /// Its paragraphs.
    pub paragraphs: Vec<String>,
    /// Items below the paragraphs.
    pub items: Vec<Item>,
}

/// An item of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its term.
    pub term: String,
    /// Its description, line by line.
    pub lines: Vec<Line>,
    /// Collapsed at first: long, and few of its kind concern one person.
    pub folded: bool,
}

/// A line about an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its text.
    pub text: String,
    /// Number to call, if it is about one.
    pub dial: Option<String>,
}

/// Returns the sentence of the greeting that says that this is no person.
pub fn greeting(language: Language) -> &'static str {
    texts(language).greeting
}

/// Returns the notice at the start of a session, and on request.
pub fn notice(language: Language) -> &'static str {
    texts(language).start
}

/// Returns the notice after hours of use.
pub fn reminder(language: Language) -> &'static str {
    texts(language).reminder
}

/// Returns the guide about `topic`.
pub fn guide(topic: Topic, facts: &Facts, language: Language) -> Guide {
    let texts = texts(language);
    let TopicTexts { title, lead, sections } = texts.topic(topic);
    let filler = Filler::new(texts, facts);
    let section = |section: &SectionTexts| Section {
        id: section.id,
        title: section.title,
        short: section.short.map(|short| filler.fill(short)),
        paragraphs: section.text.iter().map(|text| filler.fill(text)).collect(),
        items: section.insert.map_or_else(Vec::new, |insert| items(insert, texts, language)),
    };
    Guide { title, lead, sections: sections.iter().map(section).collect() }
}

/// Returns the guide about `topic` in short lines, for the plain face.
pub fn plain_lines(topic: Topic, facts: &Facts, language: Language) -> Vec<String> {
    let texts = texts(language);
    let TopicTexts { lead, sections, .. } = texts.topic(topic);
    let filler = Filler::new(texts, facts);
    let shorts = sections.iter().filter_map(|section| section.short).map(|short| filler.fill(short));
    std::iter::once((*lead).to_owned()).chain(shorts).collect()
}

fn texts(language: Language) -> &'static Texts {
    match language {
        Language::Spanish => &ES,
        Language::English => &EN,
    }
}

impl Texts {
    fn topic(&self, topic: Topic) -> &TopicTexts {
        match topic {
            Topic::Protection => &self.protection,
            Topic::About => &self.about,
        }
    }
}

/// Replaces `{names}` by facts.
struct Filler(Vec<(&'static str, String)>);

impl Filler {
    fn new(texts: &Texts, facts: &Facts) -> Self {
        let filled = |(known, unknown): (&str, &str), name: &str, fact: Option<&str>| {
            fact.map_or_else(|| unknown.to_owned(), |fact| known.replace(name, fact))
        };
        let days = |days: u64| (0 < days).then(|| days.to_string());
        Self(vec![
            ("{operator}", filled(texts.operator, "{name}", facts.operator.as_deref())),
            ("{contact}", filled(texts.contact, "{contact}", facts.contact.as_deref())),
            ("{kept}", filled(texts.kept, "{days}", days(facts.retention_days).as_deref())),
            ("{unreached}", filled(texts.unreached, "{days}", days(facts.unreached_days).as_deref())),
            ("{countries}", with_lines(Language::default()).count().to_string()),
            ("{reviewed_on}", resources::reviewed_on().to_owned()),
        ])
    }

    /// Replaces in one pass, so that a fact with braces in it stays unchanged.
    fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            match self.0.iter().find(|(name, _)| from.starts_with(name)) {
                Some((name, fact)) => {
                    filled.push_str(fact);
                    rest = from.strip_prefix(name).unwrap_or_default();
                }
                None => {
                    filled.push('{');
                    rest = from.strip_prefix('{').unwrap_or_default();
                }
            }
        }
        filled.push_str(rest);
        filled
    }
}

fn items(insert: Insert, texts: &Texts, language: Language) -> Vec<Item> {
    let item = |term: &str, lines: &[&str]| Item {
        term: term.to_owned(),
        lines: lines.iter().map(|&line| Line { text: line.to_owned(), dial: None }).collect(),
        folded: false,
    };
    match insert {
        Insert::Levels => texts.levels.iter().map(|(name, means, does)| item(name, &[means, does])).collect(),
        Insert::Kinds => texts.kinds.iter().map(|(name, does)| item(name, &[does])).collect(),
        Insert::Lines => lines(language),
    }
}

/// Countries with lines of their own, besides emergency numbers and the directory.
fn with_lines(language: Language) -> impl Iterator<Item = CountryHelp> {
    let has_lines = |country: &CountryHelp| {
        let resources = &country.resources;
        resources.iter().any(|resource| resource.kind != "emergency" && resource.verified_at.is_some())
    };
    resources::all(language).into_iter().filter(has_lines)
}

/// One item for each country with lines, and one for the emergency numbers of all.
fn lines(language: Language) -> Vec<Item> {
    let mut countries: Vec<CountryHelp> = with_lines(language).collect();
    countries.sort_by_key(|country| alphabetical(country.name));
    let country = |country: CountryHelp| Item {
        term: country.name.to_owned(),
        lines: country.resources.iter().map(|resource| line(resource, language)).collect(),
        folded: true,
    };
    let number = |country: CountryHelp| {
        let number = resources::emergency_number(country.code)?;
        Some(Line { text: format!("{}: {number}", country.name), dial: Some(number.to_owned()) })
    };
    let mut numbers: Vec<Line> = resources::all(language).into_iter().filter_map(number).collect();
    numbers.sort_by_key(|line| alphabetical(&line.text));
    let term = match language {
        Language::Spanish => "Números de emergencias de todos los países",
        Language::English => "Emergency numbers of all countries",
    };
    let emergencies = Item { term: term.to_owned(), lines: numbers, folded: true };
    countries.into_iter().map(country).chain([emergencies]).collect()
}

fn line(resource: &Resource, language: Language) -> Line {
    Line { text: resources::sourced_line(resource, language), dial: resource.dial.clone() }
}

/// Sort key of a name: without accents, as in an index.
fn alphabetical(name: &str) -> String {
    let plain = |letter: char| match letter {
        'á' | 'Á' => 'a',
        'é' | 'É' => 'e',
        'í' | 'Í' => 'i',
        'ó' | 'Ó' => 'o',
        'ú' | 'ü' | 'Ú' => 'u',
        letter => letter.to_ascii_lowercase(),
    };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANGUAGES: [Language; 2] = [Language::Spanish, Language::English];

    fn facts() -> Facts {
        Facts {
            operator: Some("Casa {contact}".to_owned()),
            contact: Some("hola@casa.example".to_owned()),
            retention_days: 30,
            unreached_days: 365,
        }
    }

    #[test]
    fn greeting_says_it_is_not_a_person() {
        assert_eq!(
            greeting(Language::Spanish),
            "Bienvenido a PsicoIA: soy una inteligencia artificial, no una persona."
        );
        assert!(greeting(Language::English).contains("artificial intelligence, not a person"));
        for language in LANGUAGES {
            for text in [notice(language), reminder(language)] {
                assert!(text.contains(if language == Language::English { "not a person" } else { "no una persona" }));
            }
        }
    }

    #[test]
    fn every_guide_form_contains_the_facts() {
        for language in LANGUAGES {
            let text = |facts: &Facts| {
                let page = format!("{:?}", guide(Topic::About, facts, language));
                (page, plain_lines(Topic::About, facts, language).join("\n"))
            };
            let (page, plain) = text(&facts());
            for want in ["Casa {contact}", "hola@casa.example", "30", "365"] {
                assert!(page.contains(want) && plain.contains(want), "{want}: {plain}");
            }
            let (page, plain) = text(&Facts::default());
            assert!(!page.contains('{') || page.matches('{').count() == page.matches('}').count());
            for fact in ["{operator}", "{contact}", "{kept}", "{unreached}", "30", "365"] {
                assert!(!page.contains(fact) && !plain.contains(fact), "{fact}: {plain}");
            }
        }
    }

    #[test]
    fn protection_guide_lists_levels_kinds_and_lines() {
        for language in LANGUAGES {
            let guide = guide(Topic::Protection, &facts(), language);
            let section = |id: &str| guide.sections.iter().find(|section| section.id == id).unwrap();
            assert_eq!(section("niveles").items.len(), 4);
            assert_eq!(section("temas").items.len(), 10);
            let lines = &section("lineas").items;
            assert_eq!(lines.len(), with_lines(language).count() + 1);
            assert!(20 < lines.len() && 150 < lines.last().unwrap().lines.len());
            assert!(lines.iter().all(|country| !country.lines.is_empty() && country.folded));
            let spain = lines.iter().find(|country| matches!(country.term.as_str(), "España" | "Spain")).unwrap();
            let is_024 = |line: &Line| line.dial.as_deref() == Some("024") && line.text.contains("sanidad.gob.es");
            assert!(spain.lines.iter().any(is_024), "{spain:?}");
            let short = plain_lines(Topic::Protection, &facts(), language);
            assert!(short.len() < 12 && short.iter().all(|line| line.chars().count() < 260), "{short:?}");
        }
    }
}
