//! Writes a book in Markdown of everything that a clinician should be able to read and change: `scripts/safety-book`.
//!
//! It is made from the files in `data/` as they stand, and says of each entry which file it is in.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::{fs, io};

use toml::{Table, Value};

const INTRODUCTION: &str = "\
# PsicoIA: rule book

Made from the data of the program, for those who judge it: levels and the table that decides, rules with their examples, turns of
phrase that are no risk, help lines, and the words of the companion. Every part names the file it comes from, below
`crates/safety/data`. Examples and counter-examples are tests: the program is not built where one of them fails.

To change something: change the file, or write beside the entry what should change and why. How patterns are read stands
in `data/README.md`. To try sentences: `core-server explain` (standard input; nothing is stored).
";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let data = Data::read(&folder)?;
    let questions = Data::read(&folder.join("questions"))?;
    let mut book = INTRODUCTION.to_owned();
    reviews(&mut book, &data);
    levels(&mut book, &data);
    let atoms = data.atoms();
    for (file, table) in data.of("rules") {
        rules(&mut book, file, table, &atoms);
    }
    for (file, table) in data.of("idioms").chain(data.of("frames")) {
        turns(&mut book, file, table);
    }
    for (file, table) in data.of("lexemes").chain(data.of("spelling")) {
        words(&mut book, file, table);
    }
    for (file, table) in questions.of("rules") {
        rules(&mut book, &format!("questions/{file}"), table, &questions.atoms());
    }
    help_lines(&mut book, &data);
    for (file, table) in data.of("companion").chain(data.of("answers")).chain(data.of("guide")) {
        chapter(&mut book, &title(file), file);
        anything(&mut book, table, 3);
    }
    match io::stdout().lock().write_all(book.as_bytes()) {
        // The reader of the pipe has ended, such as a pager.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// The files of the data, by their names.
struct Data(BTreeMap<String, Table>);

impl Data {
    fn read(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.ends_with(".toml") {
                let table = fs::read_to_string(&path)?.parse::<Table>().map_err(|error| format!("{name}: {error}"))?;
                files.insert(name, table);
            }
        }
        Ok(Self(files))
    }

    /// Returns the files whose names begin with `begin`.
    fn of<'a>(&'a self, begin: &'a str) -> impl Iterator<Item = (&'a str, &'a Table)> {
        self.0.iter().filter(move |(name, _)| name.starts_with(begin)).map(|(name, table)| (name.as_str(), table))
    }

    /// Returns the meaning of each atom of the decision table.
    fn atoms(&self) -> BTreeMap<&str, &str> {
        let tables = self.of("levels").filter_map(|(_, table)| table.get("atoms")?.as_table());
        tables.flatten().filter_map(|(name, meaning)| Some((name.as_str(), meaning.as_str()?))).collect()
    }
}

/// Writing to a String cannot fail.
macro_rules! say {
    ($book:expr, $($words:tt)*) => { let _ = writeln!($book, $($words)*); };
}

fn chapter(book: &mut String, title: &str, file: &str) {
    say!(book, "\n## {title}\n\nFrom `{file}`.\n");
}

fn title(file: &str) -> String {
    let (name, rest) = file.split_once('.').unwrap_or((file, ""));
    let name = match name {
        "companion" => "Words of the companion",
        "answers" => "What a model's answer is stopped for",
        "guide" => "What people are told about the service",
        "lexemes" => "Words",
        "spelling" => "Spelling",
        "idioms" => "Turns of phrase that are no risk",
        "frames" => "Who speaks, of whom, and when",
        "rules" => "Rules",
        "questions/rules" => "Questions about safety that a model asks",
        name => name,
    };
    match rest.split('.').next() {
        Some("es") => format!("{name}: Spanish"),
        Some("en") => format!("{name}: English"),
        _ => name.to_owned(),
    }
}

fn reviews(book: &mut String, data: &Data) {
    say!(book, "\n## Who has reviewed this\n\n| file | reviewed by a clinician |\n| --- | --- |");
    for (name, table) in &data.0 {
        let reviewed = table.get("reviewed_by_clinician").and_then(Value::as_bool).unwrap_or(false);
        let by = ["reviewed_by", "reviewer"].iter().find_map(|field| table.get(*field)?.as_str()).unwrap_or("yes");
        say!(book, "| `{name}` | {} |", if reviewed { by } else { "no, not yet" });
    }
}

fn levels(book: &mut String, data: &Data) {
    for (file, table) in data.of("levels") {
        chapter(book, "The table that decides", file);
        say!(
            book,
            "The first row that holds gives the level.\n\n| if all | and any of | and none of | level | C-SSRS |"
        );
        say!(book, "| --- | --- | --- | --- | --- |");
        for row in rows(table, "row") {
            let cells = ["all", "any", "none", "level", "cssrs"].map(|field| cell(row.get(field)));
            say!(book, "| {} |", cells.join(" | "));
        }
        say!(book, "\n| atom | meaning |\n| --- | --- |");
        for (atom, meaning) in table.get("atoms").and_then(Value::as_table).into_iter().flatten() {
            say!(book, "| `{atom}` | {} |", cell(Some(meaning)));
        }
    }
}

fn rules(book: &mut String, file: &str, table: &Table, atoms: &BTreeMap<&str, &str>) {
    chapter(book, &title(file), file);
    for rule in rows(table, "rule") {
        let text = |field: &str| rule.get(field).map(|value| cell(Some(value)));
        say!(book, "### {}\n", text("id").unwrap_or_default());
        if let Some(atom) = text("atom") {
            say!(book, "* says: {} (`{atom}`)", atoms.get(atom.as_str()).unwrap_or(&"?"));
        }
        let fields =
            [("kind", "kind"), ("subject", "who is at risk"), ("cssrs", "C-SSRS item"), ("sure", "never dropped")];
        for (field, words) in fields {
            if let Some(value) = text(field) {
                say!(book, "* {words}: {value}");
            }
        }
        list(book, "found in", rule.get("examples"));
        list(book, "not found in", rule.get("counter"));
        list(book, "patterns", rule.get("patterns"));
        say!(book, "");
    }
}

fn turns(book: &mut String, file: &str, table: &Table) {
    chapter(book, &title(file), file);
    for row in rows(table, "idiom").chain(rows(table, "frame")) {
        say!(book, "### {}\n", cell(row.get("id")));
        for field in ["effect", "scope", "spares", "sure"] {
            if let Some(value) = row.get(field) {
                say!(book, "* {field}: {}", cell(Some(value)));
            }
        }
        list(book, "such as", row.get("examples"));
        list(book, "patterns", row.get("patterns"));
        say!(book, "");
    }
}

fn words(book: &mut String, file: &str, table: &Table) {
    chapter(book, &title(file), file);
    for (name, group) in table {
        match group {
            Value::Table(group) => {
                say!(book, "### {name}\n");
                group.iter().for_each(|(word, value)| {
                    say!(book, "* `{word}`: {}", cell(Some(value)));
                });
                say!(book, "");
            }
            value => {
                say!(book, "* {name}: {}\n", cell(Some(value)));
            }
        }
    }
}

fn help_lines(book: &mut String, data: &Data) {
    let Some(table) = data.0.get("help-lines.toml") else { return };
    chapter(book, "Help lines", "help-lines.toml");
    say!(book, "Reviewed as a whole on {}.\n", cell(table.get("reviewed_on")));
    say!(book, "| country | kind | name | contact | hours | area | status | source | of | checked | again by |");
    say!(book, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for line in rows(table, "line") {
        let contact = ["display", "how", "sms", "whatsapp", "url"].map(|field| cell(line.get(field)));
        let contact: Vec<_> = contact.iter().filter(|text| !text.is_empty()).map(String::as_str).collect();
        let fields = ["hours", "area", "status", "source", "source_date", "verified_at", "recheck_by"];
        let rest = fields.map(|field| cell(line.get(field))).join(" | ");
        let [country, kind, name] = ["country", "kind", "name"].map(|field| cell(line.get(field)));
        say!(book, "| {country} | {kind} | {name} | {} | {rest} |", contact.join("; "));
    }
}

fn rows<'a>(table: &'a Table, name: &str) -> impl Iterator<Item = &'a Table> + use<'a> {
    table.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

fn list(book: &mut String, heading: &str, values: Option<&Value>) {
    let values: Vec<_> = values.and_then(Value::as_array).into_iter().flatten().collect();
    if values.is_empty() {
        return;
    }
    say!(book, "* {heading}:");
    for value in values {
        say!(book, "  * {}", quoted(&cell(Some(value))));
    }
}

/// Formats a value in one line, for a cell of a table.
fn cell(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.replace('|', "\\|").replace('\n', " ⏎ "),
        Some(Value::Array(values)) => values.iter().map(|value| cell(Some(value))).collect::<Vec<_>>().join(", "),
        Some(Value::Table(table)) => {
            let field = |(name, value): (&String, &Value)| format!("{name}: {}", cell(Some(value)));
            table.iter().map(field).collect::<Vec<_>>().join("; ")
        }
        Some(Value::Integer(number)) => number.to_string(),
        Some(Value::Float(number)) => number.to_string(),
        Some(Value::Boolean(is_so)) => is_so.to_string(),
        Some(Value::Datetime(at)) => at.to_string(),
    }
}

/// Formats a text as code, back quotes included.
fn quoted(text: &str) -> String {
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// Writes a table of any form: a heading for each table in it, a list for each array.
fn anything(book: &mut String, table: &Table, depth: usize) {
    let heading = "#".repeat(depth.min(6));
    let is_group = |value: &Value| match value {
        Value::Table(_) => true,
        Value::Array(values) => values.iter().any(Value::is_table),
        _ => false,
    };
    for (name, value) in table.iter().filter(|(_, value)| !is_group(value)) {
        match value {
            Value::Array(_) => {
                say!(book, "* {name}:");
                for text in value.as_array().into_iter().flatten() {
                    say!(book, "  * {}", cell(Some(text)));
                }
            }
            value => {
                say!(book, "* {name}: {}", cell(Some(value)));
            }
        }
    }
    say!(book, "");
    for (name, value) in table.iter().filter(|(_, value)| is_group(value)) {
        match value {
            Value::Table(inner) => {
                say!(book, "{heading} {name}\n");
                anything(book, inner, depth + 1);
            }
            value => {
                for inner in value.as_array().into_iter().flatten().filter_map(Value::as_table) {
                    let id = inner.get("id").map_or_else(|| name.clone(), |id| cell(Some(id)));
                    say!(book, "{heading} {id}\n");
                    anything(book, inner, depth + 1);
                }
            }
        }
    }
}
