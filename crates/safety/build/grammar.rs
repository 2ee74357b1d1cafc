//! Reads, validates and compiles the data files of the risk engine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde::Deserialize;

use crate::conjugate;
use crate::pattern::{Opening, Pattern};
use crate::sound::sound;
use crate::tables::{Automata, Effect, Frame, Idiom, Index, Item, Row, Rule, Scope, Symbol, Tables, Test, ahead, hash};

/// Size of the first look whether a word is a misspelt one: 128 KiB.
const DELETION_WORDS: usize = 16_384;
/// Any token has this bit of what a token may be.
const ANY: u128 = 1;
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
const CONTEXT_ATOMS: [&str; 5] =
    ["context_topic", "context_distress", "context_concern", "context_high", "context_imminent"];

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
enum Section {
    Lexemes,
    Rules,
    Idioms,
    Frames,
    Levels,
    Spelling,
}

impl Section {
    /// Section and namespace of a file's name.
    fn of(name: &str) -> Option<(Self, &'static str)> {
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
struct Lexemes {
    #[serde(default)]
    fuzzy: Vec<String>,
    #[serde(default)]
    classes: BTreeMap<String, String>,
    #[serde(default)]
    phrases: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Items {
    #[serde(default)]
    rule: Vec<RuleEntry>,
    #[serde(default)]
    idiom: Vec<IdiomEntry>,
    #[serde(default)]
    frame: Vec<FrameEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    id: String,
    atom: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    tense: String,
    #[serde(default)]
    cssrs: u8,
    patterns: Vec<String>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "read by tests")]
    counter: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdiomEntry {
    id: String,
    patterns: Vec<String>,
    #[serde(default)]
    spares: Vec<String>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "read by tests")]
    counter: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameEntry {
    id: String,
    effect: Effect,
    scope: Scope,
    patterns: Vec<String>,
    #[serde(default)]
    spares: Vec<String>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "read by tests")]
    counter: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Levels {
    #[serde(default)]
    atoms: BTreeMap<String, String>,
    #[serde(default)]
    row: Vec<RowEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowEntry {
    #[serde(default)]
    all: Vec<String>,
    #[serde(default)]
    any: Vec<String>,
    #[serde(default)]
    none: Vec<String>,
    level: String,
    #[serde(default)]
    cssrs: u8,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spelling {
    #[serde(default)]
    words: BTreeMap<String, String>,
    #[serde(default)]
    common: String,
}

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
    /// How phrases begin.
    openings: HashMap<Symbol, Vec<Opening>>,
}

fn each<T: Default + for<'de> Deserialize<'de>>(
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
        self.tables.items.push(item);
        let accept = u16::try_from(self.tables.items.len()).map_err(|_| "too many rules")?;
        for text in patterns {
            let pattern = Pattern::parse(text, &mut |word| self.resolve(language, word))
                .map_err(|reason| format!("pattern \"{text}\": {reason}"))?;
            if pattern.starts_anywhere() {
                return Err(format!("pattern \"{text}\": it starts with a gap or an exclusion"));
            }
            if let Item::Phrase(symbol) = item {
                self.openings.entry(symbol).or_default().extend(pattern.openings());
            }
            pattern.compile(accept, &mut self.tables.automata);
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
}

impl Builder {
    fn finish(mut self) -> Result<Tables, String> {
        self.tables.automata.starts.resize(usize::from(self.symbols), Vec::new());
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
        self.tables.lexicon.masks = self.masks(&sets.sets);
        self.tables.lexicon.sets = sets.sets;
        self.look_ahead();
        Ok(self.tables)
    }

    /// Collects the words' symbols with which a symbol begins, through phrases.
    fn first_words(&self, symbol: Symbol, test: Test, words: &mut BTreeSet<Symbol>) {
        if test == Test::Has {
            words.insert(symbol);
        }
        for opening in self.openings.get(&symbol).into_iter().flatten().filter(|_| test == Test::Phrase) {
            self.first_words(opening.first.0, opening.first.1, words);
        }
    }

    /// Adds what `bits` its words have as fillers to each symbol, for a filler of this name.
    fn filler(&self, filler: Symbol, bits: &mut BTreeMap<Symbol, u128>) {
        let Some(openings) = self.openings.get(&filler) else {
            *bits.entry(filler).or_default() |= ahead::FILLS;
            return;
        };
        let mut mark = |(symbol, test), bit: u128| {
            let mut words = BTreeSet::new();
            self.first_words(symbol, test, &mut words);
            words.into_iter().for_each(|word| *bits.entry(word).or_default() |= bit);
        };
        for opening in openings {
            // A phrase that begins a filler may be of one word or of more.
            let (longer, phrase) = (!opening.seconds.is_empty(), opening.first.1 == Test::Phrase);
            let whole = if opening.is_whole || phrase { ahead::FILLS } else { 0 };
            mark(opening.first, whole | if longer || phrase { ahead::OPENS } else { 0 });
            opening.seconds.iter().for_each(|second| mark(*second, ahead::SECOND));
            let inner = self.openings.get(&opening.first.0).filter(|_| phrase).into_iter().flatten();
            inner.flat_map(|inner| &inner.seconds).for_each(|second| mark(*second, ahead::SECOND));
        }
    }

    fn masks(&self, sets: &[Vec<Symbol>]) -> Vec<u128> {
        let mut fillers = BTreeMap::new();
        for symbol in &self.tables.automata.fillers {
            self.filler(*symbol, &mut fillers);
        }
        let of = |symbol: &Symbol| bit(*symbol) | fillers.get(symbol).copied().unwrap_or(0);
        sets.iter().map(|set| set.iter().fold(ANY, |mask, symbol| mask | of(symbol))).collect()
    }

    /// Notes in each state what the next token may be.
    fn look_ahead(&mut self) {
        let mut of_phrases: HashMap<Symbol, u128> = HashMap::new();
        for symbol in self.openings.keys() {
            let mut words = BTreeSet::new();
            self.first_words(*symbol, Test::Phrase, &mut words);
            of_phrases.insert(*symbol, words.into_iter().fold(0, |mask, word| mask | bit(word)));
        }
        let Automata { states, follow, starts, .. } = &mut self.tables.automata;
        let place = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        for state in states.iter_mut() {
            let begin = place(state.follow);
            for follower in follow.get(begin..begin + usize::from(state.followers)).unwrap_or_default() {
                state.next |= match follower.test {
                    Test::Has => bit(follower.symbol),
                    Test::Phrase => of_phrases.get(&follower.symbol).copied().unwrap_or(0),
                    Test::Not | Test::Any | Test::Anything => ANY,
                    Test::End => 0,
                };
            }
        }
        for start in starts.iter_mut().flatten() {
            start.next = states.get(place(start.state)).map_or(0, |state| state.next);
        }
    }

    /// Gives words the symbols of the beginnings that fit.
    fn expand_prefixes(&mut self) {
        let fitting = |word: &str| -> BTreeSet<Symbol> {
            self.prefixes
                .iter()
                .filter(|(prefix, _)| word.starts_with(prefix.as_str()))
                .flat_map(|(_, set)| set.clone())
                .collect()
        };
        let more: Vec<(String, BTreeSet<Symbol>)> =
            self.words.keys().chain(self.prefixes.keys()).map(|word| (word.clone(), fitting(word))).collect();
        for (word, set) in more {
            if let Some(prefix) = self.prefixes.get_mut(&word) {
                prefix.extend(set.clone());
            }
            self.words.entry(word).or_default().extend(set);
        }
    }

    fn read_spelling(&mut self, sets: &mut Sets) {
        let mut several = Vec::new();
        for (word, reading) in std::mem::take(&mut self.spelling) {
            let readings: Vec<BTreeSet<Symbol>> =
                reading.split_whitespace().map(|part| self.words.get(part).cloned().unwrap_or_default()).collect();
            if let [single] = readings.as_slice() {
                self.words.entry(word).or_default().extend(single.clone());
            } else {
                let number = u32::try_from(self.tables.lexicon.expansions.len()).unwrap_or(u32::MAX);
                self.tables.lexicon.expansions.push(readings.into_iter().map(|set| sets.number(set)).collect());
                several.push((hash(word.as_bytes()), number));
            }
        }
        self.tables.lexicon.several = index(&several);
    }

    fn index_words(&mut self, sets: &mut Sets) {
        let mut exact = Vec::new();
        let mut sounds: BTreeMap<Vec<u8>, BTreeSet<Symbol>> = BTreeMap::new();
        for (word, set) in &self.words {
            exact.push((hash(word.as_bytes()), sets.number(set.clone())));
            if word.len() >= 3 && word.is_ascii() && !word.ends_with('\'') && !set.is_empty() {
                let mut key = Vec::new();
                sound(word.as_bytes(), &mut key);
                sounds.entry(key).or_default().extend(set.iter());
            }
        }
        let sounds: Vec<(u64, u32)> = sounds.into_iter().map(|(key, set)| (hash(&key), sets.number(set))).collect();
        self.tables.lexicon.exact = index(&exact);
        self.tables.lexicon.sounds = index(&sounds);
    }

    fn index_prefixes(&mut self, sets: &mut Sets) {
        let mut keys: BTreeMap<Vec<u8>, BTreeSet<Symbol>> = BTreeMap::new();
        for (prefix, set) in &self.prefixes {
            let mut key = Vec::new();
            sound(prefix.as_bytes(), &mut key);
            keys.entry(key).or_default().extend(set);
        }
        let lengths = || keys.keys().filter_map(|key| u8::try_from(key.len()).ok());
        self.tables.lexicon.shortest_prefix = lengths().min().unwrap_or(1);
        self.tables.lexicon.longest_prefix = lengths().max().unwrap_or(0);
        let entries: Vec<(u64, u32)> = keys.into_iter().map(|(key, set)| (hash(&key), sets.number(set))).collect();
        self.tables.lexicon.prefixes = index(&entries);
    }

    fn index_typos(&mut self, sets: &mut Sets) -> Result<(), String> {
        let lexicon = &mut self.tables.lexicon;
        for (word, set) in &self.words {
            let shortest = if set.iter().any(|symbol| self.fuzzy.contains(symbol)) { 3 } else { 5 };
            if set.is_empty() || word.len() < shortest || !word.is_ascii() || word.ends_with('\'') {
                continue;
            }
            let number = u16::try_from(lexicon.misspelt.len()).map_err(|_| "too many words in fuzzy classes")?;
            lexicon.misspelt.push((word.clone(), sets.number(set.clone())));
            // Short words are only read where a letter is hidden (`d*e`): one typo makes too many of them.
            if word.len() < 5 {
                continue;
            }
            lexicon.deletions.push((hash(word.as_bytes()), number));
            for left_out in 0..word.len() {
                let shorter: Vec<u8> =
                    word.bytes().enumerate().filter(|(at, _)| *at != left_out).map(|(_, byte)| byte).collect();
                lexicon.deletions.push((hash(&shorter), number));
            }
        }
        lexicon.deletions.sort_unstable();
        lexicon.deletions.dedup();
        lexicon.deletion_bits = vec![0; DELETION_WORDS];
        for (hash, _) in &lexicon.deletions {
            let bit = usize::try_from(*hash).unwrap_or(0) % (DELETION_WORDS * 64);
            lexicon.deletion_bits[bit / 64] |= 1 << (bit % 64);
        }
        Ok(())
    }
}

#[derive(Default)]
struct Sets {
    sets: Vec<Vec<Symbol>>,
    numbers: HashMap<Vec<Symbol>, u32>,
}

impl Sets {
    fn number(&mut self, set: BTreeSet<Symbol>) -> u32 {
        let set: Vec<Symbol> = set.into_iter().collect();
        *self.numbers.entry(set.clone()).or_insert_with(|| {
            self.sets.push(set);
            u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX)
        })
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

fn check_name(name: &str) -> Result<(), String> {
    let good = name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if good { Ok(()) } else { Err("a name has capitals, digits and _ only".into()) }
}

/// A word as the engine reads it (`mato'` with an accent on its last letter), or an emoji.
fn check_word(word: &str) -> Result<(), String> {
    let word = word.strip_suffix('\'').unwrap_or(word);
    let folded = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let emoji = word.chars().all(|char| !char.is_alphanumeric() && !char.is_ascii());
    if !word.is_empty() && (folded || emoji) {
        Ok(())
    } else {
        Err(format!("\"{word}\" is not written in plain lower case letters"))
    }
}

/// Hash table with open addressing, at most half full.
fn index(entries: &[(u64, u32)]) -> Index {
    let mut slots = vec![(0, 0); (entries.len() * 2 + 1).next_power_of_two()];
    let mask = slots.len() - 1;
    for &(hash, value) in entries {
        let mut at = usize::try_from(hash).unwrap_or(0) & mask;
        while slots[at].0 != 0 && slots[at].0 != hash {
            at = (at + 1) & mask;
        }
        slots[at] = (hash, value);
    }
    Index { slots }
}

/// Bit of a symbol among those of what a token may be; the five lowest mean something else, see `ahead`.
fn bit(symbol: Symbol) -> u128 {
    1 << (5 + symbol % 123)
}

fn namespace(language: &str) -> u8 {
    LANGUAGES.iter().position(|known| *known == language).and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}

fn check_cssrs(item: u8) -> Result<u8, String> {
    if item <= 6 { Ok(item) } else { Err(format!("no C-SSRS item {item}")) }
}

fn check_cycles(phrases: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
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
