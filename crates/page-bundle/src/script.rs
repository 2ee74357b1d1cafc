//! JavaScript without comments and indentation.

use crate::BundleError;

/// Words after which a slash begins a regular expression.
const BEFORE_VALUE: [&str; 12] =
    ["return", "typeof", "case", "in", "of", "delete", "void", "instanceof", "new", "do", "else", "await"];

/// A line of the output. Text of a template literal keeps its line breaks, so that it may hold several.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// It begins outside of all brackets.
    pub(crate) top_level: bool,
}

#[derive(Debug)]
pub(crate) struct Script(pub(crate) Vec<Line>);

impl Script {
    pub(crate) fn text(&self) -> String {
        let lines: Vec<&str> = self.0.iter().map(|line| line.text.as_str()).collect();
        lines.join("\n")
    }
}

/// The last token, as far as it decides the meaning of a slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// An operator, an opening bracket, or nothing.
    Operator,
    /// The end of an operand.
    Operand,
    /// A closing brace: of a block or of an object.
    Brace,
    /// A dot: a word after it is a property.
    Dot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Plain(char),
    /// `${` of a template literal.
    Template,
}

struct Lexer<'a> {
    path: &'a str,
    rest: &'a str,
    lines: Vec<Line>,
    line: String,
    top_level: bool,
    brackets: Vec<Bracket>,
    last: Last,
}

/// Removes comments, indentation and empty lines. Line breaks stay: they may end a statement.
///
/// # Errors
///
/// The text is no complete script, or a slash, `import` or `await` stands where this lexer does not understand it.
pub(crate) fn stripped(path: &str, text: &str) -> Result<Script, BundleError> {
    let (rest, last) = (text, Last::Operator);
    let mut lexer =
        Lexer { path, rest, lines: Vec::new(), line: String::new(), top_level: true, brackets: Vec::new(), last };
    while let Some(letter) = lexer.rest.chars().next() {
        lexer.token(letter)?;
    }
    lexer.end_line();
    if !lexer.brackets.is_empty() {
        return Err(lexer.problem("a bracket without its end"));
    }
    Ok(Script(lexer.lines))
}

impl<'a> Lexer<'a> {
    fn token(&mut self, letter: char) -> Result<(), BundleError> {
        match letter {
            '\n' => {
                self.skip(1);
                self.end_line();
            }
            ' ' | '\t' | '\r' => {
                self.skip(1);
                if !self.line.is_empty() && !self.line.ends_with(' ') {
                    self.line.push(' ');
                }
            }
            '/' => return self.slash(),
            '"' | '\'' => return self.string(letter),
            '`' => {
                self.copy(1);
                return self.template();
            }
            '(' | '[' | '{' => self.open(letter),
            ')' | ']' | '}' => return self.close(letter),
            letter if is_of_word(letter) => return self.word(),
            '.' => {
                self.copy(1);
                self.last = Last::Dot;
            }
            letter => {
                self.copy(letter.len_utf8());
                self.last = Last::Operator;
            }
        }
        Ok(())
    }

    fn slash(&mut self) -> Result<(), BundleError> {
        if self.rest.starts_with("//") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.skip(end);
            return Ok(());
        }
        if let Some(comment) = self.rest.strip_prefix("/*") {
            let end = comment.find("*/").ok_or_else(|| self.problem("a comment without an end"))?;
            let (comment, _) = comment.split_at(end);
            self.skip(end + 4);
            if comment.contains('\n') {
                self.end_line();
            }
            return Ok(());
        }
        match self.last {
            Last::Operator => self.regular_expression(),
            Last::Operand => {
                self.copy(1);
                self.last = Last::Operator;
                Ok(())
            }
            Last::Brace | Last::Dot => Err(self.problem("a slash that may be a division or a regular expression")),
        }
    }

    fn regular_expression(&mut self) -> Result<(), BundleError> {
        let (mut escaped, mut in_class) = (false, false);
        let end = self.rest.char_indices().skip(1).find(|&(_, letter)| {
            let ends = letter == '\n' || (letter == '/' && !escaped && !in_class);
            in_class = if escaped { in_class } else { letter == '[' || (in_class && letter != ']') };
            escaped = !escaped && letter == '\\';
            ends
        });
        match end {
            Some((end, '/')) => {
                self.copy(end + 1);
                self.last = Last::Operand;
                Ok(())
            }
            _ => Err(self.problem("a regular expression without an end")),
        }
    }

    fn string(&mut self, quote: char) -> Result<(), BundleError> {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|&(_, letter)| {
            let ends = !escaped && (letter == quote || letter == '\n');
            escaped = !escaped && letter == '\\';
            ends
        });
        match end {
            Some((end, letter)) if letter == quote => {
                self.copy(end + 1);
                self.last = Last::Operand;
                Ok(())
            }
            _ => Err(self.problem("a string without an end")),
        }
    }

    /// Copies the text of a template literal up to its end or to its next expression.
    fn template(&mut self) -> Result<(), BundleError> {
        let (mut escaped, mut dollar) = (false, false);
        let end = self.rest.char_indices().find(|&(_, letter)| {
            let ends = !escaped && (letter == '`' || (dollar && letter == '{'));
            dollar = !escaped && letter == '$';
            escaped = !escaped && letter == '\\';
            ends
        });
        let (end, letter) = end.ok_or_else(|| self.problem("a template without an end"))?;
        self.copy(end + 1);
        if letter == '{' {
            self.brackets.push(Bracket::Template);
            self.last = Last::Operator;
        } else {
            self.last = Last::Operand;
        }
        Ok(())
    }

    fn open(&mut self, bracket: char) {
        self.copy(1);
        self.brackets.push(Bracket::Plain(bracket));
        self.last = Last::Operator;
    }

    fn close(&mut self, letter: char) -> Result<(), BundleError> {
        self.copy(1);
        let (pair, last) = match letter {
            ')' => ('(', Last::Operand),
            ']' => ('[', Last::Operand),
            _ => ('{', Last::Brace),
        };
        self.last = last;
        match self.brackets.pop() {
            Some(Bracket::Plain(open)) if open == pair => Ok(()),
            Some(Bracket::Template) if letter == '}' => self.template(),
            _ => Err(self.problem("a bracket without its beginning")),
        }
    }

    fn word(&mut self) -> Result<(), BundleError> {
        let end = self.rest.find(|letter| !is_of_word(letter)).unwrap_or(self.rest.len());
        let (word, after) = self.rest.split_at(end);
        let is_property = self.last == Last::Dot;
        let is_asked = after.trim_start().starts_with(['(', '.']) && !after.starts_with("(\"");
        if !is_property && word == "import" && is_asked {
            return Err(self.problem("import.meta and an import() of anything but a name are not bundled"));
        }
        if !is_property && word == "await" && self.brackets.is_empty() {
            return Err(self.problem("an await outside of functions is not bundled"));
        }
        self.copy(end);
        self.last = if !is_property && BEFORE_VALUE.contains(&word) { Last::Operator } else { Last::Operand };
        Ok(())
    }

    fn copy(&mut self, bytes: usize) {
        if self.line.is_empty() {
            self.top_level = self.brackets.is_empty();
        }
        let (text, rest) = self.rest.split_at(bytes);
        self.line.push_str(text);
        self.rest = rest;
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.split_at(bytes).1;
    }

    fn end_line(&mut self) {
        let text = std::mem::take(&mut self.line);
        let text = text.strip_suffix(' ').unwrap_or(&text);
        if !text.is_empty() {
            self.lines.push(Line { text: text.to_owned(), top_level: self.top_level });
        }
    }

    fn problem(&self, construct: &str) -> BundleError {
        let near: String = self.rest.chars().take(40).collect();
        BundleError::unknown(self.path, format!("{construct}, near {near:?}"))
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '$' | '#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_comments_and_blanks_go() {
        let cases = [
            ("// a\nlet x = 1; // b\n", "let x = 1;"),
            ("/** a\n * b */\nlet  x\n\n  = 1 /* c */ + 2;", "let x\n= 1 + 2;"),
            ("a /* b\n c */ d", "a\nd"),
            ("x = \"// no \\\" comment\" + '/*';", "x = \"// no \\\" comment\" + '/*';"),
            ("x = `a // b\n  ${ y /* c */ } \\` ${`  n ${z}`}\n`; // d", "x = `a // b\n  ${ y } \\` ${`  n ${z}`}\n`;"),
            ("x = a / b / c; // d", "x = a / b / c;"),
            ("x = (a) / 2; y = b[0] / 2;", "x = (a) / 2; y = b[0] / 2;"),
            ("if (/[/\"]\\/'/u.test(x)) return /`/;", "if (/[/\"]\\/'/u.test(x)) return /`/;"),
            ("x = y.return / 2;", "x = y.return / 2;"),
            ("x = `$${a}$`; // b", "x = `$${a}$`;"),
            ("this.#a = {};\n", "this.#a = {};"),
        ];
        for (text, want) in cases {
            assert_eq!(stripped("a.js", text).unwrap().text(), want, "{text}");
        }
    }

    #[test]
    fn top_level_lines_are_known() {
        let lines = stripped("a.js", "a(\nb\n);\nc = `\nd`;\n").unwrap().0;
        let top: Vec<_> = lines.iter().map(|line| (line.text.as_str(), line.top_level)).collect();
        assert_eq!(top, [("a(", true), ("b", false), (");", false), ("c = `\nd`;", true)]);
    }

    #[test]
    fn unknown_forms_fail() {
        for text in [
            "x = \"a\n\";",
            "x = 'a",
            "x = `a",
            "/* a",
            "f(",
            "f)",
            "x = {} / 2",
            "x = /a\n/",
            "import(a)",
            "import('a')",
            "f(import.meta.url)",
            "const x = await y;",
            "`${`",
        ] {
            assert!(stripped("a.js", text).is_err(), "{text}");
        }
        assert!(stripped("a.js", "a.import(b); async () => { await c; };").is_ok());
    }
}
