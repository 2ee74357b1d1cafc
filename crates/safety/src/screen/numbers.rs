//! Phone numbers that are in no data file.
//!
//! Digits in groups, however they are set apart, and digits in words ("ocho cero cero"). Dates, years,
//! prices, times, counting and breathing patterns are no phone numbers; short ones are only where they are
//! given as a number to call or to write to.

mod shape;
mod words;

use protocol::Country;
use shape::{is_in_parts, is_list, is_phone, is_rising, is_short, is_time, known};
use words::{SPELLED, compose, keypad, spelled};

use super::Found;
use super::lexer::Partial;
use super::table::{
    AND, BEFORE_YEAR, CALL, COUNT, CURRENCY, DIGIT, HOUR, JOIN, LISTED, LabelSet, MESSAGE, OR, PHONE, TO, UNCOUNTED,
    UNIT,
};

/// Longer runs are read in parts.
const MAX_GROUPS: usize = 24;
/// Words after a word such as "llamá" in which a short number is one to call.
const REACH: u32 = 6;
/// Digits from which a number behind "mensaje" is that of a service, not the message's ordinal.
const LONG_FOR_AN_ORDINAL: usize = 5;

#[derive(Debug, Clone)]
struct Group {
    digits: String,
    start: usize,
    /// Gap between it and the group before.
    before: Gap,
    /// Written as a word.
    spelled: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Gap {
    #[default]
    None,
    Blank,
    Dash,
    Dot,
    Slash,
    Comma,
    Bracket,
    /// A word such as "y".
    Word,
    /// A word such as "o": another number follows, not a part of the same one.
    Or,
    Line,
}

#[derive(Debug, Default)]
pub(super) struct Numbers {
    groups: Vec<Group>,
    /// Groups of the runs before a word such as "y", or a line break: parts of one number, maybe.
    earlier: Vec<Group>,
    earlier_held: Option<usize>,
    /// Gap behind them.
    joint: Gap,
    /// Numbers before an "o" that are to be called, unless the next word shows that they count something.
    alternative: Option<Found>,
    /// From here on the run is held back; `None` while it is one or two digits in words.
    held: Option<usize>,
    gap: Gap,
    /// `+` or a bracket before the run.
    plus: bool,
    /// Words of the sentence so far, and their number before the run.
    words: u32,
    words_before: u32,
    called: Option<u32>,
    /// The last word such as "mensaje": one is sent to a number, or has one.
    message: Option<u32>,
    counted: Option<u32>,
    /// The run followed a word such as "en", "desde".
    after_year_word: bool,
    last_was_year_word: bool,
    /// "A las" before the run: a time.
    after_hour_word: bool,
    last_was_hour_word: bool,
    /// A sign of money stood before the run.
    money: bool,
    /// An "y" that may join tens and units.
    joined: bool,
    /// Only its numbers pass; without it, those of all countries.
    country: Option<Country>,
}

impl Numbers {
    pub(super) fn new(country: Option<Country>) -> Self {
        Self { country, ..Self::default() }
    }

    /// Takes a word that is no digits.
    pub(super) fn word(&mut self, word: &str, labels: &LabelSet, start: usize) -> Option<Found> {
        if let Some(value) = spelled(word).filter(|_| labels.contains(DIGIT)) {
            self.group(value.to_owned(), start, true);
            self.words += 1;
            return None;
        }
        if labels.contains(AND) && self.groups.last().is_some_and(|group| group.spelled) && !self.joined {
            self.joined = true;
            self.words += 1;
            return None;
        }
        let letters = self.gap == Gap::Dash && self.count() >= 4;
        if letters && (3..=8).contains(&word.len()) && self.vanity() {
            self.group(keypad(word), start, false);
            return None;
        }
        let joint = if labels.contains(JOIN) {
            Gap::Word
        } else if labels.contains(OR) {
            Gap::Or
        } else {
            Gap::None
        };
        let found = self.close(Some(Next { word, labels }), joint);
        self.words += 1;
        if labels.contains(CALL) || labels.contains(TO) && self.within(self.message, REACH) {
            self.called = Some(self.words);
        }
        if labels.contains(MESSAGE) {
            self.message = Some(self.words);
        }
        if labels.contains(COUNT) {
            self.counted = Some(self.words);
        }
        self.last_was_year_word = labels.contains(BEFORE_YEAR);
        self.last_was_hour_word = labels.contains(HOUR);
        self.money = labels.contains(CURRENCY);
        found
    }

    pub(super) fn digits(&mut self, digits: &str, start: usize) -> Option<Found> {
        self.group(digits.to_owned(), start, false);
        None
    }

    pub(super) fn separator(&mut self, char: char) {
        let gap = match char {
            '-' | '_' | '~' => Gap::Dash,
            '.' => Gap::Dot,
            '/' => Gap::Slash,
            ',' => Gap::Comma,
            '(' | '[' => Gap::Bracket,
            ':' => Gap::None,
            _ => Gap::Blank,
        };
        match char {
            '+' => self.plus = true,
            '$' | '€' | '£' => self.money = true,
            _ => {}
        }
        // A time: its parts are no groups of one number.
        if char == ':' && !self.groups.is_empty() {
            self.groups.clear();
            self.held = None;
        }
        if gap != Gap::Blank || self.gap == Gap::None {
            self.gap = gap;
        }
    }

    /// Takes the end of a sentence.
    pub(super) fn end(&mut self) -> Option<Found> {
        let found = self.close(None, Gap::None);
        *self = Self::new(self.country);
        found
    }

    /// Takes a line break that ends a sentence: a number may go on behind it.
    pub(super) fn line(&mut self) -> Option<Found> {
        self.close(None, Gap::Line)
    }

    /// Byte from which on text is held back for a run that may become a phone number: written digits, and words once
    /// they make three.
    pub(super) fn hold(&self, partial: Partial<'_>, start: usize) -> usize {
        let before = self.count();
        let makes_three =
            |(spelled, digits): &(&str, &str), word| is_long(before + digits.len()) && spelled.starts_with(word);
        let begins = match partial {
            Partial::Digits => true,
            Partial::Word(word) => SPELLED.iter().any(|number| makes_three(number, word)),
            Partial::None => false,
        };
        let held = self.earlier_held.or(self.held).or(begins.then_some(start)).unwrap_or(usize::MAX);
        self.alternative.map_or(held, |found| found.hold.min(held))
    }

    /// Digits of the run so far.
    fn count(&self) -> usize {
        self.groups.iter().map(|group| group.digits.len()).sum()
    }

    fn group(&mut self, digits: String, start: usize, spelled: bool) {
        if self.groups.is_empty() {
            self.after_year_word = self.last_was_year_word;
            self.after_hour_word = self.last_was_hour_word;
            self.words_before = self.words;
        }
        if !spelled || is_long(self.count() + digits.len()) {
            self.held.get_or_insert(start);
        }
        if self.groups.len() >= MAX_GROUPS {
            self.groups.remove(0);
        }
        let before = std::mem::take(&mut self.gap);
        let joined = std::mem::take(&mut self.joined);
        if let Some(last) = self.groups.last_mut().filter(|last| spelled && last.spelled)
            && let Some(sum) = compose(&last.digits, &digits, joined)
        {
            last.digits = sum;
            return;
        }
        self.groups.push(Group { digits, start, before, spelled });
    }

    /// Returns `true` if the word at `seen` is among the last `reach` ones.
    fn within(&self, seen: Option<u32>, reach: u32) -> bool {
        seen.is_some_and(|seen| self.words.saturating_sub(seen) <= reach)
    }

    fn vanity(&self) -> bool {
        let free = ["0800", "0810", "01800", "1800", "800", "900", "1"];
        self.groups.first().is_some_and(|group| free.contains(&group.digits.as_str()))
    }

    /// Ends the run; `next` is the word after it, and `joint` what may join it to a run that follows.
    fn close(&mut self, next: Option<Next<'_>>, joint: Gap) -> Option<Found> {
        let (groups, held) = (std::mem::take(&mut self.groups), self.held.take());
        let (plus, money) = (std::mem::take(&mut self.plus), std::mem::take(&mut self.money));
        let alternative = self.alternative.take();
        self.gap = Gap::None;
        self.joined = false;
        if groups.is_empty() {
            if joint == Gap::None {
                self.earlier.clear();
                self.earlier_held = None;
            }
            return alternative;
        }
        let money = money || next.is_some_and(|next| next.labels.contains(CURRENCY));
        let run = Run { plus, money, ..self.run(&groups, next) };
        let found = alternative.filter(|_| !run.counts && !run.money).or_else(|| run.find(&groups, held));
        if joint == Gap::Or && !plus && found.is_some() && (alternative.is_some() || is_list(&groups)) {
            self.alternative = found;
            return None;
        }
        found.or_else(|| self.join(groups, held, joint, run))
    }

    /// The conditions under which the digits of `groups` are a number to call.
    fn run(&self, groups: &[Group], next: Option<Next<'_>>) -> Run {
        let is_next = |label| next.is_some_and(|next| next.labels.contains(label));
        let small = groups.iter().all(|group| group.digits.len() <= 4);
        let counts = is_next(UNIT) || is_next(CURRENCY) || small && next.is_some_and(Next::is_plural);
        let digits = groups.iter().map(|group| group.digits.len()).sum::<usize>();
        let writes = self.within(self.message, 1) && LONG_FOR_AN_ORDINAL <= digits;
        let is_called = self.called.is_some_and(|called| self.words_before.saturating_sub(called) <= REACH);
        let calls = is_called || writes || is_next(LISTED);
        let time = self.after_hour_word && is_time(groups);
        let short = calls && !time && !self.after_year_word && !self.within(self.counted, 3);
        Run { plus: false, money: false, calls, short, counts, country: self.country }
    }

    /// Joins the run to those before it, and keeps it for one that may follow.
    fn join(&mut self, mut groups: Vec<Group>, held: Option<usize>, joint: Gap, run: Run) -> Option<Found> {
        let mut all = std::mem::take(&mut self.earlier);
        let earlier_held = self.earlier_held.take();
        if let Some(first) = groups.first_mut().filter(|_| !all.is_empty()) {
            first.before = self.joint;
        }
        all.append(&mut groups);
        let start = all.first()?.start;
        let hold = earlier_held.or(held);
        let joins = |group: &Group| matches!(group.before, Gap::Word | Gap::Line);
        if all.iter().any(joins) && !run.counts && !run.money && is_in_parts(&all, run) {
            return Some(Found { start, hold: hold.map_or(start, |held| held.max(start)), rule: PHONE });
        }
        if matches!(joint, Gap::Word | Gap::Line) && hold.is_some() && all.len() <= MAX_GROUPS {
            self.earlier = all;
            self.earlier_held = hold;
            self.joint = joint;
        }
        None
    }
}

/// The word behind a run of digits.
#[derive(Debug, Clone, Copy)]
struct Next<'a> {
    word: &'a str,
    labels: &'a LabelSet,
}

impl Next<'_> {
    /// Returns `true` if it looks like the plural of a unit ("renglones", "sentences").
    fn is_plural(self) -> bool {
        let known = [UNCOUNTED, CALL, TO, LISTED, DIGIT].into_iter().any(|label| self.labels.contains(label));
        5 <= self.word.len() && self.word.ends_with('s') && !known
    }
}

/// Properties of a run of digits.
#[derive(Debug, Clone, Copy)]
struct Run {
    plus: bool,
    money: bool,
    /// It follows a word such as "llamá".
    calls: bool,
    /// A short one counts.
    short: bool,
    /// Its last group counts something.
    counts: bool,
    country: Option<Country>,
}

impl Run {
    fn find(self, groups: &[Group], held: Option<usize>) -> Option<Found> {
        // "2222 (24 h)", "2222, 24 h": the counted group is not part of the number.
        let counted = |group: &Group| matches!(group.before, Gap::Bracket | Gap::Comma);
        let (groups, counts) = match groups {
            [first @ .., last] if self.counts && !first.is_empty() && counted(last) && !is_rising(groups) => {
                (first, false)
            }
            _ => (groups, self.counts),
        };
        let short = self.short && !counts;
        let mut from = 0;
        while from < groups.len() {
            if let Some(len) = known(groups, from, self.country) {
                from += len;
                continue;
            }
            let until = (from + 1..groups.len())
                .find(|&next| known(groups, next, self.country).is_some())
                .unwrap_or(groups.len());
            let part = &groups[from..until];
            if is_phone(part, self) || short && is_short(part) {
                return part.first().map(|group| Found {
                    start: group.start,
                    hold: held.map_or(group.start, |held| held.max(group.start)),
                    rule: PHONE,
                });
            }
            from = until;
        }
        None
    }
}

/// Returns `true` if a number of so many digits may be one to call.
fn is_long(digits: usize) -> bool {
    3 <= digits
}
