//! Words, digits and ends of sentences in a stream of characters.

use unicode_normalization::UnicodeNormalization;

/// A longer word is in no pattern.
const MAX_WORD: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Word {
        start: usize,
    },
    Digits {
        start: usize,
    },
    /// A comma or a colon.
    Clause,
    /// Between words; only where it matters to numbers.
    Separator(char),
    /// `¿`; `end` is where it stands.
    Opening {
        end: usize,
    },
    /// `end` is the byte after it.
    Sentence {
        end: usize,
        question: bool,
    },
    /// A sentence that a line break ends.
    Line {
        end: usize,
    },
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Mode {
    #[default]
    Between,
    Letters,
    Digits,
}

#[derive(Debug, Default)]
pub(super) struct Lexer {
    mode: Mode,
    /// The word being read, in lower case without accents.
    current: String,
    start: usize,
    /// A dot after digits, and the byte after it: a decimal or the end of a sentence.
    dot: Option<usize>,
}

/// Takes the events, each with its word or digits.
pub(super) type Sink<'a> = dyn FnMut(Event, &str) + 'a;

impl Lexer {
    /// Returns the word being read and the byte at which it began; an empty one begins at the end.
    pub(super) fn partial(&self) -> (Partial<'_>, usize) {
        match (self.mode, self.dot) {
            (Mode::Letters, _) => (Partial::Word(&self.current), self.start),
            (Mode::Digits, _) => (Partial::Digits, self.start),
            (Mode::Between, Some(end)) => (Partial::None, end),
            (Mode::Between, None) => (Partial::None, usize::MAX),
        }
    }

    /// Returns `true` if a sentence may end with this character.
    pub(super) fn may_end(&self, char: Option<char>) -> bool {
        self.dot.is_some() || char.is_none_or(|char| !(char.is_alphabetic() || matches!(char, ' ' | ',' | '0'..='9')))
    }

    /// Reads the character at byte `at`, or the end of the answer.
    pub(super) fn read(&mut self, char: Option<char>, at: usize, sink: &mut Sink<'_>) {
        let Some(char) = char else {
            self.flush(sink);
            return sink(Event::Sentence { end: at, question: false }, "");
        };
        if char.is_ascii() {
            self.read_folded(char, char, at, sink);
        } else if let Some(plain) = punctuation(char) {
            self.read_folded(plain, char, at, sink);
        } else if !is_invisible(char) {
            for folded in fold(char) {
                self.read_folded(folded, char, at, sink);
            }
        }
    }

    fn read_folded(&mut self, folded: char, char: char, at: usize, sink: &mut Sink<'_>) {
        let end = at + char.len_utf8();
        match folded {
            'a'..='z' | 'A'..='Z' => self.extend(Mode::Letters, folded.to_ascii_lowercase(), at, sink),
            '0'..='9' => {
                if self.dot.take().is_some() {
                    sink(Event::Separator('.'), "");
                }
                self.extend(Mode::Digits, folded, at, sink);
            }
            '\'' | '`' if self.mode == Mode::Letters => {}
            '.' if self.mode == Mode::Digits => {
                self.flush(sink);
                self.dot = Some(end);
            }
            '\n' => {
                self.flush(sink);
                sink(Event::Line { end }, "");
            }
            '.' | '!' | '?' | ';' => {
                self.flush(sink);
                sink(Event::Sentence { end, question: folded == '?' }, "");
            }
            '¿' => {
                self.flush(sink);
                sink(Event::Opening { end: at }, "");
            }
            ',' | ':' => {
                self.flush(sink);
                sink(Event::Separator(folded), "");
                sink(Event::Clause, "");
            }
            _ if folded.is_alphabetic() => self.extend(Mode::Letters, '\u{7f}', at, sink),
            _ => {
                self.flush(sink);
                sink(Event::Separator(folded), "");
            }
        }
    }

    fn extend(&mut self, mode: Mode, char: char, at: usize, sink: &mut Sink<'_>) {
        if self.mode != mode {
            self.flush(sink);
            self.mode = mode;
            self.start = at;
        }
        if self.current.len() < MAX_WORD {
            self.current.push(char);
        }
    }

    /// Ends the word being read, and a sentence whose dot was no decimal point.
    fn flush(&mut self, sink: &mut Sink<'_>) {
        let start = self.start;
        match std::mem::take(&mut self.mode) {
            Mode::Between => {}
            Mode::Letters => sink(Event::Word { start }, &self.current),
            Mode::Digits => sink(Event::Digits { start }, &self.current),
        }
        self.current.clear();
        if let Some(end) = self.dot.take() {
            sink(Event::Sentence { end, question: false }, "");
        }
    }
}

/// State of the word being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partial<'a> {
    None,
    Word(&'a str),
    Digits,
}

/// Returns the plain characters of one: several for a ligature ("ﬁ"), the ASCII digit for one of another script.
pub(super) fn fold(char: char) -> impl Iterator<Item = char> {
    let plain = std::iter::once(char).nfkd().filter(|char| !is_mark(*char)).flat_map(char::to_lowercase);
    plain.map(|char| digit(char).unwrap_or_else(|| latin(char)))
}

fn digit(char: char) -> Option<char> {
    let ten = ZEROS.iter().map(|zero| u32::from(char).wrapping_sub(u32::from(*zero))).find(|value| *value < 10);
    let one = ONES.iter().map(|one| u32::from(char).wrapping_sub(u32::from(*one))).find(|value| *value < 9);
    char::from_digit(ten.or(one.map(|value| value + 1))?, 10)
}

/// Zeros of the scripts whose digits have no compatible form in ASCII.
#[rustfmt::skip]
const ZEROS: &[char] = &[
    '\u{660}', '\u{6f0}', '\u{7c0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{b66}', '\u{be6}', '\u{c66}',
    '\u{ce6}', '\u{d66}', '\u{de6}', '\u{e50}', '\u{ed0}', '\u{f20}', '\u{1040}', '\u{1090}', '\u{17e0}', '\u{1810}',
    '\u{1946}', '\u{19d0}', '\u{1a80}', '\u{1a90}', '\u{1b50}', '\u{1bb0}', '\u{1c40}', '\u{1c50}', '\u{a620}',
    '\u{a8d0}', '\u{a900}', '\u{a9d0}', '\u{a9f0}', '\u{aa50}', '\u{abf0}', '\u{104a0}', '\u{11066}', '\u{110f0}',
    '\u{11136}', '\u{111d0}', '\u{11450}', '\u{114d0}', '\u{11650}', '\u{116c0}', '\u{118e0}', '\u{11c50}', '\u{16a60}',
];

/// Ones of digits in circles that have no compatible form, and of dingbats.
const ONES: &[char] = &['\u{2776}', '\u{2780}', '\u{278a}', '\u{24f5}'];

fn is_mark(char: char) -> bool {
    unicode_normalization::char::is_combining_mark(char)
}

/// Zero-width characters, soft hyphen, marks of direction, variation selectors.
pub(super) fn is_invisible(char: char) -> bool {
    matches!(char, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}')
        || is_mark(char)
}

pub(super) fn punctuation(char: char) -> Option<char> {
    Some(match char {
        '¿' => char,
        '’' | '‘' | 'ʼ' | '´' => '\'',
        '…' | '。' => '.',
        '\u{2010}'..='\u{2015}' | '−' => '-',
        '\u{a0}' | '\u{202f}' | '\u{2009}' => ' ',
        '\u{85}' | '\u{2028}' | '\u{2029}' => '\n',
        _ => return None,
    })
}

/// The Latin letter that a Cyrillic or Greek one looks like.
fn latin(char: char) -> char {
    match char {
        'а' | 'α' => 'a',
        'е' | 'ε' => 'e',
        'о' | 'ο' => 'o',
        'р' | 'ρ' => 'p',
        'с' => 'c',
        'х' | 'χ' => 'x',
        'у' | 'υ' => 'y',
        'і' | 'ι' | 'ı' => 'i',
        'к' | 'κ' => 'k',
        'м' => 'm',
        'т' | 'τ' => 't',
        'н' => 'h',
        'в' => 'b',
        'ν' => 'v',
        'ѕ' => 's',
        'ј' => 'j',
        'ł' => 'l',
        'ø' => 'o',
        _ => char,
    }
}
