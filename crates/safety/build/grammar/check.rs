//! Checks of names, words and phrases.

use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check_name(name: &str) -> Result<(), String> {
    let good = name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if good { Ok(()) } else { Err("a name has capitals, digits and _ only".into()) }
}

/// A word as the engine reads it (`mato'` with an accent on its last letter), or an emoji.
pub(super) fn check_word(word: &str) -> Result<(), String> {
    let word = word.strip_suffix('\'').unwrap_or(word);
    let folded = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let emoji = word.chars().all(|char| !char.is_alphanumeric() && !char.is_ascii());
    if !word.is_empty() && (folded || emoji) {
        Ok(())
    } else {
        Err(format!("\"{word}\" is not written in plain lower case letters"))
    }
}

pub(super) fn check_cssrs(item: u8) -> Result<u8, String> {
    if item <= 6 { Ok(item) } else { Err(format!("no C-SSRS item {item}")) }
}

pub(super) fn check_cycles(phrases: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    fn visit<'a>(
        phrases: &'a BTreeMap<String, Vec<String>>,
        name: &'a str,
        trail: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Result<(), String> {
        if trail.contains(&name) {
            return Err(format!("{name}: the phrase contains itself"));
        }
        if !done.insert(name) {
            return Ok(());
        }
        trail.push(name);
        let splits = |char: char| char.is_whitespace() || "()|?!".contains(char);
        let words = phrases.get(name).into_iter().flatten().flat_map(|pattern| pattern.split(splits));
        for word in words.filter(|word| phrases.contains_key(*word)) {
            if trail.contains(&word) {
                return Err(format!("{name}: the phrase contains itself through {word}"));
            }
            visit(phrases, word, trail, done)?;
        }
        trail.pop();
        Ok(())
    }
    let mut done = BTreeSet::new();
    phrases.keys().try_for_each(|name| visit(phrases, name, &mut Vec::new(), &mut done))
}
