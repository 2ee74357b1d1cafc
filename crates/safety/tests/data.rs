//! Data files: their examples hold, and damaged files are rejected.

#[path = "../build/conjugate.rs"]
mod conjugate;
#[path = "../build/grammar.rs"]
mod grammar;
#[path = "../build/pattern.rs"]
mod pattern;
#[path = "../src/assess/sound.rs"]
mod sound;
#[path = "../src/assess/tables.rs"]
mod tables;

use std::path::Path;

use grammar::{Source, compile, sources};
use safety::{Assessment, Context, Level, assess};
use toml::Value;

fn entries(section: &str) -> Result<Vec<toml::Table>, String> {
    let mut found = Vec::new();
    for source in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/data")))? {
        if source.name.ends_with(".toml") {
            let file: toml::Table = source.text.parse().map_err(|error| format!("{}: {error}", source.name))?;
            let section = file.get(section).and_then(Value::as_array).cloned().unwrap_or_default();
            found.extend(section.into_iter().filter_map(|entry| entry.as_table().cloned()));
        }
    }
    Ok(found)
}

fn texts<'a>(entry: &'a toml::Table, key: &str) -> Vec<&'a str> {
    entry.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn text<'a>(entry: &'a toml::Table, key: &str) -> &'a str {
    entry.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn judge(text: &str) -> Assessment {
    assess(&Context::default(), text)
}

#[test]
fn rules_match_examples_and_not_counter_examples() {
    let mut wrong = Vec::new();
    for rule in entries("rule").unwrap() {
        let (id, atom) = (text(&rule, "id"), text(&rule, "atom"));
        for example in texts(&rule, "examples") {
            if !judge(example).reasons.iter().any(|reason| reason.rule == id) {
                wrong.push(format!("{id} does not find: {example}"));
            }
        }
        for example in texts(&rule, "counter") {
            if judge(example).reasons.iter().any(|reason| reason.rule == id && reason.code == atom) {
                wrong.push(format!("{id} finds: {example}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the level by the rules alone, without the model.
fn level_by_rules(text: &str) -> Level {
    const AT: usize = 16;
    let mut described = Vec::new();
    safety::assess::describe(text, &mut described);
    let levels = [Level::None, Level::Concern, Level::High, Level::Imminent];
    described.get(AT).and_then(|level| levels.get(usize::from(*level))).copied().expect("a level is described")
}

/// Most examples of a hundred in which the model may contradict the rules, as it weighs the whole message.
const MAX_CONTRADICTED: usize = 5;

#[test]
fn idioms_and_frames_match_their_examples() {
    let mut wrong = Vec::new();
    let (mut contradicted, mut all) = (Vec::new(), 0);
    for entry in entries("idiom").unwrap().into_iter().chain(entries("frame").unwrap()) {
        let id = text(&entry, "id");
        let most = match text(&entry, "effect") {
            "" | "drop" => Level::None,
            "earnest" => Level::Imminent,
            _ => Level::Concern,
        };
        for example in texts(&entry, "examples") {
            let found = level_by_rules(example);
            if found > most {
                wrong.push(format!("{id} lets {found} stand: {example}"));
            }
            all += 1;
            if judge(example).level > most {
                contradicted.push(example.to_owned());
            }
        }
        for example in texts(&entry, "counter") {
            if level_by_rules(example) < Level::Concern {
                wrong.push(format!("{id} silences: {example}"));
            }
            all += 1;
            if judge(example).level < Level::Concern {
                contradicted.push(example.to_owned());
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let share = contradicted.len() * 100 / all;
    assert!(share < MAX_CONTRADICTED, "the model contradicts:\n{}", contradicted.join("\n"));
}

fn damaged(name: &str, text: &str) -> String {
    let mut files = vec![
        Source {
            name: "levels.common.toml".into(),
            text: "[atoms]\nintent = \"will\"\n[[row]]\nall = [\"intent\"]\nlevel = \"high\"\n".into(),
        },
        Source { name: "lexemes.es.toml".into(), text: "[classes]\nWANT = \"quiero\"\n".into() },
    ];
    files.retain(|file| file.name != name);
    files.push(Source { name: name.into(), text: text.into() });
    compile(&files).map_or_else(|reason| reason, |_| "compiles".into())
}

fn check_reasons(cases: &[(&str, String, &str)]) {
    for (name, text, reason) in cases {
        let said = damaged(name, text);
        assert!(said.contains(reason), "{name}: {text}\nsaid: {said}");
        assert!(*reason == "compiles" || said.contains(name), "the file is not named: {said}");
    }
}

#[test]
fn rejects_damaged_rule_naming_file_and_reason() {
    let rule = |fields: &str| format!("[[rule]]\nid = \"es.x\"\natom = \"intent\"\nexamples = [\"x\"]\n{fields}\n");
    let patterns = |pattern: &str| rule(&format!("patterns = [\"{pattern}\"]"));
    let rules = "rules.es.toml";
    let cases = [
        (rules, patterns("WANT morir"), "compiles"),
        (rules, patterns("WISH morir"), "no class or phrase WISH"),
        (rules, patterns("WANT Morir"), "not written in plain lower case letters"),
        (rules, patterns("WANT morír"), "not written in plain lower case letters"),
        (rules, patterns("WANT (morir"), "a bracket is not closed"),
        (rules, patterns("WANT) morir"), "a bracket is closed that was not opened"),
        (rules, patterns("WANT?"), "matches nothing at all"),
        (rules, patterns("..3 morir"), "it starts with a gap"),
        (rules, patterns("WANT ..99 morir"), "1 to 12 words"),
        (rules, patterns("WANT << morir"), "<< stands inside"),
        (rules, patterns("WANT (morir|)"), "an empty sequence"),
        (rules, rule("patterns = []"), "no pattern"),
        (rules, patterns("WANT").replace("intent", "intend"), "no atom intend"),
        (rules, patterns("WANT").replace("es.x", "en.x"), "does not begin with es."),
        (rules, patterns("WANT").replace("[\"x\"]", "[]"), "no example"),
        (rules, patterns("WANT") + "kind = \"sucide\"", "no kind sucide"),
        (rules, patterns("WANT") + "subject = \"they\"", "no subject they"),
        (rules, patterns("WANT") + "tense = \"future\"", "no tense future"),
        (rules, patterns("WANT") + "cssrs = 7", "no C-SSRS item 7"),
        (rules, patterns("WANT") + "level = 7", "unknown field"),
        (rules, patterns("WANT") + &patterns("morir"), "used twice"),
        (rules, "[[rule]".into(), "rules.es.toml"),
    ];
    check_reasons(&cases);
}

#[test]
fn rejects_damaged_file_naming_entry_and_reason() {
    let cases = [
        ("lexemes.es.toml", "[classes]\nA = \"B\"\nB = \"A\"\n".into(), "contains itself"),
        ("lexemes.es.toml", "[classes]\nA = \" \"\n".into(), "the class is empty"),
        ("lexemes.es.toml", "[classes]\na = \"b\"\n".into(), "a name has capitals"),
        ("lexemes.es.toml", "[classes]\nA = \"morir/9\"\n".into(), "unknown tag /9"),
        ("lexemes.es.toml", "[classes]\nA = \"casa/inf\"\n".into(), "no infinitive"),
        ("lexemes.es.toml", "[classes]\nA = \"m*\"\n".into(), "three letters before *"),
        ("lexemes.es.toml", "[phrases]\nA = [\"x B\"]\nB = [\"A y\"]\n".into(), "contains itself"),
        ("lexemes.es.toml", "fuzzy = [\"A\"]\n".into(), "no class or phrase A"),
        (
            "levels.common.toml",
            "[atoms]\nintent = \"x\"\n[[row]]\nlevel = \"high\"\n".into(),
            "row 1: it holds for every",
        ),
        (
            "levels.common.toml",
            "[atoms]\nintent = \"x\"\n[[row]]\nall = [\"intent\"]\nlevel = \"x\"\n".into(),
            "no level x",
        ),
        ("levels.common.toml", "[[row]]\nall = [\"plan\"]\nlevel = \"high\"\n".into(), "no atom plan"),
        ("idioms.es.toml", "[[idiom]]\nid = \"es.i\"\npatterns = [\"x\"]\n".into(), "idiom es.i: no example"),
        (
            "frames.es.toml",
            "[[frame]]\nid = \"es.f\"\neffect = \"hide\"\nscope = \"after\"\npatterns = [\"x\"]\n".into(),
            "hide",
        ),
        ("spelling.es.toml", "[words]\nxq = \"por qué\"\n".into(), "xq: \"qué\" is not written"),
        ("confusables.tsv", "а a\n".into(), "line 1: no tab"),
        ("confusables.tsv", "аа\ta\n".into(), "not one character"),
        ("confusables.tsv", "а\té\n".into(), "not Latin letters"),
    ];
    check_reasons(&cases);
}

#[test]
fn conjugates_verbs() {
    let cases = [
        ("matar/1", "mato mate mataba matare mataria mate matara matase"),
        ("colgar(cuelg)/now1", "cuelgo"),
        ("colgar(cuelg)/past1", "colgue colgaba"),
        ("morir(muer,mur)/me", "morirme muriendome"),
        ("morir(muer,mur)/subj", "muera muriera muriese"),
        ("abrazar/past1", "abrace abrazaba"),
        ("tocar/past1", "toque tocaba"),
        ("coger/now1", "cojo"),
        ("vivir/p", "vivimos viviamos viviremos viviriamos"),
    ];
    for (entry, forms) in cases {
        assert_eq!(conjugate::forms(entry).unwrap().join(" "), forms, "{entry}");
    }
}
