//! Light reading of a message: word groups, nouns that it names, and the kind of answer that it is.
//! Risk is read by `assess`; this decides only about words.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::data::{Group, PHRASES, TOPICS};
use super::{asked, truth};
use crate::resources::parse_country;

/// Characters read at the beginning and at the end of a message.
const MAX_READ_CHARS: usize = 2_000;

/// Feelings, the most specific first.
pub(super) const FEELINGS: [Group; 11] = [
    Group::Worthless,
    Group::Lonely,
    Group::Guilty,
    Group::Empty,
    Group::Limit,
    Group::Afraid,
    Group::Angry,
    Group::Overwhelmed,
    Group::Anxious,
    Group::Tired,
    Group::Sad,
];

/// Words that link a negation with what it negates ("no me siento triste").
const LINKS: [&str; 22] = [
    "estoy", "me", "siento", "sentia", "tengo", "ando", "estaba", "tan", "muy", "mas", "ya", "es", "fue", "im", "am",
    "feel", "feeling", "so", "that", "really", "very", "a",
];
const NEGATIONS: [&str; 9] = ["no", "not", "nunca", "never", "tampoco", "dont", "isnt", "sin", "wasnt"];
/// Words that negate anywhere in a message.
const REFUSALS: [&str; 17] = [
    "no", "not", "nunca", "never", "tampoco", "ni", "dont", "doesnt", "didnt", "isnt", "arent", "wont", "wouldnt",
    "cant", "cannot", "nadie", "nobody",
];

/// Words before the place where somebody is.
const ABROAD: [&str; 8] =
    [" vive en ", " viven en ", " esta en ", " estan en ", " se fue a ", " lives in ", " live in ", " is in "];
/// Words and least letters of a country's name: codes are words too ("la", "my").
const MAX_COUNTRY_WORDS: usize = 4;
const MIN_COUNTRY_LETTERS: usize = 4;

static WORDS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let topics = TOPICS.iter().map(|topic| topic.found_as);
    let patterns = PHRASES.iter().map(|(phrase, _)| *phrase).chain(topics);
    AhoCorasick::new(patterns).expect("the build checked that no phrase is empty, and there are far fewer than 2^31")
});

/// Set of word groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Groups(u128);

const _: () = assert!(Group::ALL.len() <= 128, "a set of groups has 128 bits");

impl Groups {
    fn insert(&mut self, group: Group) {
        self.0 |= 1 << group as u32;
    }

    pub(super) fn has(self, group: Group) -> bool {
        self.0 & (1 << group as u32) != 0
    }
}

/// An answer to a question that can be answered with yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    Unsure,
    /// The question itself is refused.
    Refused,
    Other,
}

/// Reading of a message.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    groups: Groups,
    /// Groups of which a phrase opens the message.
    opening: Groups,
    /// Indices into [`TOPICS`], in the order of the text.
    pub(super) topics: Vec<usize>,
    /// Number of words.
    pub(super) words: usize,
    /// Has a question mark.
    pub(super) asks: bool,
    /// Has a word with a vowel, so that it is no random string.
    pub(super) legible: bool,
    short_no: bool,
    normal: String,
}

impl Reading {
    pub(super) fn of(text: &str) -> Self {
        let text = ends(text);
        let normal = normalise(&text);
        let words = normal.split(' ').filter(|word| word.chars().any(char::is_alphanumeric));
        let mut reading = Self {
            words: words.clone().count(),
            asks: text.contains(['?', '¿']),
            legible: words.clone().any(readable),
            ..Self::default()
        };
        reading.find(&normal);
        if truth::is_asked(&normal, reading.asks) {
            reading.groups.insert(Group::Truth);
        }
        let after_no = normal.strip_prefix("| no ").or_else(|| normal.strip_prefix("| nope "));
        reading.short_no = after_no.is_some_and(|rest| rest.starts_with('|') || reading.words <= 3);
        reading.normal = normal;
        reading
    }

    /// Reads groups and nouns in `normal`.
    fn find(&mut self, normal: &str) {
        let mut named: Vec<(usize, usize, usize)> = Vec::new();
        for found in WORDS.find_overlapping_iter(normal) {
            let index = found.pattern().as_usize();
            let Some((_, group)) = PHRASES.get(index) else {
                named.push((found.start(), found.end(), index - PHRASES.len()));
                continue;
            };
            let before = normal.get(..=found.start()).unwrap_or_default();
            if can_be_negated(*group) && negated(before) {
                // "No estoy bien" is no good news.
                if *group == Group::Glad {
                    self.groups.insert(Group::Sad);
                }
                continue;
            }
            if *group == Group::Truth && !self.is_asked(normal, found.end()) {
                continue;
            }
            self.groups.insert(*group);
            if found.start() <= 1 {
                self.opening.insert(*group);
            }
        }
        named.sort_unstable();
        for (_, _, topic) in named {
            if !self.topics.contains(&topic) {
                self.topics.push(topic);
            }
        }
    }

    /// Returns `true` if the phrase that ends at `end` stands in a question, or ends its clause.
    fn is_asked(&self, normal: &str, end: usize) -> bool {
        let rest = normal.get(end..).unwrap_or_default();
        let next = rest.split(' ').next().unwrap_or_default();
        self.asks || matches!(next, "" | "|" | "o" | "or" | "de" | "real" | "verdad" | "right" | "acaso")
    }

    pub(super) fn has(&self, group: Group) -> bool {
        self.groups.has(group)
    }

    pub(super) fn has_any(&self, groups: &[Group]) -> bool {
        groups.iter().any(|group| self.has(*group))
    }

    /// Returns `true` if a phrase of `group` opens the message.
    pub(super) fn opens_with(&self, group: Group) -> bool {
        self.opening.has(group)
    }

    /// Returns `true` if it contains one of `words`.
    pub(super) fn mentions(&self, words: &[&str]) -> bool {
        self.normal.split(' ').any(|word| words.contains(&word))
    }

    /// Returns `true` if it contains `phrase`, in normal form, in whole words.
    pub(super) fn says(&self, phrase: &str) -> bool {
        self.normal.contains(&format!(" {phrase} "))
    }

    /// Returns `true` if it is one of `texts`, in normal form.
    pub(super) fn is_one_of(&self, texts: &[&str]) -> bool {
        texts.contains(&self.normal.trim())
    }

    /// Returns `true` if it asks to stop the current exercise. In a longer message such words belong to something else
    /// ("I stop sleeping").
    pub(super) fn wants_to_stop(&self) -> bool {
        self.opens_with(Group::Stop) || self.has(Group::Stop) && self.words <= 5
    }

    /// Returns `true` if it names a time and nothing else ("esta noche").
    pub(super) fn is_soon(&self) -> bool {
        self.words <= 4 && asked::SOON.iter().any(|phrase| self.says(phrase))
    }

    /// Returns `true` if it has a negation that is no doubt ("mi mamá no me cree").
    pub(super) fn negates(&self) -> bool {
        !self.has(Group::Unsure) && self.mentions(&REFUSALS)
    }

    /// Returns `true` if it rules out the person that it names as company: by harm, death, absence or refusal.
    pub(super) fn rules_out_company(&self) -> bool {
        let names_person = || self.topics.iter().filter_map(|topic| TOPICS.get(*topic)).any(|topic| topic.person);
        self.has(Group::NoCompany) || (self.negates() || self.is_abroad()) && names_person()
    }

    /// Returns `true` if it says that somebody is in a country by its name ("vive en España"): too far to come.
    fn is_abroad(&self) -> bool {
        ABROAD.iter().filter_map(|opening| self.normal.split_once(opening)).any(|(_, place)| {
            let words: Vec<&str> = place.split(' ').take_while(|word| *word != "|").take(MAX_COUNTRY_WORDS).collect();
            (1..=words.len()).any(|count| {
                let name = words.get(..count).unwrap_or_default().join(" ");
                name.len() >= MIN_COUNTRY_LETTERS && parse_country(&name).is_some()
            })
        })
    }

    /// Returns `true` if it says that somebody is with the person.
    pub(super) fn has_company(&self) -> bool {
        self.has(Group::WithSomeone) && !self.negates() && !self.has(Group::NoCompany)
    }

    /// Returns `true` if it sends the companion away ("dejame en paz").
    fn dismisses(&self) -> bool {
        self.opens_with(Group::Dismiss) || self.has(Group::Dismiss) && self.words <= 5
    }

    /// Returns `true` if it has a number in digits.
    pub(super) fn has_number(&self) -> bool {
        self.normal.split(' ').any(|word| !word.is_empty() && word.chars().all(|letter| letter.is_ascii_digit()))
    }

    /// Reads it as an answer.
    pub(super) fn answer(&self) -> Answer {
        if self.has(Group::Refuse) || self.dismisses() {
            Answer::Refused
        } else if self.has(Group::Deny) {
            Answer::No
        } else if self.opens_with(Group::Yes) {
            Answer::Yes
        } else if self.has(Group::Unsure) && self.topics.is_empty() {
            Answer::Unsure
        } else if self.has_any(&[Group::Limit, Group::Explicit]) {
            // "No aguanto más", "no quiero vivir": no denial.
            Answer::Other
        } else if self.short_no || (self.opens_with(Group::No) && self.words <= 4 && !self.has_any(&FEELINGS)) {
            Answer::No
        } else {
            Answer::Other
        }
    }
}

/// Returns both ends of a long text: its subject is most likely named at one of them.
fn ends(text: &str) -> String {
    let count = text.chars().count();
    if count <= 2 * MAX_READ_CHARS {
        return text.to_owned();
    }
    text.chars().take(MAX_READ_CHARS).chain(" . ".chars()).chain(text.chars().skip(count - MAX_READ_CHARS)).collect()
}

/// Returns `true` if a word is legible: random keys seldom have vowels between consonants.
fn readable(word: &str) -> bool {
    let vowel = |letter: char| "aeiouy".contains(letter);
    let run = word.split(vowel).map(|part| part.chars().count()).max().unwrap_or_default();
    let foreign = word.chars().any(|letter| letter.is_alphabetic() && !letter.is_ascii());
    foreign || (word.contains(vowel) && run <= 4) || word.chars().all(|letter| letter.is_ascii_digit())
}

fn can_be_negated(group: Group) -> bool {
    matches!(
        group,
        Group::Sad
            | Group::Anxious
            | Group::Angry
            | Group::Lonely
            | Group::Guilty
            | Group::Afraid
            | Group::Tired
            | Group::Overwhelmed
            | Group::Empty
            | Group::Worthless
            | Group::Glad
            | Group::Panic
            | Group::Safe
            | Group::Called
    )
}

/// Returns `true` if `before`, the text before a phrase, ends in a negation of it.
fn negated(before: &str) -> bool {
    let mut words = before.split_whitespace().rev();
    for _ in 0..4 {
        match words.next() {
            Some(word) if NEGATIONS.contains(&word) => return true,
            Some(word) if LINKS.contains(&word) => {}
            _ => return false,
        }
    }
    false
}

/// Lower case without marks and apostrophes; `|` for the ends of clauses, one space between words, and both
/// around the whole. Letters that stand three times in a row stand once.
fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 4);
    out.push_str("| ");
    let mut run = (' ', 0_usize);
    for letter in text.nfkd().filter(|letter| !is_combining_mark(*letter)).flat_map(char::to_lowercase) {
        run = if letter == run.0 { (letter, run.1 + 1) } else { (letter, 1) };
        match letter {
            '\'' | '’' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}' => {}
            '.' | ',' | ';' | ':' | '!' | '?' | '¡' | '¿' | '\n' | '(' | ')' | '…' => {
                end_word(&mut out);
                if !out.ends_with("| ") {
                    out.push_str("| ");
                }
            }
            letter if letter.is_alphanumeric() => {
                if run.1 == 3 && letter.is_alphabetic() {
                    out.pop();
                } else if run.1 < 3 || !letter.is_alphabetic() {
                    out.push(letter);
                }
            }
            _ => end_word(&mut out),
        }
    }
    end_word(&mut out);
    if !out.ends_with("| ") {
        out.push_str("| ");
    }
    out
}

fn end_word(out: &mut String) {
    if !out.ends_with(' ') {
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_text() {
        for (text, want) in [
            ("", "| "),
            ("¡Holaaaa!", "| hola | "),
            ("No, estoy MUY bien…", "| no | estoy muy bien | "),
            ("I can’t\u{200b} breathe", "| i cant breathe | "),
            ("Ａngústia\u{301}", "| angustia | "),
            ("5-4-3-2-1", "| 5 4 3 2 1 | "),
        ] {
            assert_eq!(normalise(text), want, "{text}");
        }
    }

    #[test]
    fn reads_answers_to_yes_no_questions() {
        use Answer::{No, Other, Refused, Unsure, Yes};
        for (text, want) in [
            ("sí", Yes),
            ("dale, probemos", Yes),
            ("siii", Yes),
            ("no", No),
            ("no, gracias", No),
            ("para nada", No),
            ("nope", No),
            ("not really", No),
            ("no pienso en eso", No),
            ("no aguanto más", Other),
            ("no quiero vivir más así, estoy en el fondo", Other),
            ("no sé", Unsure),
            ("maybe", Unsure),
            ("no quiero hablar de eso", Refused),
            ("none of your business", Refused),
            ("mi mamá", Other),
            ("yes, tonight", Yes),
        ] {
            assert_eq!(Reading::of(text).answer(), want, "{text}");
        }
    }

    #[test]
    fn reads_feelings_unless_negated() {
        for (text, group, want) in [
            ("estoy re triste", Group::Sad, true),
            ("no estoy triste", Group::Sad, false),
            ("no paro de llorar", Group::Sad, true),
            ("no estoy bien", Group::Sad, true),
            ("no estoy bien", Group::Glad, false),
            ("I'm not sad", Group::Sad, false),
            ("i feel so alone", Group::Lonely, true),
            ("solamente una pregunta", Group::Lonely, false),
        ] {
            assert_eq!(Reading::of(text).has(group), want, "{text}");
        }
    }

    #[test]
    fn finds_nouns_in_text_order() {
        let names = |text: &str| -> Vec<_> {
            Reading::of(text).topics.iter().filter_map(|topic| TOPICS.get(*topic)).map(|topic| topic.forms).collect()
        };
        assert_eq!(names("mi mama y el exámen"), [["tu mamá", "tu mamá", "su mamá"], ["el examen"; 3]]);
        assert_eq!(
            names("fui al examen con mis amigas"),
            [["el examen"; 3], ["tus amigas", "tus amigas", "sus amigas"]]
        );
        assert_eq!(names("my best friend and school"), [["your best friend"; 3], ["school"; 3]]);
        assert!(names("mi suicidio").is_empty());
    }
}
