//! Reads a text as tokens: folded to plain letters, each with its place in the text as written.

mod characters;

use unicode_normalization::char::decompose_compatible;

use super::lexicon::NO_SYMBOLS;
use super::tables::Lexicon;
use characters::{is_emoji, is_invisible, latin, leet_letter, skip_sequence};

/// Most words with hidden letters that are looked up: each costs a walk over the risk words.
const MAX_MASKED: usize = 4;
/// Most letters without spaces that are taken apart: each costs a look-up of all words that may begin there.
const MAX_TAKEN_APART: usize = 2_048;

/// A word, number or emoji of a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    /// Set of symbols.
    pub set: u32,
    pub known: bool,
    /// Bytes of the text as written.
    pub begin: u32,
    pub end: u32,
    /// Boundary before it.
    pub boundary: Boundary,
    pub quoted: bool,
    /// Range in the folded text.
    folded: (u32, u32),
}

/// Boundary between a token and the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Boundary {
    #[default]
    None,
    /// Ends a clause.
    Soft,
    /// Ends a sentence.
    Hard,
}

/// A text as read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub tokens: Vec<Token>,
    folded: Vec<u8>,
}

impl Reading {
    /// Returns the folded letters of `token`.
    pub(crate) fn word(&self, token: &Token) -> &[u8] {
        self.folded.get(wide(token.folded.0)..wide(token.folded.1)).unwrap_or_default()
    }
}

/// Reads `text`.
pub(crate) fn reading(lexicon: &Lexicon, text: &str) -> Reading {
    let mut reader = Reader {
        lexicon,
        tokens: Vec::with_capacity(text.len() / 5 + 4),
        folded: Vec::with_capacity(text.len() + 16),
        origin: Vec::with_capacity(text.len() + 16),
        chunk: Chunk::default(),
        boundary: Boundary::Hard,
        quoted_since: None,
        masked: 0,
        taken_apart: 0,
    };
    reader.read(text);
    reader.join_letters();
    Reading { tokens: reader.tokens, folded: reader.folded }
}

struct Reader<'a> {
    lexicon: &'a Lexicon,
    tokens: Vec<Token>,
    folded: Vec<u8>,
    /// Places in the text of the bytes of `folded`.
    origin: Vec<u32>,
    chunk: Chunk,
    boundary: Boundary,
    /// First token of a quotation that is not closed yet.
    quoted_since: Option<usize>,
    masked: usize,
    taken_apart: usize,
}

/// The word being read.
#[derive(Debug, Default, Clone, Copy)]
struct Chunk {
    begin: usize,
    letters: usize,
    digits: usize,
    signs: usize,
    /// The last letter has an accent as written: `mató`, not `mato`.
    accented: bool,
}

impl Reader<'_> {
    fn read(&mut self, text: &str) {
        let mut chars = text.char_indices().peekable();
        let mut end = 0;
        while let Some((at, char)) = chars.next() {
            let next = chars.peek().map_or(' ', |(_, next)| *next);
            if self.letter(at, char) {
                end = at + char.len_utf8();
                continue;
            }
            if char.is_control() && !char.is_whitespace() {
                match char {
                    '\u{8}' | '\u{7f}' => self.erase(),
                    '\u{1b}' | '\u{9b}' => skip_sequence(char, &mut chars),
                    _ => {}
                }
                continue;
            }
            if is_invisible(char) || self.belongs_to_word(char, next) {
                if matches!(char, '@' | '$' | '!' | '|' | '*' | '+' | '€') {
                    self.sign(at, char);
                    end = at + char.len_utf8();
                }
                continue;
            }
            let single = self.folded.len() - self.chunk.begin == 1;
            self.finish(end);
            self.mark(at, char, next, single);
        }
        self.finish(end);
    }

    /// Takes back the last letter of the word, as a terminal does for a backspace.
    fn erase(&mut self) {
        let written = self.folded.get(self.chunk.begin..).unwrap_or_default();
        // All bytes of a letter of another script.
        let bytes = written.iter().rev().take_while(|byte| matches!(byte, 0x80..=0xbf)).count() + 1;
        let kept = self.folded.len().saturating_sub(bytes).max(self.chunk.begin);
        let count = match self.folded.get(kept) {
            None => return,
            Some(byte) if byte.is_ascii_digit() => &mut self.chunk.digits,
            Some(byte) if byte.is_ascii_punctuation() => &mut self.chunk.signs,
            Some(_) => &mut self.chunk.letters,
        };
        *count = count.saturating_sub(1);
        self.folded.truncate(kept);
        self.origin.truncate(kept);
    }

    /// Adds a letter or digit to the word; returns `true` if `char` is one.
    fn letter(&mut self, at: usize, char: char) -> bool {
        match char {
            'a'..='z' | 'A'..='Z' => {
                self.push(at, u8::try_from(char.to_ascii_lowercase()).unwrap_or(b' '));
                self.chunk.letters += 1;
            }
            '0'..='9' => {
                self.push(at, u8::try_from(char).unwrap_or(b' '));
                self.chunk.digits += 1;
            }
            char if char.is_ascii() => return false,
            char => return self.foreign_letter(at, char),
        }
        true
    }

    fn foreign_letter(&mut self, at: usize, char: char) -> bool {
        if let Some(plain) = latin(char) {
            self.push(at, plain);
            self.chunk.letters += 1;
            self.chunk.accented = matches!(char, 'á' | 'é' | 'í' | 'ó' | 'ú' | 'Á' | 'É' | 'Í' | 'Ó' | 'Ú');
            return true;
        }
        if is_invisible(char) || is_emoji(char) {
            return false;
        }
        let confusables = &self.lexicon.confusables;
        if let Ok(found) = confusables.binary_search_by_key(&char, |(look, _)| *look) {
            let letters = confusables.get(found).map_or("", |(_, letters)| letters.as_str());
            self.push_all(at, letters);
            return !letters.is_empty();
        }
        if !char.is_alphanumeric() {
            return false;
        }
        let before = self.folded.len();
        decompose_compatible(char, |part| {
            if part.is_ascii() {
                self.push_plain(at, part);
            }
        });
        if self.folded.len() == before {
            // A letter of another script: part of a word that no rule knows.
            for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                self.push(at, byte);
            }
            self.chunk.letters += 1;
        }
        true
    }

    fn push_all(&mut self, at: usize, letters: &str) {
        letters.chars().for_each(|letter| self.push_plain(at, letter));
    }

    fn push_plain(&mut self, at: usize, letter: char) {
        self.push(at, u8::try_from(letter.to_ascii_lowercase()).unwrap_or(b' '));
        if letter.is_ascii_digit() {
            self.chunk.digits += 1;
        } else {
            self.chunk.letters += 1;
        }
    }

    fn push(&mut self, at: usize, byte: u8) {
        self.chunk.accented = false;
        self.folded.push(byte);
        self.origin.push(u32::try_from(at).unwrap_or(u32::MAX));
    }

    fn sign(&mut self, at: usize, char: char) {
        self.push(at, if char == '€' { b'3' } else { u8::try_from(char).unwrap_or(b'*') });
        self.chunk.signs += 1;
    }

    /// Returns `true` if a sign between letters is read as one (`m@tar`), or dropped (`don't`).
    fn belongs_to_word(&self, char: char, next: char) -> bool {
        let inside = self.folded.len() > self.chunk.begin;
        match char {
            '\'' | '\u{2019}' | '`' | '\u{b4}' | '!' | '|' | '+' | '€' => inside && next.is_alphanumeric(),
            '@' | '$' => next.is_alphanumeric(),
            '*' => next.is_alphanumeric() || (inside && next == '*'),
            _ => false,
        }
    }

    /// Records the boundary between words.
    fn mark(&mut self, at: usize, char: char, next: char, single: bool) {
        let boundary = match char {
            ' ' | '\t' | '/' | '_' | '~' | '=' | '*' | '\u{a0}' => Boundary::None,
            '-' if next.is_alphanumeric() => Boundary::None,
            '.' if single && next.is_alphanumeric() => Boundary::None,
            '.' if next.is_alphanumeric() || next == '.' || self.boundary == Boundary::Soft => Boundary::Soft,
            '.' | '!' | '?' | ';' => Boundary::Hard,
            '"' | '\u{201c}' | '\u{201d}' | '\u{ab}' | '\u{bb}' => self.quote(char),
            char if is_emoji(char) => return self.emoji(at, char),
            char if char.is_whitespace() && char != '\n' => Boundary::None,
            _ => Boundary::Soft,
        };
        self.boundary = self.boundary.max(boundary);
    }

    fn quote(&mut self, char: char) -> Boundary {
        let opens = match char {
            '\u{201c}' | '\u{ab}' => true,
            '"' => self.quoted_since.is_none(),
            _ => false,
        };
        if opens {
            self.quoted_since = Some(self.tokens.len());
        } else if let Some(first) = self.quoted_since.take() {
            for token in self.tokens.get_mut(first..).unwrap_or_default() {
                token.quoted = true;
            }
        }
        Boundary::Soft
    }

    fn emoji(&mut self, at: usize, char: char) {
        let begin = self.folded.len();
        let mut bytes = [0; 4];
        for byte in char.encode_utf8(&mut bytes).bytes() {
            self.push(at, byte);
        }
        self.chunk = Chunk { begin: self.folded.len(), ..Chunk::default() };
        let set = self.lexicon.exact(self.folded.get(begin..).unwrap_or_default());
        if set.is_none() {
            self.boundary = self.boundary.max(Boundary::Soft);
            return;
        }
        self.token(begin, self.folded.len(), at + char.len_utf8(), set);
    }

    /// Makes tokens of the word that ends before byte `end` of the text.
    fn finish(&mut self, end: usize) {
        let chunk = self.chunk;
        let to = self.folded.len();
        if to > chunk.begin {
            match chunk {
                Chunk { digits: 0, signs: 0, .. } => self.word(chunk.begin, to, end),
                Chunk { letters: 0, signs: 0, .. } => self.number(chunk.begin, to, end),
                Chunk { letters: 1.., .. } if self.leet(chunk, end) => {}
                _ => self.split(chunk.begin, end),
            }
        }
        self.chunk = Chunk { begin: self.folded.len(), ..Chunk::default() };
    }

    fn number(&mut self, begin: usize, to: usize, end: usize) {
        let set = self.lexicon.exact(self.folded.get(begin..to).unwrap_or_default());
        let number = self.lexicon.number_set;
        self.token(begin, to, end, Some(set.unwrap_or(number)));
    }

    /// Reads digits and signs as letters, where that makes a known word and is not one as written (`2nite`).
    fn leet(&mut self, chunk: Chunk, end: usize) -> bool {
        let lexicon = self.lexicon;
        let Some(written) = self.folded.get(chunk.begin..).map(<[u8]>::to_vec) else { return false };
        if self.lexicon.exact(&written).is_some() || self.lexicon.expansion(&written).is_some() {
            self.word(chunk.begin, self.folded.len(), end);
            return true;
        }
        if written.contains(&b'*') {
            self.masked += 1;
            let found = if self.masked > MAX_MASKED { None } else { self.lexicon.masked(&written) };
            if let Some(set) = found {
                self.token(chunk.begin, self.folded.len(), end, Some(set));
            }
            return found.is_some();
        }
        for one in [b'i', b'l'] {
            let read: Vec<u8> = written.iter().map(|byte| leet_letter(*byte, one)).collect();
            let found = if chunk.letters < 2 { self.lexicon.exact(&read) } else { self.lexicon.look_up(&read) };
            let apart = |reader: &mut Self| reader.may_take_apart(read.len()) && lexicon.segments(&read).is_some();
            if found.is_some() || (chunk.letters >= 2 && apart(self)) {
                let to = self.folded.len();
                if let Some(place) = self.folded.get_mut(chunk.begin..) {
                    place.copy_from_slice(&read);
                }
                self.word(chunk.begin, to, end);
                return true;
            }
        }
        false
    }

    /// Makes tokens of the letters and of the digits of a mixed word.
    fn split(&mut self, begin: usize, end: usize) {
        let to = self.folded.len();
        let kind = |byte: u8| (byte.is_ascii_digit(), matches!(byte, b'@' | b'$' | b'!' | b'|' | b'*' | b'+'));
        let mut at = begin;
        while let Some(&first) = self.folded.get(at) {
            let run = self.folded.get(at..to).unwrap_or_default();
            let length = run.iter().take_while(|byte| kind(**byte) == kind(first)).count().max(1);
            let after = at + length;
            let text_end = if after < to { self.place(after) } else { end };
            match kind(first) {
                (true, _) => self.number(at, after, text_end),
                (_, true) => {
                    self.boundary = self.boundary.max(if first == b'!' { Boundary::Hard } else { Boundary::None });
                }
                _ => self.word(at, after, text_end),
            }
            at = after;
        }
    }

    fn place(&self, folded: usize) -> usize {
        self.origin.get(folded).and_then(|place| usize::try_from(*place).ok()).unwrap_or(0)
    }

    fn word(&mut self, begin: usize, to: usize, end: usize) {
        let lexicon = self.lexicon;
        let word = self.folded.get(begin..to).unwrap_or_default();
        let accented = self.chunk.accented.then(|| lexicon.accented(word)).flatten();
        if let Some(set) = accented.or_else(|| lexicon.exact(word)) {
            return self.token(begin, to, end, Some(set));
        }
        if let Some(sets) = lexicon.expansion(word) {
            for set in sets {
                self.token(begin, to, end, Some(*set));
            }
            return;
        }
        if let Some(set) = lexicon.respelt(word) {
            return self.token(begin, to, end, Some(set));
        }
        let taken_apart = word.len() >= 8 && self.may_take_apart(word.len());
        let word = self.folded.get(begin..to).unwrap_or_default();
        match taken_apart.then(|| lexicon.segments(word)).flatten() {
            Some(pieces) => self.pieces(begin, &pieces, end),
            None => self.token(begin, to, end, None),
        }
    }

    fn may_take_apart(&mut self, letters: usize) -> bool {
        let may = self.taken_apart < MAX_TAKEN_APART;
        self.taken_apart += letters;
        may
    }

    fn pieces(&mut self, begin: usize, pieces: &[(usize, u32)], end: usize) {
        let mut from = begin;
        for (position, (length, set)) in pieces.iter().enumerate() {
            let to = begin + length;
            let text_end = if position + 1 == pieces.len() { end } else { self.place(to) };
            self.token(from, to, text_end, Some(*set));
            from = to;
        }
    }

    fn token(&mut self, begin: usize, to: usize, end: usize, set: Option<u32>) {
        let narrow = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        self.tokens.push(Token {
            set: set.unwrap_or(NO_SYMBOLS),
            known: set.is_some(),
            begin: narrow(self.place(begin)),
            end: narrow(end),
            boundary: std::mem::take(&mut self.boundary),
            quoted: false,
            folded: (narrow(begin), narrow(to)),
        });
    }

    /// Joins letters that stand alone (`m a t a r m e`) and words that a blank parts (`sui cidarme`).
    fn join_letters(&mut self) {
        let tokens = std::mem::take(&mut self.tokens);
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let singles = tokens.get(at..).unwrap_or_default().iter().take_while(|token| token.is_letter()).count();
            if singles >= 3 {
                let run = tokens.get(at..at + singles).unwrap_or_default();
                if !self.join_run(run) {
                    self.tokens.extend(run);
                }
                at += singles;
                continue;
            }
            let joined = self.join_parts(tokens.get(at..).unwrap_or_default());
            if joined == 0 {
                self.tokens.push(*token);
            }
            at += joined.max(1);
        }
    }

    fn join_run(&mut self, run: &[Token]) -> bool {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return false };
        let (begin, to) = (wide(first.folded.0), wide(last.folded.1));
        let letters = |byte: &u8| leet_letter(*byte, b'i');
        let word: &[u8] = &self.folded.get(begin..to).unwrap_or_default().iter().map(letters).collect::<Vec<_>>();
        let end = wide(last.end);
        let whole = self.lexicon.look_up(word).filter(|set| self.lexicon.is_strong(*set));
        let kept = first.boundary;
        if let Some(set) = whole {
            self.boundary = kept;
            self.token(begin, to, end, Some(set));
        } else if self.may_take_apart(word.len())
            && let Some(pieces) = self.lexicon.segments(word)
        {
            self.boundary = kept;
            self.pieces(begin, &pieces, end);
        } else {
            return false;
        }
        true
    }

    /// Joins the first two or three tokens if they make a risk word, one of them being no known word or the last a
    /// clitic (`matar me`); returns how many it took.
    fn join_parts(&mut self, tokens: &[Token]) -> usize {
        for count in [2, 3] {
            let Some(parts @ [first, .., last]) = tokens.get(..count) else { continue };
            let clitic = self.folded.get(wide(last.folded.0)..wide(last.folded.1));
            let broken = clitic == Some(b"me".as_slice()) || parts.iter().any(|part| !part.known);
            if !broken {
                continue;
            }
            let (begin, to) = (wide(first.folded.0), wide(last.folded.1));
            let word = self.folded.get(begin..to).unwrap_or_default();
            if word.len() < 6 || word.len() > 16 {
                continue;
            }
            if let Some(set) = self.lexicon.exact(word).filter(|set| self.lexicon.is_strong(*set)) {
                self.boundary = first.boundary;
                self.token(begin, to, wide(last.end), Some(set));
                return count;
            }
        }
        0
    }
}

impl Token {
    /// A single letter, not of an emoji or an abbreviation.
    fn is_letter(&self) -> bool {
        self.folded.1 - self.folded.0 == 1
    }
}

fn wide(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}
