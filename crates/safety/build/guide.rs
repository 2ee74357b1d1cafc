//! `guide.{es,en}.toml` as static tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use serde::Deserialize;

const FILES: [(&str, &str); 2] = [("es", "data/guide.es.toml"), ("en", "data/guide.en.toml")];
const LEVELS: [&str; 4] = ["none", "concern", "high", "imminent"];
const KINDS: [&str; 10] = [
    "suicide",
    "self_harm",
    "eating",
    "abuse",
    "sexual_violence",
    "harm_to_others",
    "medical",
    "substance",
    "psychosis",
    "other",
];
const PLACEHOLDERS: [&str; 6] = ["operator", "contact", "kept", "unreached", "countries", "reviewed_on"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    notice: Notice,
    facts: Facts,
    protection: Topic,
    about: Topic,
    levels: BTreeMap<String, Level>,
    kinds: BTreeMap<String, Kind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Notice {
    greeting: String,
    start: String,
    reminder: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    operator: String,
    operator_unknown: String,
    contact: String,
    contact_unknown: String,
    kept_days: String,
    kept_forever: String,
    unreached_days: String,
    unreached_off: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Topic {
    title: String,
    lead: String,
    section: Vec<Section>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    id: String,
    title: String,
    short: Option<String>,
    text: Vec<String>,
    insert: Option<Insert>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Debug)]
#[serde(rename_all = "lowercase")]
enum Insert {
    Levels,
    Kinds,
    Lines,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    name: String,
    means: String,
    does: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    name: String,
    does: String,
}

/// Writes `guide.rs` to the output folder.
pub(crate) fn build() -> Result<(), String> {
    let mut out = String::new();
    let mut outline: Option<Vec<String>> = None;
    for (language, name) in FILES {
        println!("cargo:rerun-if-changed={name}");
        let text = fs::read_to_string(name).map_err(|error| format!("{name}: {error}"))?;
        let file: File = toml::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
        check(&file).map_err(|why| format!("{name}: {why}"))?;
        let of_file = outlined(&file);
        let same = outline.get_or_insert_with(|| of_file.clone());
        if let Some((_, section)) = same.iter().zip(&of_file).find(|(one, other)| one != other) {
            return Err(format!("{name}: section {section}: the languages have the same sections in the same order"));
        }
        if same.len() != of_file.len() {
            return Err(format!("{name}: the languages have the same sections in the same order"));
        }
        write(&mut out, language, &file);
    }
    let folder = env::var_os("OUT_DIR").ok_or("no OUT_DIR")?;
    fs::write(Path::new(&folder).join("guide.rs"), out).map_err(|error| error.to_string())
}

fn outlined(file: &File) -> Vec<String> {
    let of = |name: &str, topic: &Topic| -> Vec<String> {
        let line =
            |section: &Section| format!("{name}.{} {:?} {}", section.id, section.insert, section.short.is_some());
        topic.section.iter().map(line).collect()
    };
    [of("protection", &file.protection), of("about", &file.about)].concat()
}

fn check(file: &File) -> Result<(), String> {
    let File { notice, facts, protection, about, levels, kinds } = file;
    for (name, text) in [("greeting", &notice.greeting), ("start", &notice.start), ("reminder", &notice.reminder)] {
        check_text(text, &[], &[]).map_err(|why| format!("notice.{name}: {why}"))?;
    }
    let Facts { operator, operator_unknown, contact, contact_unknown, .. } = facts;
    for (name, text, needs) in [
        ("operator", operator, &["name"][..]),
        ("operator_unknown", operator_unknown, &[]),
        ("contact", contact, &["contact"]),
        ("contact_unknown", contact_unknown, &[]),
        ("kept_days", &facts.kept_days, &["days"]),
        ("kept_forever", &facts.kept_forever, &[]),
        ("unreached_days", &facts.unreached_days, &["days"]),
        ("unreached_off", &facts.unreached_off, &[]),
    ] {
        check_text(text, needs, needs).map_err(|why| format!("facts.{name}: {why}"))?;
    }
    check_topic("protection", protection)?;
    check_topic("about", about)?;
    check_rows("levels", &LEVELS, levels.iter().map(|(id, row)| (id.as_str(), [&row.name, &row.means, &row.does])))?;
    check_rows("kinds", &KINDS, kinds.iter().map(|(id, row)| (id.as_str(), [&row.name, &row.does, &row.does])))
}

fn check_topic(name: &str, topic: &Topic) -> Result<(), String> {
    let wrong = |field: &str, why: &str| format!("{name}.{field}: {why}");
    check_text(&topic.title, &[], &[]).map_err(|why| wrong("title", &why))?;
    check_text(&topic.lead, &[], &[]).map_err(|why| wrong("lead", &why))?;
    for section in &topic.section {
        let plain = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if !plain(&section.id) {
            return Err(wrong(&section.id, "an id is made of small letters and hyphens"));
        }
        if section.text.is_empty() {
            return Err(wrong(&section.id, "no text"));
        }
        check_text(&section.title, &[], &[]).map_err(|why| wrong(&section.id, &why))?;
        for text in section.text.iter().chain(&section.short) {
            check_text(text, &PLACEHOLDERS, &[]).map_err(|why| wrong(&section.id, &why))?;
        }
    }
    Ok(())
}

fn check_rows<'a>(
    table: &str,
    ids: &[&str],
    rows: impl Iterator<Item = (&'a str, [&'a String; 3])>,
) -> Result<(), String> {
    let mut found = Vec::new();
    for (id, texts) in rows {
        if !ids.contains(&id) {
            return Err(format!("{table}.{id}: there is no such row"));
        }
        for text in texts {
            check_text(text, &[], &[]).map_err(|why| format!("{table}.{id}: {why}"))?;
        }
        found.push(id);
    }
    match ids.iter().find(|id| !found.contains(id)) {
        Some(missing) => Err(format!("{table}.{missing} is missing")),
        None => Ok(()),
    }
}

/// Checks that a text is one line with placeholders of `known`, all of `needed` among them.
fn check_text(text: &str, known: &[&str], needed: &[&str]) -> Result<(), String> {
    if text.trim().is_empty() || text.trim() != text || text.contains(char::is_control) {
        return Err("a text is one line, without white space around it".to_owned());
    }
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}').ok_or("a { without its }")?;
        if !known.contains(&name) {
            return Err(format!("{{{name}}} is not known here"));
        }
        found.push(name);
        rest = behind;
    }
    match needed.iter().find(|name| !found.contains(name)) {
        Some(name) => Err(format!("{{{name}}} is missing")),
        None => Ok(()),
    }
}

fn write(out: &mut String, language: &str, file: &File) {
    let File { notice, facts, protection, about, levels, kinds } = file;
    let name = language.to_ascii_uppercase();
    let mut push = |line: String| {
        out.push_str(&line);
        out.push('\n');
    };
    push(format!("static {name}: Texts = Texts {{"));
    push(format!("greeting: {:?}, start: {:?}, reminder: {:?},", notice.greeting, notice.start, notice.reminder));
    let Facts { operator, operator_unknown, contact, contact_unknown, .. } = facts;
    push(format!("operator: ({operator:?}, {operator_unknown:?}), contact: ({contact:?}, {contact_unknown:?}),"));
    push(format!("kept: ({:?}, {:?}),", facts.kept_days, facts.kept_forever));
    push(format!("unreached: ({:?}, {:?}),", facts.unreached_days, facts.unreached_off));
    push(format!("protection: {}, about: {},", topic(protection), topic(about)));
    let level = |id: &&str| {
        let Level { name, means, does } = &levels[*id];
        format!("({name:?}, {means:?}, {does:?}), ")
    };
    push(format!("levels: [{}],", LEVELS.iter().map(level).collect::<String>()));
    let kind = |id: &&str| format!("({:?}, {:?}), ", kinds[*id].name, kinds[*id].does);
    push(format!("kinds: [{}],", KINDS.iter().map(kind).collect::<String>()));
    push("};".to_owned());
}

fn topic(Topic { title, lead, section }: &Topic) -> String {
    let mut out = format!("TopicTexts {{ title: {title:?}, lead: {lead:?}, sections: &[");
    for Section { id, title, short, text, insert } in section {
        let insert = insert.map(|insert| format!("Insert::{insert:?}"));
        let insert = insert.map_or_else(|| "None".to_owned(), |insert| format!("Some({insert})"));
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "SectionTexts {{ id: {id:?}, title: {title:?}, short: {short:?}, text: &{text:?}, insert: {insert} }}, "
        );
    }
    out.push_str("] }");
    out
}
