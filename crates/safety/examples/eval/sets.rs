//! Reads the evaluation sets.

use std::collections::BTreeMap;
use std::path::Path;

use safety::Level;

/// A sentence and its labels.
#[derive(Debug, Clone)]
pub(crate) struct Sentence {
    pub text: String,
    /// Acceptable levels.
    pub levels: Vec<Level>,
    pub subject: String,
    pub kinds: Vec<String>,
    pub lang: String,
    pub class: String,
    pub trick: String,
    pub family: String,
}

impl Sentence {
    pub(crate) fn least(&self) -> Level {
        self.levels.iter().min().copied().unwrap_or_default()
    }

    pub(crate) fn most(&self) -> Level {
        self.levels.iter().max().copied().unwrap_or_default()
    }
}

/// A message of a conversation.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub seconds: i64,
    pub levels: Vec<Level>,
    pub text: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    pub id: String,
    pub lang: String,
    pub messages: Vec<Message>,
}

fn levels(names: &str) -> Vec<Level> {
    let all = [Level::None, Level::Concern, Level::High, Level::Imminent];
    names.split('|').filter_map(|name| all.into_iter().find(|level| level.name() == name)).collect()
}

fn labels(line: &str) -> BTreeMap<String, String> {
    let pairs = line.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn files(folder: &Path, ending: &str) -> Vec<String> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.ends_with(ending) && !name.starts_with("answers")
        })
        .collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

pub(crate) fn sentences(folder: &Path) -> Vec<Sentence> {
    let mut found = Vec::new();
    for text in files(folder, ".txt") {
        let mut labelled = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("# ")) {
            if let Some(rest) = line.strip_prefix("@ ") {
                labelled = labels(rest);
                continue;
            }
            let label = |key: &str| labelled.get(key).cloned().unwrap_or_default();
            found.push(Sentence {
                text: line.replace("\\n", "\n"),
                levels: levels(&label("level")),
                subject: label("subject"),
                kinds: label("kind").split('+').filter(|kind| *kind != "none").map(str::to_owned).collect(),
                lang: label("lang"),
                class: label("class"),
                trick: label("trick"),
                family: label("family"),
            });
        }
    }
    found
}

pub(crate) fn conversations(folder: &Path) -> Vec<Conversation> {
    let mut found: Vec<Conversation> = Vec::new();
    for line in files(folder, ".conv").iter().flat_map(|text| text.lines()) {
        if let Some(rest) = line.strip_prefix("@ ") {
            let labelled = labels(rest);
            let label = |key: &str| labelled.get(key).cloned().unwrap_or_default();
            found.push(Conversation { id: label("id"), lang: label("lang"), messages: Vec::new() });
        } else if let (Some((head, text)), Some(conversation)) =
            (line.split_once('|').and_then(|_| split_message(line)), found.last_mut())
        {
            let labelled = labels(&head);
            conversation.messages.push(Message {
                seconds: head
                    .trim_start_matches('+')
                    .split_whitespace()
                    .next()
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(0),
                levels: levels(labelled.get("level").map_or("", String::as_str)),
                text: text.replace("\\n", "\n"),
            });
        }
    }
    found
}

/// Parts labels from text at the first bar with a blank before it: levels have bars of their own.
fn split_message(line: &str) -> Option<(String, String)> {
    let (head, text) = line.split_once(" | ")?;
    line.starts_with('+').then(|| (head.to_owned(), text.to_owned()))
}
