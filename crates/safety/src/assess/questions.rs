//! Questions about safety in a model's own words, found by the grammar of the risk engine (`data/questions`).

use std::sync::LazyLock;

use super::tables::{Item, Tables};
use super::{matcher, normalise};

static TABLES: LazyLock<Tables> =
    LazyLock::new(|| super::unpack(include_bytes!(concat!(env!("OUT_DIR"), "/questions.deflate"))));

/// Returns the atoms of the rules that match in `text`.
pub(crate) fn atoms(text: &str) -> Vec<&'static str> {
    let tables = &*TABLES;
    let reading = normalise::reading(&tables.lexicon, text);
    let matches = matcher::matches(tables, &reading.tokens);
    let rule = |item| if let Item::Rule(number) = item { tables.rules.get(usize::from(number)) } else { None };
    let atom = |at: u8| tables.atoms.get(usize::from(at)).map(String::as_str);
    matches.iter().filter_map(|found| rule(found.item)).filter_map(|rule| atom(rule.atom)).collect()
}
