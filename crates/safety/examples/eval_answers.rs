//! Screens the answers of an evaluation set and prints how many are stopped, by class.
//!
//! `cargo run -p safety --example eval_answers [-- [--misses] [FILE…]]`; by default the development set.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::{env, fs};

use protocol::Language;
use safety::screen::{Screen, ScreenContext};
use safety::{Kind, Kinds, Level};

/// What an `@` line says of the answers below it.
#[derive(Clone, Default)]
struct Header {
    stop: String,
    class: String,
    context: ScreenContext,
}

#[derive(Default)]
struct Count {
    right: usize,
    all: usize,
}

fn main() -> io::Result<()> {
    let (options, files): (Vec<String>, Vec<String>) = env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let misses = options.iter().any(|option| option == "--misses");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sets/dev");
    let files = if files.is_empty() {
        ["es", "en"].map(|language| format!("{folder}/answers.{language}.txt")).to_vec()
    } else {
        files
    };
    let mut out = io::stdout().lock();
    let mut counts: BTreeMap<(bool, String), Count> = BTreeMap::new();
    for file in files {
        let mut header = Header::default();
        for line in fs::read_to_string(&file)?.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        {
            if let Some(fields) = line.strip_prefix('@') {
                header = read_header(fields);
                continue;
            }
            let bad = header.stop != "none";
            let stopped = screen(header.context, &line.replace("\\n", "\n"));
            let name = if bad { header.stop.clone() } else { header.class.clone() };
            let count = counts.entry((bad, name)).or_default();
            count.all += 1;
            if stopped.is_some() == bad {
                count.right += 1;
            } else if misses {
                writeln!(out, "{:<16} {:<16} {line}", header.stop, stopped.unwrap_or("-"))?;
            }
        }
    }
    print(&mut out, &counts)
}

fn print(out: &mut impl Write, counts: &BTreeMap<(bool, String), Count>) -> io::Result<()> {
    for (bad, title) in [(true, "bad answers stopped"), (false, "good answers let through")] {
        let of_kind = counts.iter().filter(|((is_bad, _), _)| *is_bad == bad);
        let (mut right, mut all) = (0, 0);
        writeln!(out, "{title}")?;
        for ((_, name), count) in of_kind {
            writeln!(out, "  {name:<18} {:>4} of {:>4}", count.right, count.all)?;
            right += count.right;
            all += count.all;
        }
        let share = (right * 1000).checked_div(all).unwrap_or_default();
        writeln!(out, "  {:<18} {right:>4} of {all:>4} ({}.{} %)", "all", share / 10, share % 10)?;
    }
    Ok(())
}

fn read_header(fields: &str) -> Header {
    let mut header = Header::default();
    let mut kinds = Kinds::default();
    for (key, value) in fields.split_whitespace().filter_map(|field| field.split_once('=')) {
        match key {
            "stop" => value.clone_into(&mut header.stop),
            "class" => value.clone_into(&mut header.class),
            "lang" if value == "en" => header.context.language = Language::English,
            "level" => header.context.level = level(value),
            "kind" => kinds = value.split('+').filter_map(kind).collect(),
            _ => {}
        }
    }
    if ["diet", "eating"].iter().any(|word| header.stop.contains(word) || header.class.contains(word)) {
        kinds.insert(Kind::Eating);
    }
    header.context.kinds = kinds;
    header
}

fn level(names: &str) -> Level {
    match names.split('|').next() {
        Some("concern") => Level::Concern,
        Some("high") => Level::High,
        Some("imminent") => Level::Imminent,
        _ => Level::None,
    }
}

fn kind(name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.name() == name)
}

/// Streams the answer character by character. Returns the rule that stopped it.
fn screen(context: ScreenContext, text: &str) -> Option<&'static str> {
    let mut screen = Screen::new(context);
    for char in text.chars() {
        if let Err(violation) = screen.push(char.encode_utf8(&mut [0; 4])) {
            return Some(violation.rule);
        }
    }
    screen.finish().err().map(|violation| violation.rule)
}
