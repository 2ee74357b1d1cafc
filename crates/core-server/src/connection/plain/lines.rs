//! Entries and texts as lines that a terminal can show.

use protocol::server_frame::{Entry, Role, SafetyPlan};
use protocol::{Language, markdown};

use crate::connection::texts;

/// Renders entries as lines.
pub(in crate::connection) fn history(entries: &[Entry], language: Language) -> Vec<String> {
    if entries.is_empty() {
        return vec![texts::no_history(language).to_owned()];
    }
    let line = |entry: &Entry| match entry.role {
        // Without a speaker: a help line introduces itself.
        Role::Support => to_single_line(entry.text.expose()),
        Role::Assistant => {
            format!("{}: {}", texts::speaker(language, entry.role), answer(entry.text.expose()))
        }
        role @ Role::User => format!("{}: {}", texts::speaker(language, role), to_single_line(entry.text.expose())),
    };
    entries.iter().map(line).collect()
}

/// Renders a safety plan as lines, followed by the command for help lines.
pub(in crate::connection) fn safety_plan(plan: Option<&SafetyPlan>, language: Language) -> Vec<String> {
    match plan {
        None => vec![texts::no_plan(language).to_owned()],
        Some(plan) => {
            let [crisis, ..] = texts::help(language);
            plan.lines().map(|line| to_single_line(&line)).chain([crisis.to_owned()]).collect()
        }
    }
}

/// Renders an answer as one line, without Markdown marks.
pub(in crate::connection) fn answer(text: &str) -> String {
    to_single_line(&markdown::strip(text))
}

/// Converts `text` to one line that a terminal can show safely: line breaks become one space, other control characters
/// and escape sequences are removed. A model's answer must not control the person's terminal.
pub(in crate::connection) fn to_single_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '\n' | '\r' | '\t' | '\u{0b}' | '\u{0c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                if !line.ends_with(' ') && !line.is_empty() {
                    line.push(' ');
                }
            }
            '\u{1b}' => skip_escape(&mut rest),
            letter if letter.is_control() => {}
            letter => line.push(letter),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// Skips the rest of an escape sequence after ESC: a control sequence up to its final byte, an operating system command
/// up to its terminator, else one character (ECMA-48).
fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.next() {
        Some('[') => {
            while rest.next_if(|letter| !('@'..='~').contains(letter) && *letter != '\n').is_some() {}
            rest.next_if(|letter| *letter != '\n');
        }
        Some(']') => {
            while rest.next_if(|letter| !matches!(letter, '\u{07}' | '\u{1b}' | '\n')).is_some() {}
            if rest.next_if_eq(&'\u{1b}').is_some() {
                rest.next_if_eq(&'\\');
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use protocol::UserText;
    use protocol::server_frame::PlanStep;

    use super::*;

    #[test]
    fn safety_plan_lines_are_safe_for_terminals() {
        let step = PlanStep { heading: "Señales".to_owned(), text: UserText::new("no\u{1b}[2J duermo") };
        let (title, footer) = ("Mi plan".to_owned(), "Si el peligro aumenta: emergencias.".to_owned());
        let plan = SafetyPlan { title, steps: vec![step], footer };
        let lines = safety_plan(Some(&plan), Language::Spanish);
        assert_eq!(lines[..3], ["Mi plan", "1. Señales: no duermo", "Si el peligro aumenta: emergencias."]);
        assert!(lines.len() == 4 && lines[3].starts_with("/crisis: "), "{lines:?}");
        assert_eq!(safety_plan(None, Language::English), ["There is no safety plan in this conversation yet."]);
    }

    #[test]
    fn to_single_line_removes_controls() {
        for (text, want) in [
            ("hola", "hola"),
            ("uno\ndos\r\n\r\ntres\n", "uno dos tres"),
            ("\n\nuno", "uno"),
            ("a\u{1b}[31mrojo\u{1b}[0m", "arojo"),
            ("a\u{1b}]0;title\u{07}b\u{1b}]8;;x\u{1b}\\c", "abc"),
            ("a\u{0}\u{7}\u{4}b\u{9b}", "ab"),
            ("a\u{1b}[999", "a"),
            ("a\u{1b}", "a"),
            ("uno\u{2028}dos", "uno dos"),
        ] {
            assert_eq!(to_single_line(text), want, "{text:?}");
        }
    }
}
