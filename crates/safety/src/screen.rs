//! Screening of a model's answer while it streams.
//!
//! The answer is read word by word. All patterns of `data/answers.toml` run at once as one automaton that knows how
//! many words each live match still needs: text is released at once, except the last two words of a possible violation,
//! so that clean text is not delayed. A word that alone breaks a rule is held back while it is read. Phone numbers and
//! addresses are read apart, character by character. At its end each sentence is judged by a learned model besides,
//! which holds nothing back; it also takes matches of patterns away where it finds a sentence harmless. The
//! shown text and the verdict do not depend on how the answer was cut into pieces.

mod counts;
mod judge;
mod lexer;
mod links;
mod matcher;
mod numbers;
mod table;
#[cfg(test)]
mod tests;

use protocol::{Country, Language};

use self::counts::Counts;
use self::judge::{Judge, Verdict};
use self::lexer::{Event, Lexer};
use self::links::Links;
use self::matcher::Matcher;
use self::numbers::Numbers;
use self::table::{LabelSet, RULES, Rule};
use crate::{Kinds, Level};

/// Rule that an answer broke, such as `methods`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule's id in the data.
    pub rule: &'static str,
    /// Text of the companion in place of the rest of the answer.
    pub replacement: &'static str,
    /// The clean text held back until now, which may still be shown before the replacement.
    pub clean: String,
}

/// Context of the screening.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScreenContext {
    /// Level remembered; at [`Level::High`] and above text is released sentence by sentence.
    pub level: Level,
    /// Kinds remembered.
    pub kinds: Kinds,
    /// Language of the replacement.
    pub language: Language,
    /// Country that the person chose: numbers of other countries are stopped.
    pub country: Option<Country>,
}

/// Screen of one answer.
///
/// ```
/// use safety::screen::{Screen, ScreenContext};
///
/// let mut screen = Screen::new(ScreenContext::default());
/// let mut shown = screen.push("Te leo. ").unwrap();
/// shown += &screen.push("¿Desde cuándo te pasa?").unwrap();
/// shown += &screen.finish().unwrap();
/// assert_eq!(shown, "Te leo. ¿Desde cuándo te pasa?");
///
/// // A number of no help line: the companion's words take the place of the rest.
/// let mut screen = Screen::new(ScreenContext::default());
/// let violation = screen.push("Llamá ya al 0800 123 4567 y contales.").unwrap_err();
/// assert!(!violation.replacement.is_empty());
/// ```
#[derive(Debug)]
pub struct Screen {
    context: ScreenContext,
    lexer: Lexer,
    matcher: Matcher,
    numbers: Numbers,
    links: Links,
    judge: Judge,
    counts: Counts,
    /// Match of a soft rule that the model doubts until the sentence ends.
    doubted: Option<Found>,
    /// Text not released yet, which begins at byte `from` of the answer.
    held: String,
    from: usize,
    /// Byte after the last whole sentence.
    sentence: usize,
    broken: Option<&'static Rule>,
}

/// A rule broken from byte `start` of the answer on. In the order of text, then of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    start: usize,
    /// Byte from which on no text was shown, nor will be.
    hold: usize,
    rule: usize,
}

impl Screen {
    /// Returns a screen for an answer of which nothing came yet.
    pub fn new(context: ScreenContext) -> Self {
        Self {
            context,
            lexer: Lexer::default(),
            matcher: Matcher::new(context),
            numbers: Numbers::new(context.country),
            links: Links::default(),
            judge: Judge::default(),
            counts: Counts::default(),
            doubted: None,
            held: String::new(),
            from: 0,
            sentence: 0,
            broken: None,
        }
    }

    /// Takes the next piece. Returns the text that may be shown now.
    ///
    /// # Errors
    ///
    /// A [`Violation`]: nothing more of the answer may be shown but its clean text.
    pub fn push(&mut self, piece: &str) -> Result<String, Violation> {
        if let Some(rule) = self.broken {
            return Err(self.violation(rule, String::new()));
        }
        let mut at = self.from + self.held.len();
        self.held.push_str(piece);
        for char in piece.chars() {
            self.take(Some(char), at)?;
            at += char.len_utf8();
        }
        let until = self.hold().clamp(self.from, at);
        Ok(self.release(until))
    }

    /// Returns `true` if [`Screen::flush`] would return held text.
    pub fn is_holding(&self) -> bool {
        self.from < self.flushable()
    }

    /// Returns text held back for a pattern that may still be completed: for an answer that pauses. Digits of what may
    /// become a phone number stay, and so does a sentence that is not whole where text is released by sentences.
    pub fn flush(&mut self) -> String {
        self.release(self.flushable())
    }

    fn flushable(&self) -> usize {
        let end = self.from + self.held.len();
        if self.broken.is_some() || self.context.level >= Level::High {
            return self.from;
        }
        let (partial, start) = self.lexer.partial();
        self.numbers.hold(partial, start).min(self.links.hold()).clamp(self.from, end)
    }

    /// Takes the end of the answer. Returns the text held back that may be shown.
    ///
    /// # Errors
    ///
    /// A [`Violation`]: nothing more of the answer may be shown but its clean text.
    pub fn finish(mut self) -> Result<String, Violation> {
        if let Some(rule) = self.broken {
            return Err(self.violation(rule, String::new()));
        }
        let end = self.from + self.held.len();
        self.take(None, end)?;
        Ok(self.release(end))
    }

    /// Reads one character, or the end.
    fn take(&mut self, char: Option<char>, at: usize) -> Result<(), Violation> {
        // A sentence is judged at its end: the part shown by then stays.
        let shown = if self.lexer.may_end(char) { self.hold().min(at) } else { 0 };
        let link = self.links.read(char, at);
        let Self { lexer, matcher, numbers, judge, counts, doubted, sentence, .. } = self;
        let mut readers = Readers { matcher, numbers, judge, counts, doubted, shown };
        let mut found = None;
        lexer.read(char, at, &mut |event, word| {
            // Later violations in the same character do not count.
            if found.is_none() {
                found = readers.step(sentence, event, word, at);
            }
        });
        earliest(found, link).map_or(Ok(()), |found| Err(self.stop(found)))
    }

    /// Byte up to which no text can still become a violation.
    fn hold(&self) -> usize {
        let (partial, start) = self.lexer.partial();
        let hold = self.matcher.hold(partial, start).min(self.numbers.hold(partial, start)).min(self.links.hold());
        if self.context.level >= Level::High { hold.min(self.sentence) } else { hold }
    }

    fn release(&mut self, until: usize) -> String {
        let mut count = until - self.from;
        // Never within a character, whatever the bookkeeping says.
        while !self.held.is_char_boundary(count) {
            count -= 1;
        }
        let rest = self.held.split_off(count);
        self.from += count;
        std::mem::replace(&mut self.held, rest)
    }

    fn stop(&mut self, found: Found) -> Violation {
        let whole_sentences = self.context.level >= Level::High;
        let until = if whole_sentences { found.hold.min(self.sentence) } else { found.hold };
        let end = self.from + self.held.len();
        let clean = self.release(until.clamp(self.from, end));
        let rule = RULES.get(found.rule).unwrap_or(&RULES[0]);
        self.broken = Some(rule);
        self.held = String::new();
        self.violation(rule, clean)
    }

    fn violation(&self, rule: &'static Rule, clean: String) -> Violation {
        let replacement = match self.context.language {
            Language::Spanish => rule.es,
            Language::English => rule.en,
        };
        Violation { rule: rule.id, replacement, clean }
    }
}

/// All that reads an answer.
struct Readers<'a> {
    matcher: &'a mut Matcher,
    numbers: &'a mut Numbers,
    judge: &'a mut Judge,
    counts: &'a mut Counts,
    doubted: &'a mut Option<Found>,
    /// Byte up to which text was shown before this character.
    shown: usize,
}

impl Readers<'_> {
    fn step(&mut self, sentence: &mut usize, event: Event, word: &str, at: usize) -> Option<Found> {
        match event {
            Event::Word { start } => {
                self.judge.word(word, start);
                let labels = LabelSet::of(word);
                self.counts.word(&labels);
                let number = self.numbers.word(word, &labels, start);
                let found = self.matcher.word(&labels, start).and_then(|found| self.defer_if_harmless(found));
                earliest(number, found)
            }
            Event::Digits { start } => {
                self.judge.number(word, start);
                self.counts.number();
                let number = self.numbers.digits(word, start);
                let found = self.matcher.word(&LabelSet::of_number(), start);
                earliest(number, found.and_then(|found| self.defer_if_harmless(found)))
            }
            Event::Separator(char) => {
                self.numbers.separator(char);
                if matches!(char, '"' | '«' | '»' | '“' | '”') {
                    self.matcher.quote(char);
                    self.judge.quote(at);
                }
                None
            }
            Event::Clause => {
                self.matcher.clause();
                self.judge.clause();
                None
            }
            Event::Opening { end } => self.end(sentence, end, Ending { opening: true, ..Ending::default() }),
            Event::Sentence { end, question } => self.end(sentence, end, Ending { question, ..Ending::default() }),
            Event::Line { end } => self.end(sentence, end, Ending { line: true, ..Ending::default() }),
        }
    }

    fn end(&mut self, sentence: &mut usize, end: usize, ending: Ending) -> Option<Found> {
        let Ending { question, opening, line } = ending;
        let ended = self.judge.end(question, opening);
        let doubted = self.doubted.take().map(|found| Found { hold: self.shown, ..found });
        let matched = earliest(self.matcher.end(question, opening), doubted);
        let matched = matched.filter(|found| !ended.is_some_and(|(_, verdict)| is_doubted(found.rule, verdict)));
        let counts = std::mem::take(self.counts);
        let judged = ended.and_then(|(start, verdict)| Some(Found { start, hold: self.shown, rule: verdict.rule? }));
        // The model takes bare numbers for those of pills.
        let judged = judged.filter(|found| !(counts.are_ordinary() && is_rule(found.rule, "doses")));
        let number = if line { self.numbers.line() } else { self.numbers.end() };
        let found = earliest(number, matched).or(judged);
        // A sentence that breaks a rule at its end is not released.
        if found.is_none() {
            *sentence = end;
        }
        found
    }

    /// Defers a match to the end of the sentence where the model finds the sentence harmless so far. Of several, that of
    /// a grave rule waits: less takes another away.
    fn defer_if_harmless(&mut self, found: Found) -> Option<Found> {
        if !is_doubted(found.rule, self.judge.verdict()) {
            return Some(found);
        }
        if self.doubted.is_none_or(|known| is_grave(found.rule) && !is_grave(known.rule)) {
            *self.doubted = Some(found);
        }
        None
    }
}

/// End of a sentence.
#[derive(Debug, Clone, Copy, Default)]
struct Ending {
    question: bool,
    opening: bool,
    line: bool,
}

/// Returns `true` if the model takes a match of this rule away: the words of bad answers stand in good ones too, where
/// those refuse or quote. A grave rule's match only where the sentence is clearly harmless; a phone number or an address
/// never, as the model does not read where it leads.
fn is_doubted(rule: usize, verdict: Verdict) -> bool {
    if CONTACTS.iter().any(|id| is_rule(rule, id)) {
        return false;
    }
    if is_grave(rule) { verdict.clearly_harmless } else { verdict.harmless }
}

/// Returns `true` if a miss of this rule may cost a life.
fn is_grave(rule: usize) -> bool {
    RULES.get(rule).is_some_and(|rule| GRAVE.contains(&rule.id))
}

fn is_rule(rule: usize, id: &str) -> bool {
    RULES.get(rule).is_some_and(|rule| rule.id == id)
}

const CONTACTS: [&str; 2] = ["phone", "address"];
const GRAVE: [&str; 5] = ["methods", "doses", "concealment", "death_solution", "farewell_note"];

/// Returns the words of a text's sentences as the model reads them, for its training.
pub fn sentences(text: &str) -> Vec<Vec<String>> {
    let (mut lexer, mut words) = (Lexer::default(), judge::Words::default());
    let ends = text.char_indices().map(|(at, char)| (Some(char), at)).chain([(None, text.len())]);
    for (char, at) in ends {
        lexer.read(char, at, &mut |event, word| words.take(event, word));
    }
    words.sentences
}

fn earliest(one: Option<Found>, other: Option<Found>) -> Option<Found> {
    one.into_iter().chain(other).min()
}

/// Reads the model's weights, which are otherwise read with the first answer.
pub fn prepare() {
    judge::prepare();
}

/// Returns the ids of the rules with their replacements, in the order of the data.
pub fn rules(language: Language) -> impl Iterator<Item = (&'static str, &'static str)> {
    RULES.iter().map(move |rule| match language {
        Language::Spanish => (rule.id, rule.es),
        Language::English => (rule.id, rule.en),
    })
}
