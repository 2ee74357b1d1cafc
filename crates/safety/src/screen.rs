//! Screening of a model's answer while it streams.
//!
//! The answer is read word by word. All patterns of `data/answers.toml` run at once as one automaton that
//! knows where each live match began: everything before the oldest of them is released at once, so that
//! clean text is not delayed. Phone numbers are read apart, digit by digit.
//! The shown text and the verdict do not depend on how the answer was cut into pieces.

mod lexer;
mod matcher;
mod numbers;
mod table;
#[cfg(test)]
mod tests;

use protocol::Language;

use self::lexer::{Event, Lexer};
use self::matcher::Matcher;
use self::numbers::Numbers;
use self::table::{LabelSet, RULES, Rule};
use crate::{Kinds, Level};

/// Rule that an answer broke, such as `methods`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule's id in the data.
    pub rule: &'static str,
    /// What the companion says in place of the rest of the answer.
    pub replacement: &'static str,
    /// The clean text held back until now, which may still be shown before the replacement.
    pub clean: String,
}

/// What an answer is screened for.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScreenContext {
    /// Level remembered; at [`Level::High`] and above text is released sentence by sentence.
    pub level: Level,
    /// Kinds remembered.
    pub kinds: Kinds,
    /// Language of the replacement.
    pub language: Language,
}

/// Screen of one answer.
#[derive(Debug)]
pub struct Screen {
    context: ScreenContext,
    lexer: Lexer,
    matcher: Matcher,
    numbers: Numbers,
    /// Text not released yet, which begins at byte `from` of the answer.
    held: String,
    from: usize,
    /// Byte after the last whole sentence.
    sentence: usize,
    broken: Option<&'static Rule>,
}

/// A rule broken from byte `start` of the answer on.
#[derive(Debug, Clone, Copy)]
struct Found {
    rule: usize,
    start: usize,
}

impl Screen {
    /// Returns a screen for an answer of which nothing came yet.
    pub fn new(context: ScreenContext) -> Self {
        Self {
            context,
            lexer: Lexer::default(),
            matcher: Matcher::new(context),
            numbers: Numbers::default(),
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
        let Self { lexer, matcher, numbers, sentence, .. } = self;
        let mut found = None;
        lexer.read(char, at, &mut |event, word| {
            // What follows in the same character no longer counts.
            if found.is_none() {
                found = step(matcher, numbers, sentence, event, word);
            }
        });
        found.map_or(Ok(()), |found| Err(self.stop(found)))
    }

    /// Byte up to which nothing that could still become a violation is.
    fn hold(&self) -> usize {
        let (partial, start) = self.lexer.partial();
        let hold = self.matcher.hold(partial, start).min(self.numbers.hold(partial, start));
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
        let until = if whole_sentences { found.start.min(self.sentence) } else { found.start };
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

fn step(matcher: &mut Matcher, numbers: &mut Numbers, sentence: &mut usize, event: Event, word: &str) -> Option<Found> {
    match event {
        Event::Word { start } => {
            let labels = LabelSet::of(word);
            let number = numbers.word(word, &labels, start);
            earliest(number, matcher.word(&labels, start))
        }
        Event::Digits { start } => {
            let number = numbers.digits(word, start);
            earliest(number, matcher.word(&LabelSet::of_number(), start))
        }
        Event::Separator(char) => {
            numbers.separator(char);
            if matches!(char, '"' | '«' | '»' | '“' | '”') {
                matcher.quote(char);
            }
            None
        }
        Event::Clause => {
            matcher.clause();
            None
        }
        Event::Opening { end } | Event::Sentence { end, .. } => {
            let question = matches!(event, Event::Sentence { question: true, .. });
            let opening = matches!(event, Event::Opening { .. });
            let found = earliest(numbers.end(), matcher.end(question, opening));
            // A sentence that breaks a rule at its end is not a whole one.
            if found.is_none() {
                *sentence = end;
            }
            found
        }
    }
}

fn earliest(one: Option<Found>, other: Option<Found>) -> Option<Found> {
    one.into_iter().chain(other).min_by_key(|found| (found.start, found.rule))
}

/// Returns the ids of the rules with their replacements, in the order of the data.
pub fn rules(language: Language) -> impl Iterator<Item = (&'static str, &'static str)> {
    RULES.iter().map(move |rule| match language {
        Language::Spanish => (rule.id, rule.es),
        Language::English => (rule.id, rule.en),
    })
}
