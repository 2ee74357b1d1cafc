//! `answers.toml` as the tables of an automaton over words.
//!
//! Each pattern becomes a Glushkov automaton: one position for each word of the pattern, no empty moves,
//! so that the screen can step all of them word by word and knows where each live match began.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{env, fs};

use serde::Deserialize;

const FILE: &str = "data/answers.toml";
/// Labels that the screen names itself; the others are numbered as they come.
const NAMED: [&str; 17] = [
    "NUMBER",
    "NEG",
    "TAG",
    "CALL",
    "MESSAGE",
    "TO",
    "COUNT",
    "BEFORE_YEAR",
    "UNIT",
    "DIGIT",
    "AND",
    "CURRENCY",
    "LISTED",
    "JOIN",
    "OR",
    "UNCOUNTED",
    "HOUR",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    classes: BTreeMap<String, String>,
    phrases: BTreeMap<String, Vec<String>>,
    rule: Vec<Rule>,
    block: Vec<Block>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    id: String,
    replacement: Replacement,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replacement {
    es: String,
    en: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    rule: String,
    #[serde(default)]
    unless_after: Vec<String>,
    #[serde(default)]
    only_after: Vec<String>,
    #[serde(default)]
    unless_with: Vec<String>,
    #[serde(default)]
    statement: bool,
    #[serde(default)]
    unless_quoted: bool,
    level: Option<String>,
    until: Option<String>,
    kind: Option<String>,
    patterns: Vec<String>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    counter: Vec<String>,
}

/// A pattern as a tree.
#[derive(Clone, Debug)]
enum Node {
    Symbol(Symbol),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Optional(Box<Node>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Symbol {
    /// A word of a label.
    In(u16),
    /// A word that is not of the label, or the end of the sentence.
    NotIn(u16),
    /// Any word but a negation.
    Gap,
    /// The end of the sentence.
    End,
}

struct Position {
    symbol: Symbol,
    follow: BTreeSet<usize>,
    accepts: bool,
    block: usize,
    at_start: bool,
}

/// Sets of words; equal sets are one label.
#[derive(Default)]
struct Labels {
    ids: BTreeMap<BTreeSet<String>, u16>,
}

impl Labels {
    fn id(&mut self, words: BTreeSet<String>) -> Result<u16, String> {
        let next = u16::try_from(self.ids.len()).map_err(|_| "too many labels".to_owned())?;
        Ok(*self.ids.entry(words).or_insert(next))
    }
}

struct Grammar<'a> {
    file: &'a File,
    classes: BTreeMap<String, BTreeSet<String>>,
    labels: Labels,
}

#[derive(Default)]
struct Tables {
    positions: Vec<Position>,
    first: BTreeMap<u16, Vec<usize>>,
}

/// Writes `answers.rs` to the output folder.
pub(crate) fn build() -> Result<(), String> {
    println!("cargo:rerun-if-changed={FILE}");
    let text = fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
    let file: File = toml::from_str(&text).map_err(|error| format!("{FILE}: {error}"))?;
    let mut grammar = Grammar { file: &file, classes: classes(&file)?, labels: Labels::default() };
    for name in NAMED {
        let words = grammar.classes.get(name).cloned();
        let words = if name == "NUMBER" { Some(BTreeSet::from(["#".to_owned()])) } else { words };
        grammar.labels.id(words.ok_or_else(|| format!("{FILE}: [classes] lacks {name}"))?)?;
    }
    let mut tables = Tables::default();
    let mut out = String::new();
    write_blocks(&mut out, &mut grammar, &mut tables)?;
    write_rules(&mut out, &file)?;
    write_words(&mut out, &grammar.labels);
    write_positions(&mut out, &tables, grammar.labels.ids.len())?;
    let folder = env::var_os("OUT_DIR").ok_or("no OUT_DIR")?;
    fs::write(Path::new(&folder).join("answers.rs"), out).map_err(|error| error.to_string())
}

fn classes(file: &File) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let mut classes = BTreeMap::new();
    for name in file.classes.keys() {
        let words = members(file, name, 0).map_err(|why| format!("{FILE}: [classes] {name}: {why}"))?;
        classes.insert(name.clone(), words);
    }
    Ok(classes)
}

fn members(file: &File, name: &str, depth: u8) -> Result<BTreeSet<String>, String> {
    let text = file.classes.get(name).ok_or_else(|| format!("no class {name}"))?;
    if depth > 8 {
        return Err("names itself".to_owned());
    }
    let mut words = BTreeSet::new();
    for word in text.split_whitespace() {
        if is_name(word) {
            words.extend(members(file, word, depth + 1)?);
        } else {
            words.insert(check_word(word)?);
        }
    }
    Ok(words)
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
}

fn check_word(word: &str) -> Result<String, String> {
    let stem = word.strip_suffix('*').unwrap_or(word);
    let fits = stem.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if stem.is_empty() || !fits {
        return Err(format!("{word:?} is no word: lower case, no accents, `*` at its end for any ending"));
    }
    Ok(word.to_owned())
}

fn write_rules(out: &mut String, file: &File) -> Result<(), String> {
    out.push_str("pub(super) static RULES: &[Rule] = &[\n");
    for rule in &file.rule {
        let Replacement { es, en } = &rule.replacement;
        if [es, en].into_iter().any(|text| text.is_empty() || text.chars().count() > 240 || text.contains('\n')) {
            return Err(format!("{FILE}: rule {}: a replacement is one line of at most 240 characters", rule.id));
        }
        out.push_str(&format!("    Rule {{ id: {:?}, es: {es:?}, en: {en:?} }},\n", rule.id));
    }
    out.push_str("];\n");
    for (name, id) in [("PHONE", "phone"), ("ADDRESS", "address")] {
        let rule = file.rule.iter().position(|rule| rule.id == id).ok_or(format!("{FILE}: no rule {id}"))?;
        out.push_str(&format!("pub(super) const {name}: usize = {rule};\n"));
    }
    Ok(())
}

fn write_blocks(out: &mut String, grammar: &mut Grammar<'_>, tables: &mut Tables) -> Result<(), String> {
    let mut guards: Vec<u16> = Vec::new();
    let mut examples = String::new();
    out.push_str("pub(super) static BLOCKS: &[Block] = &[\n");
    for (index, block) in grammar.file.block.iter().enumerate() {
        let place = |why: String| format!("{FILE}: block {} ({}): {why}", index + 1, block.rule);
        let rule = grammar.file.rule.iter().position(|rule| rule.id == block.rule);
        let rule = rule.ok_or_else(|| place("no such rule".to_owned()))?;
        let unless_after = guard_list(grammar, &block.unless_after, &mut guards).map_err(place)?;
        let only_after = guard_list(grammar, &block.only_after, &mut guards).map_err(place)?;
        let mut unless_with = Vec::new();
        for name in &block.unless_with {
            unless_with.push(guard(grammar, name, &mut guards).map_err(place)?);
        }
        if !unless_with.is_empty() && !block.statement {
            return Err(place("unless_with is for statements: it waits for the end of the sentence".to_owned()));
        }
        let least = level(block.level.as_deref().unwrap_or("none")).map_err(place)?;
        let most = level(block.until.as_deref().unwrap_or("imminent")).map_err(place)?;
        let kind = block.kind.as_deref().map_or_else(|| Ok("None".to_owned()), kind).map_err(place)?;
        out.push_str(&format!(
            "    Block {{ rule: {rule}, unless_after: &[{unless_after}], only_after: &[{only_after}], unless_with: &{unless_with:?}, statement: {}, unless_quoted: {}, least: {least}, most: {most}, kind: {kind} }},\n",
            block.statement, block.unless_quoted
        ));
        for pattern in &block.patterns {
            let node = parse(grammar, pattern).map_err(|why| place(format!("{pattern:?}: {why}")))?;
            add(tables, node, index, pattern.trim_start().starts_with('<'))
                .map_err(|why| place(format!("{pattern:?}: {why}")))?;
        }
        for (texts, stops) in [(&block.examples, true), (&block.counter, false)] {
            for text in texts {
                examples.push_str(&format!(
                    "    Example {{ rule: {:?}, level: {least}, kind: {kind}, text: {text:?}, stops: {stops} }},\n",
                    block.rule
                ));
            }
        }
    }
    out.push_str(&format!("];\npub(super) static GUARDS: [u16; {}] = {guards:?};\n", guards.len()));
    out.push_str(&format!("#[cfg(test)]\npub(super) static EXAMPLES: &[Example] = &[\n{examples}];\n"));
    Ok(())
}

/// `NEG 3`, or `NEG 3 clause`: no word of the class among the three before, up to the last comma.
fn guard_list(grammar: &mut Grammar<'_>, specs: &[String], guards: &mut Vec<u16>) -> Result<String, String> {
    let mut list = String::new();
    for spec in specs {
        let parts: Vec<&str> = spec.split_whitespace().collect();
        let (name, distance, clause) = match parts[..] {
            [name, distance] => (name, distance, false),
            [name, distance, "clause"] => (name, distance, true),
            _ => return Err(format!("unless_after {spec:?}: a class, a distance, perhaps `clause`")),
        };
        let distance: u8 = distance.parse().map_err(|_| format!("unless_after {spec:?}: no distance"))?;
        let guard = guard(grammar, name, guards)?;
        list.push_str(&format!("Guard {{ class: {guard}, distance: {distance}, clause: {clause} }}, "));
    }
    Ok(list)
}

/// Index of a class among the guards.
fn guard(grammar: &mut Grammar<'_>, name: &str, guards: &mut Vec<u16>) -> Result<usize, String> {
    let words = grammar.classes.get(name).cloned().ok_or_else(|| format!("no class {name}"))?;
    let label = grammar.labels.id(words)?;
    let known = guards.iter().position(|known| *known == label);
    Ok(known.unwrap_or_else(|| {
        guards.push(label);
        guards.len() - 1
    }))
}

fn level(name: &str) -> Result<&'static str, String> {
    Ok(match name {
        "none" => "Level::None",
        "concern" => "Level::Concern",
        "high" => "Level::High",
        "imminent" => "Level::Imminent",
        _ => return Err(format!("{name:?} is no level")),
    })
}

fn kind(name: &str) -> Result<String, String> {
    match name {
        "eating" => Ok("Some(Kind::Eating)".to_owned()),
        _ => Err(format!("{name:?} is no kind that a block can ask for")),
    }
}

/// Reads a pattern.
fn parse(grammar: &mut Grammar<'_>, pattern: &str) -> Result<Node, String> {
    let spaced = pattern.replace('(', " ( ").replace(')', " ) ").replace('|', " | ").replace(") ?", ")?");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    if let [first, tail @ ..] = rest
        && *first == "<"
    {
        rest = tail;
    }
    let node = choice(grammar, &mut rest, 0)?;
    if rest.is_empty() { Ok(node) } else { Err("a bracket closes that was not opened".to_owned()) }
}

fn choice(grammar: &mut Grammar<'_>, rest: &mut &[&str], depth: u8) -> Result<Node, String> {
    if depth > 12 {
        return Err("phrases nest too deep".to_owned());
    }
    let mut ways = vec![Vec::new()];
    while let [token, tail @ ..] = *rest {
        if token.starts_with(')') {
            break;
        }
        *rest = tail;
        if *token == "|" {
            ways.push(Vec::new());
            continue;
        }
        let node = item(grammar, token, rest, depth)?;
        if let Some(way) = ways.last_mut() {
            way.push(node);
        }
    }
    if ways.iter().any(Vec::is_empty) {
        return Err("an empty alternative".to_owned());
    }
    Ok(merge(grammar, ways))
}

/// Makes one label of alternatives that are single words.
fn merge(grammar: &mut Grammar<'_>, ways: Vec<Vec<Node>>) -> Node {
    let (mut words, mut others) = (BTreeSet::new(), Vec::new());
    let single = ways.len() > 1;
    for mut way in ways {
        match way.as_slice() {
            [Node::Symbol(Symbol::In(label))] if single && *label != 0 => {
                let set = grammar.labels.ids.iter().find(|(_, id)| *id == label).map(|(set, _)| set.clone());
                words.extend(set.unwrap_or_default());
            }
            [_] => others.extend(way.pop()),
            _ => others.push(Node::Sequence(way)),
        }
    }
    if !words.is_empty()
        && let Ok(label) = grammar.labels.id(words)
    {
        others.push(Node::Symbol(Symbol::In(label)));
    }
    if others.len() == 1 { others.remove(0) } else { Node::Choice(others) }
}

fn item(grammar: &mut Grammar<'_>, token: &str, rest: &mut &[&str], depth: u8) -> Result<Node, String> {
    let gap = |count: &str| -> Result<Node, String> {
        let count: usize = count.parse().map_err(|_| format!("{token:?} is no gap"))?;
        let one = || Node::Optional(Box::new(Node::Symbol(Symbol::Gap)));
        Ok(Node::Sequence((0..count).map(|_| one()).collect()))
    };
    if token == "(" {
        let node = choice(grammar, rest, depth + 1)?;
        let [close, tail @ ..] = *rest else { return Err("a bracket is not closed".to_owned()) };
        *rest = tail;
        return Ok(if *close == ")?" { Node::Optional(Box::new(node)) } else { node });
    }
    if let Some(count) = token.strip_prefix("..") {
        return gap(count);
    }
    if token == ">" {
        return Ok(Node::Symbol(Symbol::End));
    }
    if let Some(word) = token.strip_suffix('?') {
        return Ok(Node::Optional(Box::new(name(grammar, word, depth)?)));
    }
    if let Some(word) = token.strip_prefix('!') {
        return match name(grammar, word, depth)? {
            Node::Symbol(Symbol::In(label)) => Ok(Node::Symbol(Symbol::NotIn(label))),
            _ => Err(format!("{token:?}: `!` stands before a word or a class")),
        };
    }
    name(grammar, token, depth)
}

fn name(grammar: &mut Grammar<'_>, word: &str, depth: u8) -> Result<Node, String> {
    if word == "NUMBER" {
        return Ok(Node::Symbol(Symbol::In(0)));
    }
    if !is_name(word) {
        let word = check_word(word)?;
        return Ok(Node::Symbol(Symbol::In(grammar.labels.id(BTreeSet::from([word]))?)));
    }
    if let Some(words) = grammar.classes.get(word).cloned() {
        return Ok(Node::Symbol(Symbol::In(grammar.labels.id(words)?)));
    }
    let phrases = grammar.file.phrases.get(word).ok_or_else(|| format!("no class or phrase {word}"))?;
    let text = format!("({})", phrases.join("|")).replace('(', " ( ").replace(')', " ) ").replace('|', " | ");
    let text = text.replace(") ?", ")?");
    let tokens: Vec<&str> = text.split_whitespace().collect();
    choice(grammar, &mut tokens.as_slice(), depth + 1)
}

/// First and last positions of a part, and whether it may be empty.
struct Ends {
    first: BTreeSet<usize>,
    last: BTreeSet<usize>,
    empty: bool,
}

fn add(tables: &mut Tables, node: Node, block: usize, at_start: bool) -> Result<(), String> {
    let ends = place(tables, node, block);
    if ends.empty {
        return Err("it may match nothing".to_owned());
    }
    for position in ends.last {
        if let Some(position) = tables.positions.get_mut(position) {
            position.accepts = true;
        }
    }
    for first in ends.first {
        let Some(position) = tables.positions.get_mut(first) else { continue };
        position.at_start = at_start;
        let Symbol::In(label) = position.symbol else { return Err("it begins with a word or a class".to_owned()) };
        tables.first.entry(label).or_default().push(first);
    }
    Ok(())
}

fn place(tables: &mut Tables, node: Node, block: usize) -> Ends {
    match node {
        Node::Symbol(symbol) => {
            let index = tables.positions.len();
            let follow = BTreeSet::new();
            tables.positions.push(Position { symbol, follow, accepts: false, block, at_start: false });
            Ends { first: BTreeSet::from([index]), last: BTreeSet::from([index]), empty: false }
        }
        Node::Optional(node) => Ends { empty: true, ..place(tables, *node, block) },
        Node::Choice(nodes) => {
            let mut all = Ends { first: BTreeSet::new(), last: BTreeSet::new(), empty: false };
            for node in nodes {
                let ends = place(tables, node, block);
                all.first.extend(ends.first);
                all.last.extend(ends.last);
                all.empty |= ends.empty;
            }
            all
        }
        Node::Sequence(nodes) => {
            let mut all = Ends { first: BTreeSet::new(), last: BTreeSet::new(), empty: true };
            for node in nodes {
                let ends = place(tables, node, block);
                for last in &all.last {
                    if let Some(position) = tables.positions.get_mut(*last) {
                        position.follow.extend(&ends.first);
                    }
                }
                if all.empty {
                    all.first.extend(&ends.first);
                }
                if !ends.empty {
                    all.last.clear();
                }
                all.last.extend(ends.last);
                all.empty &= ends.empty;
            }
            all
        }
    }
}

fn write_words(out: &mut String, labels: &Labels) {
    let (mut words, mut stems) = (BTreeMap::<&str, Vec<u16>>::new(), BTreeMap::<&str, Vec<u16>>::new());
    for (set, id) in &labels.ids {
        for word in set {
            match word.strip_suffix('*') {
                Some(stem) => stems.entry(stem).or_default().push(*id),
                None => words.entry(word).or_default().push(*id),
            }
        }
    }
    for (name, map) in [("WORDS", words), ("STEMS", stems)] {
        out.push_str(&format!("pub(super) static {name}: &[(&str, &[u16])] = &[\n"));
        for (word, labels) in map {
            out.push_str(&format!("    ({word:?}, &{labels:?}),\n"));
        }
        out.push_str("];\n");
    }
    for (id, name) in NAMED.iter().enumerate() {
        out.push_str(&format!("pub(super) const {name}: u16 = {id};\n"));
    }
}

/// Returns the least number of words that complete a match behind each position.
fn words_left(positions: &[Position]) -> Vec<usize> {
    let mut left = vec![0; positions.len()];
    // Followers have higher indices.
    for (index, position) in positions.iter().enumerate().rev() {
        let behind = position.follow.iter().map(|&next| match positions[next].symbol {
            Symbol::In(_) | Symbol::Gap => 1 + left[next],
            Symbol::NotIn(_) | Symbol::End => left[next],
        });
        left[index] = if position.accepts { 0 } else { behind.min().unwrap_or(0) };
    }
    left
}

fn write_positions(out: &mut String, tables: &Tables, labels: usize) -> Result<(), String> {
    if tables.positions.len() > usize::from(u16::MAX) {
        return Err(format!("{FILE}: {} positions are too many", tables.positions.len()));
    }
    let left = words_left(&tables.positions);
    let mut follow: Vec<usize> = Vec::new();
    out.push_str("pub(super) static POSITIONS: &[Position] = &[\n");
    for (position, left) in tables.positions.iter().zip(left) {
        let symbol = match position.symbol {
            Symbol::In(label) => format!("Symbol::In({label})"),
            Symbol::NotIn(label) => format!("Symbol::NotIn({label})"),
            Symbol::Gap => "Symbol::Gap".to_owned(),
            Symbol::End => "Symbol::End".to_owned(),
        };
        let from = follow.len();
        follow.extend(&position.follow);
        out.push_str(&format!(
            "    Position {{ symbol: {symbol}, follow: {from}..{}, accepts: {}, left: {left}, block: {}, at_start: {} }},\n",
            follow.len(),
            position.accepts,
            position.block,
            position.at_start
        ));
    }
    out.push_str(&format!("];\npub(super) static FOLLOW: &[u16] = &{follow:?};\n"));
    out.push_str(&format!("pub(super) const LABELS: usize = {labels};\n"));
    out.push_str("pub(super) static FIRST: &[&[u16]] = &[\n");
    for label in 0..labels {
        let label = u16::try_from(label).map_err(|error| error.to_string())?;
        let first = tables.first.get(&label).map_or(&[][..], Vec::as_slice);
        out.push_str(&format!("    &{first:?},\n"));
    }
    out.push_str("];\n");
    Ok(())
}
