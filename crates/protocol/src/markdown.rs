//! Markdown marks of an answer, removed for screens that show plain text.
//!
//! Whether a character is a mark is decided by its neighbours alone, so that text can be stripped while it streams. The page
//! reads the same marks; both are tested against `web/test/markdown-cases.json`.

/// Longest name of a link, in characters.
const LINK_NAME_MAX: usize = 300;
/// Longest target of a link, in characters. A longer one is text.
const LINK_TARGET_MAX: usize = 2_000;
/// Longest name of a language behind a fence, in characters.
const FENCE_INFO_MAX: usize = 20;

/// Removes Markdown marks from streamed text, at any delta boundary.
///
/// Lists keep `-` and their numbers, links become `name (target)`, addresses are copied as they are.
///
/// ```
/// use protocol::markdown::{MarkdownStripper, strip};
///
/// assert_eq!(strip("Probá **esto**:\n* respirar"), "Probá esto:\n- respirar");
///
/// let mut stripper = MarkdownStripper::default();
/// let shown = ["Pro", "bá *", "*esto*", "*."].map(|delta| stripper.push(delta)).concat() + &stripper.finish();
/// assert_eq!(shown, "Probá esto.");
/// ```
#[derive(Debug)]
pub struct MarkdownStripper {
    /// Text whose marks are not decided yet.
    pending: String,
    place: Place,
    /// Last two characters of the source text; line breaks before its start.
    last: [char; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    LineStart,
    /// Behind a `>` at the start of a line.
    Quote,
    Text,
    /// Behind `://`, up to the end of the address.
    Address,
}

/// What a line begins with.
#[derive(Debug, PartialEq, Eq)]
enum LineStart {
    /// The whole line is a mark.
    Mark,
    /// The first `skipped` bytes stand for `shown`.
    Text { skipped: usize, shown: String },
    /// A quotation mark of that many bytes.
    Quote(usize),
}

impl Default for MarkdownStripper {
    fn default() -> Self {
        Self { pending: String::new(), place: Place::LineStart, last: ['\n'; 2] }
    }
}

impl MarkdownStripper {
    /// Returns the next part of the stripped text. Characters that may become marks are held back.
    pub fn push(&mut self, delta: &str) -> String {
        self.pending.push_str(delta);
        self.take(false)
    }

    /// Returns the rest of a text that has ended. The next text starts from the beginning.
    pub fn finish(&mut self) -> String {
        let rest = self.take(true);
        *self = Self::default();
        rest
    }

    fn take(&mut self, ended: bool) -> String {
        let pending = std::mem::take(&mut self.pending);
        let mut shown = String::with_capacity(pending.len());
        let mut rest = pending.as_str();
        while !rest.is_empty() {
            let Some(taken) = self.step(rest, ended, &mut shown) else { break };
            let (done, left) = rest.split_at(taken);
            self.last = done.chars().fold(self.last, |[_, last], letter| [last, letter]);
            rest = left;
        }
        rest.clone_into(&mut self.pending);
        shown
    }

    /// Consumes the next piece of `rest` and returns its length; `None` if it is not decided yet.
    fn step(&mut self, rest: &str, ended: bool, shown: &mut String) -> Option<usize> {
        match self.place {
            Place::LineStart | Place::Quote => self.line_start(rest, ended, shown),
            Place::Text | Place::Address => self.inline(rest, ended, shown),
        }
    }

    fn line_start(&mut self, rest: &str, ended: bool, shown: &mut String) -> Option<usize> {
        let (line, complete) = match rest.split_once('\n') {
            Some((line, _)) => (line, true),
            None => (rest, ended),
        };
        let start = if self.place == Place::Quote { quoted(line, complete) } else { line_start(line, complete) };
        match start? {
            LineStart::Mark => {
                self.place = Place::LineStart;
                Some(rest.len().min(line.len() + 1))
            }
            LineStart::Quote(skipped) => {
                self.place = Place::Quote;
                Some(skipped)
            }
            LineStart::Text { skipped, shown: lead } => {
                self.place = Place::Text;
                self.last = ['\n'; 2];
                shown.push_str(&lead);
                if skipped == 0 { self.inline(rest, ended, shown) } else { Some(skipped) }
            }
        }
    }

    fn inline(&mut self, rest: &str, ended: bool, shown: &mut String) -> Option<usize> {
        let letter = rest.chars().next()?;
        if self.place == Place::Address && is_in_address(letter) {
            shown.push(letter);
            return Some(letter.len_utf8());
        }
        self.place = Place::Text;
        match letter {
            '\\' => escape(rest, ended, shown),
            '[' => link(rest, ended, shown),
            '*' | '_' | '~' | '`' => run(rest, self.last[1], ended, shown),
            letter => {
                shown.push(letter);
                self.place = match letter {
                    '\n' => Place::LineStart,
                    '/' if self.last == [':', '/'] => Place::Address,
                    _ => Place::Text,
                };
                Some(letter.len_utf8())
            }
        }
    }
}

/// Removes the Markdown marks of a complete text.
pub fn strip(text: &str) -> String {
    let mut stripper = MarkdownStripper::default();
    let shown = stripper.push(text);
    shown + &stripper.finish()
}

fn is_in_address(letter: char) -> bool {
    !letter.is_whitespace() && !matches!(letter, '<' | '>' | '"' | '*' | '`' | ']')
}

/// Reads the start of a line; `None` if the part of it that is there may still become another one.
fn line_start(line: &str, complete: bool) -> Option<LineStart> {
    let text = line.trim_start_matches(' ');
    let indent = line.len() - text.len();
    let first = text.chars().next();
    match first {
        None if !complete && indent <= 3 => None,
        Some('>') => quoted(line, complete),
        Some('#') if indent <= 3 => heading(text, indent, complete),
        Some(mark @ ('-' | '*' | '_' | '+')) => {
            if mark != '+' && indent <= 3 && text.chars().all(|letter| letter == mark || letter == ' ') {
                return rule(text, indent, mark, complete);
            }
            bullet(text, indent, complete)
        }
        Some(mark @ ('`' | '~')) if indent <= 3 => fence(text, mark, complete),
        _ => Some(plain()),
    }
}

fn plain() -> LineStart {
    LineStart::Text { skipped: 0, shown: String::new() }
}

fn quoted(line: &str, complete: bool) -> Option<LineStart> {
    let text = line.trim_start_matches(' ');
    let indent = line.len() - text.len();
    let Some(behind) = text.strip_prefix('>').filter(|_| indent <= 3) else {
        let undecided = text.is_empty() && indent <= 3 && !complete;
        return (!undecided).then(plain);
    };
    match behind.chars().next() {
        None if !complete => None,
        next => Some(LineStart::Quote(indent + 1 + usize::from(next == Some(' ')))),
    }
}

fn heading(text: &str, indent: usize, complete: bool) -> Option<LineStart> {
    let behind = text.trim_start_matches('#');
    let marks = text.len() - behind.len();
    let words = behind.trim_start_matches(' ');
    if words.is_empty() && !complete && marks <= 6 {
        return None;
    }
    let is_heading = marks <= 6 && words.len() < behind.len();
    let skipped = indent + text.len() - words.len();
    Some(if is_heading { LineStart::Text { skipped, shown: String::new() } } else { plain() })
}

/// A line of marks and spaces only.
fn rule(text: &str, indent: usize, mark: char, complete: bool) -> Option<LineStart> {
    if !complete {
        return None;
    }
    if 3 <= text.chars().filter(|letter| *letter == mark).count() {
        return Some(LineStart::Mark);
    }
    bullet(text, indent, complete)
}

fn bullet(text: &str, indent: usize, complete: bool) -> Option<LineStart> {
    let behind = text.strip_prefix(['-', '*', '+']).unwrap_or_default();
    let words = behind.trim_start_matches(' ');
    if words.is_empty() && !complete && text.len() == 1 + behind.len() {
        return None;
    }
    if words.len() == behind.len() {
        return Some(plain());
    }
    let shown = format!("{}- ", " ".repeat(indent));
    Some(LineStart::Text { skipped: indent + text.len() - words.len(), shown })
}

/// The line before or behind a block of code, with the name of a language at most.
fn fence(text: &str, mark: char, complete: bool) -> Option<LineStart> {
    let behind = text.trim_start_matches(mark);
    let info = behind.trim_matches(' ');
    let is_fence = 3 <= text.len() - behind.len()
        && info.chars().count() <= FENCE_INFO_MAX
        && !info.contains(|letter: char| letter.is_whitespace() || matches!(letter, '`' | '~'));
    match (complete, is_fence || behind.is_empty()) {
        (true, _) if is_fence => Some(LineStart::Mark),
        (false, true) => None,
        _ => Some(plain()),
    }
}

/// Writes a character without the backslash that makes it no mark.
fn escape(rest: &str, ended: bool, shown: &mut String) -> Option<usize> {
    let escaped = rest.chars().nth(1);
    if escaped.is_none() && !ended {
        return None;
    }
    let escaped = escaped.filter(|letter| r"\`*_~#[]>+-.!()".contains(*letter));
    shown.push(escaped.unwrap_or('\\'));
    Some(1 + escaped.map_or(0, char::len_utf8))
}

/// Drops a run of marks, or writes it where it is text: inside a word, alone, or a star beside a digit (`*4141` is a number
/// to call).
fn run(rest: &str, before: char, ended: bool, shown: &mut String) -> Option<usize> {
    let mark = rest.chars().next()?;
    let length = rest.len() - rest.trim_start_matches(mark).len();
    if mark == '`' {
        return Some(length);
    }
    let (run, behind) = rest.split_at(length);
    let after = match behind.chars().next() {
        None if !ended => return None,
        after => after.unwrap_or(' '),
    };
    let inside_word = before.is_alphanumeric() && after.is_alphanumeric();
    let alone = before.is_whitespace() && after.is_whitespace();
    let number = run == "*" && (before.is_ascii_digit() || after.is_ascii_digit());
    if inside_word || alone || number || run == "~" {
        shown.push_str(run);
    }
    Some(length)
}

/// Writes a link as `name (target)`; a bracket that begins none, as it is.
fn link(rest: &str, ended: bool, shown: &mut String) -> Option<usize> {
    match link_at(rest) {
        Link::Whole { name, target } => {
            let name_shown = strip_inline(name);
            let is_address =
                ["", "https://", "http://"].iter().any(|scheme| target.strip_prefix(scheme) == Some(&name_shown));
            if is_address {
                shown.push_str(target);
            } else {
                shown.push_str(&format!("{name_shown} ({target})"));
            }
            // `[`, `](` and `)`.
            Some(name.len() + target.len() + 4)
        }
        Link::Partial if !ended => None,
        Link::Partial | Link::None => {
            shown.push('[');
            Some(1)
        }
    }
}

/// Strips the name of a link, which begins no line.
fn strip_inline(text: &str) -> String {
    let mut stripper = MarkdownStripper { place: Place::Text, ..MarkdownStripper::default() };
    let shown = stripper.push(text);
    shown + &stripper.finish()
}

enum Link<'a> {
    None,
    /// The text ends before it is known whether it is one.
    Partial,
    Whole {
        name: &'a str,
        target: &'a str,
    },
}

fn link_at(rest: &str) -> Link<'_> {
    let inside = rest.get(1..).unwrap_or_default();
    let Some(end) = inside.find(['[', ']', '\n']) else {
        return if inside.chars().count() <= LINK_NAME_MAX { Link::Partial } else { Link::None };
    };
    let (name, behind) = inside.split_at(end);
    if name.is_empty() || LINK_NAME_MAX < name.chars().count() {
        return Link::None;
    }
    let Some(target) = behind.strip_prefix("](") else {
        return if behind == "]" { Link::Partial } else { Link::None };
    };
    match target_end(target) {
        Some(Ok(end)) => Link::Whole { name, target: target.get(..end).unwrap_or_default() },
        Some(Err(())) => Link::None,
        None => Link::Partial,
    }
}

/// The length of a link's target: up to its `)`, with parentheses inside, but not inside those. `Err` if there is none.
fn target_end(target: &str) -> Option<Result<usize, ()>> {
    let mut nested = false;
    for (at, letter) in target.char_indices().take(LINK_TARGET_MAX) {
        match letter {
            '(' if 0 < at && !nested => nested = true,
            ')' if nested => nested = false,
            ')' if 0 < at => return Some(Ok(at)),
            '(' | ')' | '<' | '>' => return Some(Err(())),
            letter if letter.is_whitespace() => return Some(Err(())),
            _ => {}
        }
    }
    if LINK_TARGET_MAX <= target.chars().count() { Some(Err(())) } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn removes_the_marks_that_the_page_knows() {
        let cases: Vec<(String, String, serde_json::Value)> =
            serde_json::from_str(include_str!("../../../web/test/markdown-cases.json")).unwrap();
        for (text, want, _) in cases {
            assert_eq!(strip(&text), want, "{text:?}");
        }
    }

    fn marked_text() -> impl Strategy<Value = String> {
        let pieces = [
            "*",
            "**",
            "_",
            "~~",
            "`",
            "```",
            "\\",
            "[",
            "](",
            ")",
            "https://a.b/c_d",
            "\n",
            "> ",
            "- ",
            "# ",
            " ",
            "hola",
            "ñ",
            "👩‍👧",
            "5",
            ".",
            "---",
        ];
        prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..16).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn deltas_do_not_change_the_result(text in marked_text(), cuts in prop::collection::vec(1_usize..5, 0..80)) {
            let mut stripper = MarkdownStripper::default();
            let mut shown = String::new();
            let mut letters = text.chars();
            for length in cuts {
                shown.push_str(&stripper.push(&letters.by_ref().take(length).collect::<String>()));
            }
            shown.push_str(&stripper.push(letters.as_str()));
            shown.push_str(&stripper.finish());
            prop_assert_eq!(&shown, &strip(&text));
            prop_assert_eq!(strip("otro"), "otro");
        }

        #[test]
        fn text_without_marks_is_unchanged(text in r"[\p{L}\p{N} .,;:!?¿¡()\n]*") {
            prop_assert_eq!(strip(&text), text);
        }
    }
}
