//! The data files of the risk engine, as they are written.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::LANGUAGES;
use crate::tables::{Effect, Scope};

/// A file of the data folder.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub name: String,
    pub text: String,
}

/// Reads every file of `folder` that the engine knows.
pub(crate) fn sources(folder: &Path) -> Result<Vec<Source>, String> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if Section::of(&name).is_some() || name == "confusables.tsv" {
            let text = std::fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
            found.push(Source { name, text });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Lexemes,
    Rules,
    Idioms,
    Frames,
    Levels,
    Spelling,
}

impl Section {
    /// Section and namespace of a file's name.
    pub(super) fn of(name: &str) -> Option<(Self, &'static str)> {
        let (section, rest) = name.split_once('.')?;
        let language = LANGUAGES.into_iter().find(|language| rest == format!("{language}.toml"))?;
        let section = match section {
            "lexemes" => Self::Lexemes,
            "rules" => Self::Rules,
            "idioms" => Self::Idioms,
            "frames" => Self::Frames,
            "levels" => Self::Levels,
            "spelling" => Self::Spelling,
            _ => return None,
        };
        Some((section, language))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lexemes {
    #[serde(default)]
    pub fuzzy: Vec<String>,
    #[serde(default)]
    pub classes: BTreeMap<String, String>,
    #[serde(default)]
    pub phrases: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Items {
    #[serde(default)]
    pub rule: Vec<RuleEntry>,
    #[serde(default)]
    pub idiom: Vec<IdiomEntry>,
    #[serde(default)]
    pub frame: Vec<FrameEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleEntry {
    pub id: String,
    pub atom: String,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub subject: String,
    #[serde(default)]
    pub tense: String,
    #[serde(default)]
    pub cssrs: u8,
    #[serde(default)]
    pub sure: bool,
    pub patterns: Vec<String>,
    #[serde(default)]
    pub examples: Vec<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "read by tests")]
    pub counter: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdiomEntry {
    pub id: String,
    #[serde(default)]
    pub sure: bool,
    pub patterns: Vec<String>,
    #[serde(default)]
    pub spares: Vec<String>,
    #[serde(default)]
    pub examples: Vec<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "read by tests")]
    pub counter: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FrameEntry {
    pub id: String,
    pub effect: Effect,
    pub scope: Scope,
    pub patterns: Vec<String>,
    #[serde(default)]
    pub spares: Vec<String>,
    #[serde(default)]
    pub examples: Vec<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "read by tests")]
    pub counter: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Levels {
    #[serde(default)]
    pub atoms: BTreeMap<String, String>,
    #[serde(default)]
    pub plain: Vec<String>,
    #[serde(default)]
    pub kept: Vec<String>,
    #[serde(default)]
    pub row: Vec<RowEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RowEntry {
    #[serde(default)]
    pub all: Vec<String>,
    #[serde(default)]
    pub any: Vec<String>,
    #[serde(default)]
    pub none: Vec<String>,
    pub level: String,
    #[serde(default)]
    pub cssrs: u8,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spelling {
    #[serde(default)]
    pub words: BTreeMap<String, String>,
    #[serde(default)]
    pub common: String,
}

pub(super) fn each<T: Default + for<'de> Deserialize<'de>>(
    sources: &[Source],
    wanted: &[Section],
) -> Result<Vec<(String, &'static str, T)>, String> {
    let of_section = |source: &&Source| Section::of(&source.name).is_some_and(|(section, _)| wanted.contains(&section));
    sources
        .iter()
        .filter(of_section)
        .map(|source| {
            let (_, language) = Section::of(&source.name).unwrap_or((Section::Rules, "common"));
            let parsed = toml::from_str(&source.text).map_err(|error| format!("{}: {error}", source.name))?;
            Ok((source.name.clone(), language, parsed))
        })
        .collect()
}
