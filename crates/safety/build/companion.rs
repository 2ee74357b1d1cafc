//! Validates the companion's texts and word groups and writes them as Rust.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

/// Longest text, in characters, as the companion may say it.
const MAX_CHARS: usize = 240;
/// Texts an act has at least, where it does not say.
const MIN_TEXTS: usize = 12;
const SLOTS: [&str; 7] = ["topic", "other", "one", "who", "person", "feeling", "emergency"];
/// Slots that can always be filled.
const SURE: [&str; 2] = ["person", "emergency"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    reviewed_by_clinician: bool,
    #[serde(default)]
    forms: BTreeMap<String, [String; 2]>,
    #[serde(default)]
    neutral: Vec<String>,
    fixed: Fixed,
    nouns: BTreeMap<String, String>,
    plan: Plan,
    acts: BTreeMap<String, Act>,
    words: BTreeMap<String, Vec<String>>,
    topics: Topics,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixed {
    emergency: String,
    person: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    title: String,
    headings: [String; 6],
    footer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    #[serde(default)]
    least: Option<usize>,
    #[serde(default)]
    script: bool,
    #[serde(default)]
    slots: bool,
    #[serde(default)]
    question: Question,
    texts: Vec<String>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Question {
    #[default]
    Any,
    One,
    None,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Topics {
    people: Vec<String>,
    people_plural: Vec<String>,
    things: Vec<String>,
    things_plural: Vec<String>,
    bare: Vec<String>,
}

/// Reads both languages, checks them and writes `companion.rs`.
pub(crate) fn build() -> Result<(), Box<dyn Error>> {
    let (spanish, english) = (read("es")?, read("en")?);
    same_names("acts", &spanish.acts, &english.acts)?;
    same_names("words", &spanish.words, &english.words)?;
    let mut out = String::new();
    write_names(&mut out, "Act", spanish.acts.keys())?;
    write_names(&mut out, "Group", spanish.words.keys())?;
    write_edition(&mut out, "SPANISH", &spanish)?;
    write_edition(&mut out, "ENGLISH", &english)?;
    write_phrases(&mut out, &[&spanish, &english])?;
    write_topics(&mut out, &spanish, &english)?;
    let reviewed = spanish.reviewed_by_clinician && english.reviewed_by_clinician;
    writeln!(out, "pub(super) const REVIEWED: bool = {reviewed};")?;
    let folder = std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?;
    std::fs::write(Path::new(&folder).join("companion.rs"), out)?;
    Ok(())
}

fn read(language: &str) -> Result<Source, String> {
    let path = format!("data/companion.{language}.toml");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let source: Source = toml::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
    let mut faults = Vec::new();
    for (name, act) in &source.acts {
        faults.extend(act.faults().into_iter().map(|fault| format!("{path}: acts.{name}: {fault}")));
    }
    faults.extend(source.strange_forms().into_iter().map(|fault| format!("{path}: {fault}")));
    for noun in source.nouns.keys().filter(|noun| !source.words.contains_key(*noun)) {
        faults.push(format!("{path}: nouns.{noun}: no such group of words"));
    }
    for (name, words) in &source.words {
        for word in words.iter().filter(|word| normalise(word).is_empty()) {
            faults.push(format!("{path}: words.{name}: {word:?} has no letters"));
        }
    }
    if faults.is_empty() { Ok(source) } else { Err(faults.join("\n")) }
}

fn same_names<T>(subject: &str, one: &BTreeMap<String, T>, other: &BTreeMap<String, T>) -> Result<(), String> {
    let names = |map: &BTreeMap<String, T>| map.keys().cloned().collect::<BTreeSet<_>>();
    let odd: Vec<_> = names(one).symmetric_difference(&names(other)).cloned().collect();
    if odd.is_empty() { Ok(()) } else { Err(format!("data/companion.*.toml: {subject} in one language only: {odd:?}")) }
}

impl Act {
    fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.texts.iter().flat_map(|text| self.text_faults(text)).collect();
        let free = |text: &&String| slots(text).iter().all(|slot| SURE.contains(&slot.as_str()));
        let count = if self.slots { self.texts.len() } else { self.texts.iter().filter(free).count() };
        let least = self.least.unwrap_or(MIN_TEXTS);
        if count < least {
            faults.push(format!("{count} texts that need no slot, at least {least} are wanted"));
        }
        if self.texts.iter().collect::<BTreeSet<_>>().len() < self.texts.len() {
            faults.push("a text stands twice".to_owned());
        }
        faults
    }

    fn text_faults(&self, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |subject: &str| faults.push(format!("{subject}: {text:?}"));
        // Slots are filled with up to 30 characters.
        let longest = text.chars().count() + 20 * slots(text).len();
        if longest > MAX_CHARS {
            fault("too long");
        }
        if text.trim() != text || text.is_empty() || text.chars().any(char::is_control) {
            fault("not one trimmed line");
        }
        if text.chars().any(|letter| letter.is_ascii_digit()) {
            fault("a digit, which only help lines may have");
        }
        match (text.matches('?').count(), self.question) {
            (0, Question::Any | Question::None) | (1, Question::Any | Question::One) => {}
            _ => fault("not the number of questions allowed"),
        }
        if text.contains('¿') && text.matches('¿').count() != text.matches('?').count() {
            fault("question marks that do not match");
        }
        if self.script && text.trim_end_matches('»').matches(['.', '?', '!']).count() > 2 {
            fault("more than two sentences in a script");
        }
        for slot in slots(text).iter().filter(|slot| !SLOTS.contains(&slot.as_str())) {
            fault(&format!("unknown slot {slot}"));
        }
        for slot in SLOTS.iter().filter(|slot| !matches!(**slot, "emergency" | "person")) {
            // "de el examen" would be wrong.
            if text.contains(&format!(" de {{{slot}}}")) || text.contains(&format!(" a {{{slot}}}")) {
                fault("a slot after de or a");
            }
        }
        faults
    }
}

/// Returns the names between braces.
fn slots(text: &str) -> Vec<String> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned()).collect()
}

impl Source {
    /// Returns words of the texts that look like voseo and have neither forms nor an exception.
    fn strange_forms(&self) -> Vec<String> {
        if self.forms.is_empty() {
            return Vec::new();
        }
        let mut odd: BTreeMap<String, &str> = BTreeMap::new();
        for text in self.acts.values().flat_map(|act| &act.texts) {
            let left = self.replaced(text, |_| " \u{1} ".to_owned());
            for word in left.split(|letter: char| !letter.is_alphabetic()).map(str::to_lowercase) {
                if voseo(&word) && !self.neutral.contains(&word) {
                    odd.entry(word).or_insert(text);
                }
            }
        }
        odd.iter().map(|(word, text)| format!("forms: {word:?} has no tú and usted ({text:?})")).collect()
    }

    /// Returns `text` with each form that differs replaced; longer forms go first.
    fn replaced(&self, text: &str, with: impl Fn(&[String; 2]) -> String) -> String {
        let mut forms: Vec<_> = self.forms.iter().collect();
        forms.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
        let mut out = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let after_letter = out.chars().next_back().is_some_and(|letter| letter.is_alphabetic() || letter == '{');
            let hit = (!after_letter && first.is_alphabetic())
                .then(|| forms.iter().find_map(|(form, other)| begins(rest, form).map(|tail| (tail, *other))))
                .flatten();
            if let Some((tail, other)) = hit {
                out.push_str(&capital_like(first, &with(other)));
                rest = tail;
            } else {
                out.push(first);
                rest = rest.strip_prefix(first).unwrap_or_default();
            }
        }
        out
    }

    /// Returns the three registers of `text`: vos, tú, usted.
    fn registers(&self, text: &str) -> [String; 3] {
        [text.to_owned(), self.replaced(text, |other| other[0].clone()), self.replaced(text, |other| other[1].clone())]
    }
}

/// Returns the rest of `text` behind `form`, if `text` begins with `form` as a whole word.
fn begins<'a>(text: &'a str, form: &str) -> Option<&'a str> {
    let mut letters = text.chars();
    for wanted in form.chars() {
        let letter = letters.next()?;
        if letter != wanted && letter.to_lowercase().ne(std::iter::once(wanted)) {
            return None;
        }
    }
    let tail = letters.as_str();
    (!tail.starts_with(char::is_alphabetic)).then_some(tail)
}

fn capital_like(first: char, word: &str) -> String {
    let mut letters = word.chars();
    match letters.next() {
        Some(letter) if first.is_uppercase() => letter.to_uppercase().chain(letters).collect(),
        _ => word.to_owned(),
    }
}

/// Returns `true` if `word` could be a form of vos, or a pronoun that differs.
fn voseo(word: &str) -> bool {
    let ends = |endings: &[&str]| endings.iter().any(|ending| word.ends_with(ending));
    let pronouns = ["te", "ti", "tu", "tus", "vos", "tuyo", "tuya", "tuyos", "tuyas", "sos", "contigo"];
    let enclitic = ["ame", "eme", "ime", "ate", "ite", "alo", "elo", "ilo", "ala", "ela", "ile", "ale", "elas", "alas"];
    pronouns.contains(&word)
        || ends(&["ás", "és", "ís", "á", "é", "í"])
        || (word.chars().count() > 4 && ends(&enclitic))
        || word.ends_with("arte")
        || word.ends_with("erte")
        || word.ends_with("irte")
        || word.ends_with("ste")
        || word.ends_with("ndote")
}

/// Lower case without marks; letters and digits only, one space between words.
fn normalise(text: &str) -> String {
    let mut out = String::new();
    for letter in text.to_lowercase().chars() {
        match letter {
            'á' => out.push('a'),
            'é' => out.push('e'),
            'í' => out.push('i'),
            'ó' => out.push('o'),
            'ú' | 'ü' => out.push('u'),
            'ñ' => out.push('n'),
            '\'' | '’' => {}
            '$' => out.push('|'),
            letter if letter.is_alphanumeric() => out.push(letter),
            _ => out.push(' '),
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn camel(name: &str) -> String {
    name.split('_').map(|part| capital_like('A', part)).collect()
}

fn write_names<'a>(out: &mut String, kind: &str, names: impl Iterator<Item = &'a String>) -> std::fmt::Result {
    let names: Vec<_> = names.collect();
    writeln!(out, "#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]\npub(super) enum {kind} {{")?;
    names.iter().try_for_each(|name| writeln!(out, "    {},", camel(name)))?;
    writeln!(out, "}}\nimpl {kind} {{\n    pub(super) const ALL: [(Self, &'static str); {}] = [", names.len())?;
    names.iter().try_for_each(|name| writeln!(out, "        (Self::{}, {name:?}),", camel(name)))?;
    writeln!(out, "    ];\n}}")
}

fn write_edition(out: &mut String, name: &str, source: &Source) -> std::fmt::Result {
    writeln!(out, "pub(super) static {name}: Edition = Edition {{\n    acts: &[")?;
    for act in source.acts.values() {
        let texts: Vec<_> = act.texts.iter().map(|text| source.registers(text)).collect();
        writeln!(out, "        &{texts:?},")?;
    }
    writeln!(out, "    ],\n    nouns: &[")?;
    for (group, noun) in &source.nouns {
        writeln!(out, "        (Group::{}, {noun:?}),", camel(group))?;
    }
    let Source { fixed, plan, .. } = source;
    writeln!(out, "    ],\n    emergency: {:?},\n    person: {:?},", fixed.emergency, fixed.person)?;
    writeln!(out, "    plan_title: {:?},\n    plan_headings: {:?},", plan.title, plan.headings)?;
    writeln!(out, "    plan_footer: {:?},\n}};", plan.footer)
}

fn write_phrases(out: &mut String, sources: &[&Source]) -> std::fmt::Result {
    let mut phrases = BTreeSet::new();
    for (group, word) in sources
        .iter()
        .flat_map(|source| &source.words)
        .flat_map(|(group, words)| words.iter().map(move |word| (group, word)))
    {
        let form = normalise(word.trim_end_matches('*'));
        phrases.insert((if word.ends_with('*') { format!(" {form}") } else { format!(" {form} ") }, camel(group)));
    }
    writeln!(out, "pub(super) static PHRASES: &[(&str, Group)] = &[")?;
    phrases.iter().try_for_each(|(phrase, group)| writeln!(out, "    ({phrase:?}, Group::{group}),"))?;
    writeln!(out, "];")
}

/// A noun that the person may name, and its names for the companion.
struct Topic {
    found_as: String,
    forms: [String; 3],
    plural: bool,
    person: bool,
}

fn write_topics(out: &mut String, spanish: &Source, english: &Source) -> std::fmt::Result {
    let mut topics = spanish_topics(&spanish.topics);
    topics.extend(english_topics(&english.topics));
    let mut seen = BTreeSet::new();
    topics.retain(|topic| seen.insert(topic.found_as.clone()));
    writeln!(out, "pub(super) static TOPICS: &[Topic] = &[")?;
    for Topic { found_as, forms, plural, person } in topics {
        writeln!(out, "    Topic {{ found_as: {found_as:?}, forms: {forms:?}, plural: {plural}, person: {person} }},")?;
    }
    writeln!(out, "];")
}

fn spanish_topics(topics: &Topics) -> Vec<Topic> {
    let own = |noun: &str, plural, person| {
        let (mine, yours, theirs) = if plural { ("mis", "tus", "sus") } else { ("mi", "tu", "su") };
        let familiar = format!("{yours} {noun}");
        let forms = [familiar.clone(), familiar, format!("{theirs} {noun}")];
        Topic { found_as: format!(" {mine} {} ", normalise(noun)), forms, plural, person }
    };
    let mut all: Vec<_> = topics.people.iter().map(|noun| own(noun, false, true)).collect();
    all.extend(topics.people_plural.iter().map(|noun| own(noun, true, true)));
    let articles = |article: &str| match article {
        "el" => ["el", "un", "del", "al", "este", "ese"].as_slice(),
        "la" => &["la", "una", "esta", "esa"],
        "los" => &["los", "unos", "estos", "esos"],
        _ => &["las", "unas", "estas", "esas"],
    };
    for (thing, plural) in with(&topics.things, false).chain(with(&topics.things_plural, true)) {
        let (article, noun) = thing.split_once(' ').unwrap_or(("el", thing));
        all.push(own(noun, plural, false));
        all.extend(articles(article).iter().map(|article| {
            let forms = [thing.clone(), thing.clone(), thing.clone()];
            Topic { found_as: format!(" {article} {} ", normalise(noun)), forms, plural, person: false }
        }));
    }
    all
}

fn with(nouns: &[String], plural: bool) -> impl Iterator<Item = (&String, bool)> {
    nouns.iter().map(move |noun| (noun, plural))
}

fn english_topics(topics: &Topics) -> Vec<Topic> {
    let named = |found_as: String, form: String, plural, person| Topic {
        found_as,
        forms: [form.clone(), form.clone(), form],
        plural,
        person,
    };
    let own =
        |noun: &str, plural, person| named(format!(" my {} ", normalise(noun)), format!("your {noun}"), plural, person);
    let mut all: Vec<_> = topics.people.iter().map(|noun| own(noun, false, true)).collect();
    all.extend(topics.people_plural.iter().map(|noun| own(noun, true, true)));
    for (thing, plural) in with(&topics.things, false).chain(with(&topics.things_plural, true)) {
        all.push(own(thing, plural, false));
        for article in ["the", "a", "an", "this", "that", "these", "those"] {
            all.push(named(format!(" {article} {} ", normalise(thing)), format!("the {thing}"), plural, false));
        }
    }
    for noun in &topics.bare {
        all.push(named(format!(" {} ", normalise(noun)), noun.clone(), false, false));
        all.push(own(noun, false, false));
    }
    all
}
