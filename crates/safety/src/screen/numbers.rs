//! Phone numbers that are in no data file.
//!
//! Digits in groups, however they are set apart, and digits in words ("ocho cero cero"). Dates, years,
//! prices, times, counting and breathing patterns are no phone numbers; short ones are only where they are
//! given as a number to call or to write to.

use super::Found;
use super::lexer::Partial;
use super::table::{
    AND, BEFORE_YEAR, CALL, COUNT, CURRENCY, DIGIT, HOUR, JOIN, LISTED, LabelSet, MESSAGE, OR, PHONE, TO, UNCOUNTED,
    UNIT,
};
use crate::resources::is_known_number;

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
}

impl Numbers {
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
        *self = Self::default();
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
        Run { plus: false, money: false, calls, short, counts }
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
        if all.iter().any(joins) && !run.counts && !run.money && is_in_parts(&all, run.calls) {
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
            if let Some(len) = known(groups, from) {
                from += len;
                continue;
            }
            let until = (from + 1..groups.len()).find(|&next| known(groups, next).is_some()).unwrap_or(groups.len());
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

/// Number of groups from `from` on that make a known number, the longest. A short one stands alone, or between
/// slashes, commas and brackets: it may be part of a longer number otherwise.
fn known(groups: &[Group], from: usize) -> Option<usize> {
    let apart = |index: usize| {
        groups.get(index).is_none_or(|group| matches!(group.before, Gap::Slash | Gap::Comma | Gap::Bracket))
    };
    (1..=(groups.len() - from).min(8)).rev().find(|&len| {
        let digits: String = groups[from..from + len].iter().map(|group| group.digits.as_str()).collect();
        let alone = (from == 0 || apart(from)) && apart(from + len);
        digits.len() >= 3 && is_known_number(&digits) && (digits.len() >= 7 || alone)
    })
}

fn is_short(groups: &[Group]) -> bool {
    let total: usize = groups.iter().map(|group| group.digits.len()).sum();
    let singles = groups.iter().all(|group| group.digits.len() == 1);
    let same = groups.windows(2).all(|pair| pair[0].digits == pair[1].digits);
    match groups {
        [group] => (3..=6).contains(&total) && !group.digits.starts_with("000"),
        _ => {
            (3..=6).contains(&total)
                && (singles && (same || !is_counting(groups))
                    || groups.iter().all(|group| group.digits.len() >= 2)
                    || groups.iter().any(|group| group.digits.len() >= 3))
        }
    }
}

fn is_phone(groups: &[Group], run: Run) -> bool {
    let Run { plus, money, calls, counts, short } = run;
    let total: usize = groups.iter().map(|group| group.digits.len()).sum();
    let longest = groups.iter().map(|group| group.digits.len()).max().unwrap_or(0);
    if !(7..=40).contains(&total) || is_counting(groups) || is_date(groups) || is_years(groups) {
        return false;
    }
    if !plus && (money || is_amount(groups, total)) {
        return false;
    }
    if !plus && counts && 2 <= groups.len() && is_list(groups) && is_rising(groups) {
        return false;
    }
    let commas = groups.iter().skip(1).any(|group| group.before == Gap::Comma);
    let listed = commas && !groups.iter().all(|group| group.spelled);
    // `11, 4555, 1234`: only the first may be short, or all where they are to be called.
    if listed && !calls && (groups.iter().skip(1).any(|group| group.digits.len() < 3) || is_years(&groups[1..])) {
        return false;
    }
    // Times and lists have no group of three; a number spelled digit by digit has none either.
    plus || longest >= 3 || groups.len() == total || pairs(groups) || short && !counts && 4 <= groups.len()
}

/// `10, 20`, `100`, `1000, 2000`: with the next word they may count something.
fn is_list(groups: &[Group]) -> bool {
    groups.iter().all(|group| group.digits.len() <= 4) && groups.iter().skip(1).all(|group| group.before == Gap::Comma)
}

/// `50, 100, 250`, `90, 60`: rising or falling, as counts are.
fn is_rising(groups: &[Group]) -> bool {
    let values: Vec<u32> = groups.iter().filter_map(|group| group.digits.parse().ok()).collect();
    let one_length = groups.windows(2).all(|pair| pair[0].digits.len() == pair[1].digits.len());
    let one_way = values.windows(2).all(|pair| pair[0] < pair[1]) || values.windows(2).all(|pair| pair[0] > pair[1]);
    one_way && (one_length || 3 <= groups.len())
}

/// `11` and `4555`, `1234` behind words or line breaks that join them to one number.
fn is_in_parts(groups: &[Group], calls: bool) -> bool {
    let total: usize = groups.iter().map(|group| group.digits.len()).sum();
    let known = groups.iter().any(|group| group.digits.len() >= 3 && is_known_number(&group.digits));
    let lines = groups.iter().all(|group| !group.spelled && group.before != Gap::Word);
    let least = if calls { 6 } else { 8 };
    (least..=20).contains(&total)
        && (calls || lines)
        && !known
        && groups.iter().any(|group| group.digits.len() >= 3)
        && !groups.iter().any(|group| is_years(std::slice::from_ref(group)))
        && !is_counting(groups)
}

/// `1830`, `18 30`, `730`.
fn is_time(groups: &[Group]) -> bool {
    let digits: String = groups.iter().map(|group| group.digits.as_str()).collect();
    let time = digits.parse::<u32>().ok().filter(|_| matches!(digits.len(), 3 | 4));
    time.is_some_and(|time| time / 100 < 25 && time % 100 < 60)
}

/// `11 52 75 11 35`: pairs without commas.
fn pairs(groups: &[Group]) -> bool {
    groups.len() >= 4
        && groups.iter().all(|group| group.digits.len() <= 2)
        && groups.iter().skip(1).all(|group| group.before != Gap::Comma)
}

/// `1-2-3-4`, `5 4 3 2 1`, `4-4-4-4`, `4-7-8`, `10 20 30`.
fn is_counting(groups: &[Group]) -> bool {
    let values: Vec<i64> = groups.iter().filter_map(|group| group.digits.parse().ok()).collect();
    if values.len() < 3 || groups.iter().any(|group| group.digits.len() > 3) {
        return false;
    }
    let steps: Vec<i64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let even = steps.windows(2).all(|pair| pair[0] == pair[1]);
    let breath = values.len().is_multiple_of(3) && values.chunks(3).all(|three| three == [4, 7, 8]);
    even && steps.first().is_some_and(|step| step.abs() <= 10) || breath
}

fn is_date(groups: &[Group]) -> bool {
    let lengths: Vec<usize> = groups.iter().map(|group| group.digits.len()).collect();
    let gap = groups.get(1).map(|group| group.before);
    let same = groups.iter().skip(1).all(|group| Some(group.before) == gap && group.before != Gap::Blank);
    let values: Vec<u32> = groups.iter().filter_map(|group| group.digits.parse().ok()).collect();
    let [year, one, other] = match (&lengths[..], &values[..]) {
        ([1 | 2, 1 | 2, 4], &[one, other, year]) | ([4, 1 | 2, 1 | 2], &[year, one, other]) => [year, one, other],
        _ => return false,
    };
    same && (1900..2100).contains(&year) && one.min(other) <= 12 && one.max(other) <= 31
}

/// `2019-2024`, `2019 2020 2021`.
fn is_years(groups: &[Group]) -> bool {
    groups
        .iter()
        .all(|group| group.digits.len() == 4 && (group.digits.starts_with("19") || group.digits.starts_with("20")))
}

/// `1.500.000`, `1,500,000`, `10000000`.
fn is_amount(groups: &[Group], total: usize) -> bool {
    match groups {
        [group] => group.digits.ends_with("0000"),
        [first, rest @ ..] => {
            let gap = rest.first().map(|group| group.before);
            total <= 8
                && first.digits.len() <= 3
                && rest.iter().all(|group| group.digits.len() == 3 && Some(group.before) == gap)
                && matches!(gap, Some(Gap::Dot | Gap::Comma))
        }
        [] => false,
    }
}

/// "treinta" and "cinco" make 35, "ciento" and "treinta y cinco" 135.
fn compose(one: &str, other: &str, joined: bool) -> Option<String> {
    let (a, b): (u32, u32) = (one.parse().ok()?, other.parse().ok()?);
    let hundreds = a >= 100 && a.is_multiple_of(100) && (1..100).contains(&b);
    let tens = (20..100).contains(&(a % 100)) && a.is_multiple_of(10) && (1..10).contains(&b) && joined;
    let english = (20..100).contains(&a) && a.is_multiple_of(10) && (1..10).contains(&b);
    (hundreds || tens || english).then(|| (a + b).to_string())
}

/// Returns `true` if a number of so many digits may be one to call.
fn is_long(digits: usize) -> bool {
    3 <= digits
}

fn spelled(word: &str) -> Option<&'static str> {
    SPELLED.iter().find(|(spelled, _)| *spelled == word).map(|(_, value)| *value)
}

/// Digits of the letters on a telephone's keys.
fn keypad(word: &str) -> String {
    let key = |byte: u8| match byte {
        b'a'..=b'c' => '2',
        b'd'..=b'f' => '3',
        b'g'..=b'i' => '4',
        b'j'..=b'l' => '5',
        b'm'..=b'o' => '6',
        b'p'..=b's' => '7',
        b't'..=b'v' => '8',
        _ => '9',
    };
    word.bytes().map(key).collect()
}

/// Words of the class DIGIT with their digits.
#[rustfmt::skip]
const SPELLED: &[(&str, &str)] = &[
    ("cero", "0"), ("uno", "1"), ("dos", "2"), ("tres", "3"), ("cuatro", "4"), ("cinco", "5"), ("seis", "6"),
    ("siete", "7"), ("ocho", "8"), ("nueve", "9"), ("diez", "10"), ("once", "11"), ("doce", "12"), ("trece", "13"),
    ("catorce", "14"), ("quince", "15"), ("dieciseis", "16"), ("diecisiete", "17"), ("dieciocho", "18"),
    ("diecinueve", "19"), ("veinte", "20"), ("veintiuno", "21"), ("veintidos", "22"), ("veintitres", "23"),
    ("veinticuatro", "24"), ("veinticinco", "25"), ("veintiseis", "26"), ("veintisiete", "27"), ("veintiocho", "28"),
    ("veintinueve", "29"), ("treinta", "30"), ("cuarenta", "40"), ("cincuenta", "50"), ("sesenta", "60"),
    ("setenta", "70"), ("ochenta", "80"), ("noventa", "90"), ("cien", "100"), ("ciento", "100"),
    ("doscientos", "200"), ("trescientos", "300"), ("cuatrocientos", "400"), ("quinientos", "500"),
    ("seiscientos", "600"), ("setecientos", "700"), ("ochocientos", "800"), ("novecientos", "900"),
    ("zero", "0"), ("oh", "0"), ("one", "1"), ("two", "2"), ("three", "3"), ("four", "4"), ("five", "5"), ("six", "6"),
    ("seven", "7"), ("eight", "8"), ("nine", "9"), ("ten", "10"), ("eleven", "11"), ("twelve", "12"),
    ("thirteen", "13"), ("fourteen", "14"), ("fifteen", "15"), ("sixteen", "16"), ("seventeen", "17"),
    ("eighteen", "18"), ("nineteen", "19"), ("twenty", "20"), ("thirty", "30"), ("forty", "40"), ("fifty", "50"),
    ("sixty", "60"), ("seventy", "70"), ("eighty", "80"), ("ninety", "90"),
];
