//! Golden files of dialogs in `src/companion/dialogs`. A failure prints the present dialog.

use std::path::Path;

use super::*;

fn level(name: &str) -> Level {
    let levels = [Level::None, Level::Concern, Level::High, Level::Imminent];
    levels.into_iter().find(|level| level.name() == name).expect("a level")
}

/// Applies a line `@ key=value …`.
fn set(conversation: &mut Conversation, line: &str) {
    for pair in line.split_whitespace() {
        let (key, value) = pair.split_once('=').expect("key=value");
        match key {
            "lang" => conversation.language = if value == "es" { Language::Spanish } else { Language::English },
            "seed" => conversation.seed = value.parse().expect("a number"),
            "level" => conversation.level = level(value),
            "now" => {
                conversation.now = level(value);
                conversation.level = conversation.level.max(conversation.now);
            }
            "subject" => conversation.subject = if value == "other" { Subject::Other } else { Subject::Own },
            "kind" => conversation.kinds = Kind::ALL.into_iter().filter(|kind| kind.name() == value).collect(),
            "minor" => conversation.minor = value == "yes",
            _ => panic!("unknown key {key}"),
        }
    }
}

/// Plays the person's part of a dialog and returns the whole.
fn play(dialog: &str) -> String {
    let mut conversation = Conversation::new(Language::Spanish);
    let mut played = String::new();
    for line in dialog.lines().filter(|line| !line.starts_with("< ")) {
        played.push_str(line);
        played.push('\n');
        if let Some(keys) = line.strip_prefix("@ ") {
            set(&mut conversation, keys);
        } else if let Some(text) = line.strip_prefix("> ") {
            let reply = conversation.say(text);
            let exercise = reply.exercise.map(|exercise| format!(" [{exercise}]")).unwrap_or_default();
            played.push_str(&format!("< {}{exercise}\n", reply.text));
        }
    }
    if let Some(plan) = conversation.plan() {
        let lines = plan.lines().map(|line| format!("# {line}")).collect::<Vec<_>>().join("\n");
        played = format!(
            "{}\n{lines}\n",
            played.split("\n# PLAN").next().unwrap_or_default().trim_end().to_owned() + "\n# PLAN"
        );
    }
    played
}

#[test]
fn dialogs_match_golden_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/companion/dialogs");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("dialogs").map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert!(6 <= files.len(), "{files:?}");
    let mut changed = String::new();
    for file in files {
        let dialog = std::fs::read_to_string(&file).expect("a dialog");
        let played = play(&dialog);
        if played != dialog {
            changed.push_str(&format!("=== {}\n{played}", file.display()));
        }
    }
    assert!(changed.is_empty(), "dialogs that changed:\n{changed}");
}
