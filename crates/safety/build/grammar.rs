//! Reads, validates and compiles the data files of the risk engine.

#[path = "grammar/check.rs"]
mod check;
#[path = "grammar/index.rs"]
mod index;
#[path = "grammar/look_ahead.rs"]
mod look_ahead;
#[path = "grammar/merge.rs"]
mod merge;
#[path = "grammar/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use check::{check_cssrs, check_cycles, check_name, check_word};
use index::Sets;
use merge::{Merger, lists};
use source::{FrameEntry, IdiomEntry, Items, Levels, Lexemes, RowEntry, RuleEntry, Section, Spelling, each};
pub(crate) use source::{Source, sources};

use crate::conjugate;
use crate::pattern::{Opening, Pattern};
use crate::tables::{Frame, Idiom, Item, Row, Rule, Symbol, Tables, Test};

/// The class of numbers.
const NUMBER: Symbol = 0;
/// Namespaces; `common` is seen by the others.
const LANGUAGES: [&str; 3] = ["common", "es", "en"];
/// In the order of `Kind`.
const KINDS: [&str; 9] = [
    "medical",
    "suicide",
    "sexual_violence",
    "abuse",
    "harm_to_others",
    "self_harm",
    "substance",
    "eating",
    "psychosis",
];
const LEVELS: [&str; 4] = ["none", "concern", "high", "imminent"];
/// Atoms that come from the conversation, not from rules.
const CONTEXT_ATOMS: [&str; 6] =
    ["context_topic", "context_distress", "context_despair", "context_concern", "context_high", "context_imminent"];

/// Compiles `sources`; an error names file, entry and reason.
pub(crate) fn compile(sources: &[Source]) -> Result<Tables, String> {
    let mut builder = Builder::default();
    builder.names.insert(("common".into(), "NUMBER".into()), (NUMBER, Test::Has));
    builder.symbols = 1;
    builder.levels(sources)?;
    builder.lexemes(sources)?;
    builder.items(sources)?;
    builder.spelling(sources)?;
    builder.confusables(sources)?;
    builder.finish()
}

#[derive(Default)]
struct Builder {
    tables: Tables,
    merger: Merger,
    /// Classes and phrases by namespace and name.
    names: HashMap<(String, String), (Symbol, Test)>,
    literals: HashMap<String, Symbol>,
    symbols: Symbol,
    /// Symbols of words.
    words: BTreeMap<String, BTreeSet<Symbol>>,
    /// Symbols of beginnings.
    prefixes: BTreeMap<String, BTreeSet<Symbol>>,
    fuzzy: BTreeSet<Symbol>,
    common: BTreeSet<String>,
    spelling: Vec<(String, String)>,
    ids: BTreeSet<String>,
    /// Openings of phrases.
    openings: HashMap<Symbol, Vec<Opening>>,
}

impl Builder {
    fn symbol(&mut self) -> Result<Symbol, String> {
        let symbol = self.symbols;
        self.symbols = symbol.checked_add(1).ok_or("too many classes and words")?;
        Ok(symbol)
    }

    fn levels(&mut self, sources: &[Source]) -> Result<(), String> {
        for (file, _, levels) in each::<Levels>(sources, &[Section::Levels])? {
            self.tables.atoms.extend(levels.atoms.into_keys());
            self.tables.atoms.extend(CONTEXT_ATOMS.map(str::to_owned));
            if self.tables.atoms.len() > 64 {
                return Err(format!("{file}: more than 64 atoms"));
            }
            self.tables.plain |= self.atoms(&levels.plain).map_err(|reason| format!("{file}: plain: {reason}"))?;
            self.tables.kept |= self.atoms(&levels.kept).map_err(|reason| format!("{file}: kept: {reason}"))?;
            for (number, row) in levels.row.into_iter().enumerate() {
                let compiled = self.row(&row).map_err(|reason| format!("{file}: row {}: {reason}", number + 1))?;
                self.tables.rows.push(compiled);
            }
        }
        Ok(())
    }

    fn row(&self, row: &RowEntry) -> Result<Row, String> {
        if row.all.is_empty() && row.any.is_empty() {
            return Err("it holds for every message".into());
        }
        let level =
            LEVELS.iter().position(|level| *level == row.level).ok_or_else(|| format!("no level {}", row.level))?;
        Ok(Row {
            all: self.atoms(&row.all)?,
            any: self.atoms(&row.any)?,
            none: self.atoms(&row.none)?,
            level: u8::try_from(level).unwrap_or(0),
            cssrs: check_cssrs(row.cssrs)?,
        })
    }

    fn atom(&self, name: &str) -> Result<u8, String> {
        let at = self.tables.atoms.iter().position(|atom| atom == name).ok_or_else(|| format!("no atom {name}"))?;
        u8::try_from(at).map_err(|error| error.to_string())
    }

    fn atoms(&self, names: &[String]) -> Result<u64, String> {
        names.iter().try_fold(0, |bits, name| Ok(bits | 1 << self.atom(name)?))
    }

    fn lexemes(&mut self, sources: &[Source]) -> Result<(), String> {
        let files = each::<Lexemes>(sources, &[Section::Lexemes])?;
        for (file, language, lexemes) in &files {
            for (name, test) in names(lexemes) {
                check_name(name).map_err(|reason| format!("{file}: {name}: {reason}"))?;
                let symbol = self.symbol()?;
                if self.names.insert(((*language).to_owned(), name.clone()), (symbol, test)).is_some() {
                    return Err(format!("{file}: {name}: defined twice"));
                }
            }
        }
        for (file, language, lexemes) in &files {
            for name in lexemes.classes.keys() {
                let (symbol, _) = self.name(language, name)?;
                let mut words = Vec::new();
                expand(&lexemes.classes, name, &mut Vec::new(), &mut words)
                    .and_then(|()| words.iter().try_for_each(|word| self.word(word, symbol)))
                    .map_err(|reason| format!("{file}: {name}: {reason}"))?;
            }
            for name in &lexemes.fuzzy {
                let (symbol, _) = self.name(language, name).map_err(|reason| format!("{file}: fuzzy: {reason}"))?;
                self.fuzzy.insert(symbol);
            }
        }
        for (file, language, lexemes) in &files {
            check_cycles(&lexemes.phrases).map_err(|reason| format!("{file}: {reason}"))?;
            for (name, patterns) in &lexemes.phrases {
                let (symbol, _) = self.name(language, name)?;
                self.item(language, Item::Phrase(symbol), patterns)
                    .map_err(|reason| format!("{file}: {name}: {reason}"))?;
            }
        }
        self.reserved();
        Ok(())
    }

    fn reserved(&mut self) {
        let of = |builder: &Self, name: &str| -> Vec<Symbol> {
            let found =
                LANGUAGES.iter().filter_map(|language| builder.names.get(&((*language).to_owned(), name.to_owned())));
            found.map(|(symbol, _)| *symbol).collect()
        };
        self.tables.automata.fillers = of(self, "FILLER");
        self.tables.automata.turns = of(self, "TURN");
        self.tables.automata.joins = of(self, "JOIN");
    }

    fn word(&mut self, word: &str, symbol: Symbol) -> Result<(), String> {
        let (table, word) = match word.strip_suffix('*') {
            Some(prefix) if prefix.len() < 3 => return Err(format!("{word}: at least three letters before *")),
            Some(prefix) => (&mut self.prefixes, prefix),
            None => (&mut self.words, word),
        };
        check_word(word)?;
        table.entry(word.to_owned()).or_default().insert(symbol);
        Ok(())
    }

    fn name(&self, language: &str, name: &str) -> Result<(Symbol, Test), String> {
        let find = |language: &str| self.names.get(&(language.to_owned(), name.to_owned()));
        find(language).or_else(|| find("common")).copied().ok_or_else(|| format!("no class or phrase {name}"))
    }

    fn resolve(&mut self, language: &str, word: &str) -> Result<(Symbol, Test), String> {
        if check_name(word).is_ok() {
            return self.name(language, word);
        }
        if let Some(symbol) = self.literals.get(word) {
            return Ok((*symbol, Test::Has));
        }
        let symbol = self.symbol()?;
        self.word(word, symbol)?;
        self.literals.insert(word.to_owned(), symbol);
        Ok((symbol, Test::Has))
    }

    fn item(&mut self, language: &str, item: Item, patterns: &[String]) -> Result<(), String> {
        if patterns.is_empty() {
            return Err("no pattern".into());
        }
        for text in patterns {
            let pattern = Pattern::parse(text, &mut |word| self.resolve(language, word))
                .map_err(|reason| format!("pattern \"{text}\": {reason}"))?;
            if pattern.starts_anywhere() {
                return Err(format!("pattern \"{text}\": it starts with a gap or an exclusion"));
            }
            if let Item::Phrase(symbol) = item {
                self.openings.entry(symbol).or_default().extend(pattern.openings());
            }
            self.merger.add(&pattern, item);
        }
        Ok(())
    }

    fn items(&mut self, sources: &[Source]) -> Result<(), String> {
        for (file, language, items) in each::<Items>(sources, &[Section::Rules, Section::Idioms, Section::Frames])? {
            for rule in &items.rule {
                self.rule(language, rule).map_err(|reason| format!("{file}: rule {}: {reason}", rule.id))?;
            }
            for idiom in &items.idiom {
                self.idiom(language, idiom).map_err(|reason| format!("{file}: idiom {}: {reason}", idiom.id))?;
            }
            for frame in &items.frame {
                self.frame(language, frame).map_err(|reason| format!("{file}: frame {}: {reason}", frame.id))?;
            }
        }
        Ok(())
    }

    /// Checks what every rule, idiom and frame has: an id of its language, used once, and an example.
    fn head(&mut self, language: &str, id: &str, examples: &[String]) -> Result<(), String> {
        if !id.starts_with(&format!("{language}.")) {
            return Err(format!("the id does not begin with {language}."));
        }
        if !self.ids.insert(id.to_owned()) {
            return Err("the id is used twice".into());
        }
        if examples.is_empty() { Err("no example".into()) } else { Ok(()) }
    }

    fn rule(&mut self, language: &str, entry: &RuleEntry) -> Result<(), String> {
        self.head(language, &entry.id, &entry.examples)?;
        let other = match entry.subject.as_str() {
            "" | "self" => false,
            "other" => true,
            subject => return Err(format!("no subject {subject}")),
        };
        let past = match entry.tense.as_str() {
            "" | "present" => false,
            "past" => true,
            tense => return Err(format!("no tense {tense}")),
        };
        let kinds = entry.kind.split('+').filter(|kind| !kind.is_empty()).try_fold(0, |bits, kind| {
            let at = KINDS.iter().position(|known| *known == kind).ok_or_else(|| format!("no kind {kind}"))?;
            Ok::<u16, String>(bits | 1 << at)
        })?;
        let number = u16::try_from(self.tables.rules.len()).map_err(|_| "too many rules")?;
        self.tables.rules.push(Rule {
            id: entry.id.clone(),
            language: namespace(language),
            atom: self.atom(&entry.atom)?,
            kinds,
            other,
            past,
            cssrs: check_cssrs(entry.cssrs)?,
            sure: entry.sure,
        });
        self.item(language, Item::Rule(number), &entry.patterns)
    }

    fn idiom(&mut self, language: &str, entry: &IdiomEntry) -> Result<(), String> {
        self.head(language, &entry.id, &entry.examples)?;
        let number = u16::try_from(self.tables.idioms.len()).map_err(|_| "too many idioms")?;
        self.tables.idioms.push(Idiom {
            id: entry.id.clone(),
            language: namespace(language),
            spares: self.atoms(&entry.spares)?,
            sure: entry.sure,
        });
        self.item(language, Item::Idiom(number), &entry.patterns)
    }

    fn frame(&mut self, language: &str, entry: &FrameEntry) -> Result<(), String> {
        self.head(language, &entry.id, &entry.examples)?;
        let number = u16::try_from(self.tables.frames.len()).map_err(|_| "too many frames")?;
        self.tables.frames.push(Frame {
            id: entry.id.clone(),
            language: namespace(language),
            effect: entry.effect,
            scope: entry.scope,
            spares: self.atoms(&entry.spares)?,
        });
        self.item(language, Item::Frame(number), &entry.patterns)
    }

    fn spelling(&mut self, sources: &[Source]) -> Result<(), String> {
        for (file, _, spelling) in each::<Spelling>(sources, &[Section::Spelling])? {
            for (word, reading) in spelling.words {
                for part in std::iter::once(word.as_str()).chain(reading.split_whitespace()) {
                    check_word(part).map_err(|reason| format!("{file}: {word}: {reason}"))?;
                }
                if reading.trim().is_empty() {
                    return Err(format!("{file}: {word}: no reading"));
                }
                self.spelling.push((word, reading));
            }
            for word in spelling.common.split_whitespace() {
                check_word(word).map_err(|reason| format!("{file}: common: {reason}"))?;
                self.common.insert(word.to_owned());
            }
        }
        Ok(())
    }

    fn confusables(&mut self, sources: &[Source]) -> Result<(), String> {
        for source in sources.iter().filter(|source| source.name == "confusables.tsv") {
            for (number, line) in
                source.text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty())
            {
                let at = format!("{}: line {}", source.name, number + 1);
                let (look, letters) = line.split_once('\t').ok_or_else(|| format!("{at}: no tab"))?;
                let mut chars = look.chars();
                let (Some(char), None) = (chars.next(), chars.next()) else {
                    return Err(format!("{at}: not one character before the tab"));
                };
                if letters.is_empty() || !letters.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
                {
                    return Err(format!("{at}: not Latin letters behind the tab"));
                }
                self.tables.lexicon.confusables.push((char, letters.to_owned()));
            }
        }
        self.tables.lexicon.confusables.sort();
        Ok(())
    }

    fn finish(mut self) -> Result<Tables, String> {
        std::mem::take(&mut self.merger).finish(self.symbols, &mut self.tables.automata)?;
        for word in &self.common {
            self.words.entry(word.clone()).or_default();
        }
        self.expand_prefixes();
        let mut sets = Sets::default();
        sets.number(BTreeSet::new());
        self.tables.lexicon.number_set = sets.number(BTreeSet::from([NUMBER]));
        self.read_spelling(&mut sets);
        for (_, set) in self.words.iter_mut().filter(|(word, _)| word.bytes().all(|byte| byte.is_ascii_digit())) {
            set.insert(NUMBER);
        }
        self.index_words(&mut sets);
        self.index_prefixes(&mut sets);
        self.index_typos(&mut sets)?;
        let fuzzy = &self.fuzzy;
        self.tables.lexicon.strong =
            sets.sets.iter().map(|set| set.iter().any(|symbol| fuzzy.contains(symbol))).collect();
        self.index_masked();
        self.tables.lexicon.masks = self.masks(&sets.sets);
        self.tables.lexicon.sets = lists(sets.sets);
        self.look_ahead();
        Ok(self.tables)
    }
}

fn names(lexemes: &Lexemes) -> impl Iterator<Item = (&String, Test)> {
    let classes = lexemes.classes.keys().map(|name| (name, Test::Has));
    classes.chain(lexemes.phrases.keys().map(|name| (name, Test::Phrase)))
}

/// Lists the words of class `name`, those of the classes that it names included.
fn expand(
    classes: &BTreeMap<String, String>,
    name: &str,
    trail: &mut Vec<String>,
    words: &mut Vec<String>,
) -> Result<(), String> {
    if trail.iter().any(|earlier| earlier == name) {
        return Err(format!("{name} contains itself"));
    }
    let entries = classes.get(name).ok_or_else(|| format!("no class {name} in this file"))?;
    if entries.trim().is_empty() {
        return Err("the class is empty".into());
    }
    trail.push(name.to_owned());
    for entry in entries.split_whitespace() {
        if entry.starts_with(|first: char| first.is_ascii_uppercase()) {
            expand(classes, entry, trail, words)?;
        } else if entry.contains('/') {
            words.extend(conjugate::forms(entry).map_err(|reason| format!("{entry}: {reason}"))?);
        } else {
            words.push(entry.to_owned());
        }
    }
    trail.pop();
    Ok(())
}

fn namespace(language: &str) -> u8 {
    LANGUAGES.iter().position(|known| *known == language).and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}
