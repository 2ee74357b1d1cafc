//! Parser of transcript files.

use std::collections::HashMap;
use std::time::Duration;

use protocol::{CloseReason, Face};

use crate::llm::Answer;
use crate::transcript::pattern::whole_name;
use crate::transcript::{Action, Pattern, Step, Transcript, Transport};

/// Name of the connection that is open from the start.
const FIRST: &str = "a";

/// A syntax error, or a step that is invalid at its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct ParseError {
    /// File name.
    pub file: String,
    /// Line number, from 1.
    pub line: usize,
    /// Description of the problem.
    pub problem: String,
}

impl Transcript {
    /// Parses the text of a file.
    ///
    /// # Errors
    ///
    /// An invalid line, a step invalid at its place, or a missing part.
    pub fn parse(file: &str, text: &str) -> Result<Self, ParseError> {
        let mut draft = Draft::default();
        for (index, line) in text.lines().enumerate() {
            let read = if index == 0 { draft.title(file, line) } else { draft.line(index + 1, line) };
            read.map_err(|problem| ParseError { file: file.to_owned(), line: index + 1, problem })?;
        }
        let last = text.lines().count();
        draft.finish(file).map_err(|problem| ParseError { file: file.to_owned(), line: last, problem })
    }
}

/// Partially parsed transcript.
#[derive(Default)]
struct Draft {
    number: u32,
    title: String,
    settings: Vec<(String, String)>,
    face: Option<Face>,
    transports: Option<Vec<Transport>>,
    steps: Vec<Step>,
    /// Connections so far; true if closed.
    over: HashMap<String, bool>,
}

impl Draft {
    /// Parses the first line, `# NNN: title`; the number must be that of the file name.
    fn title(&mut self, file: &str, line: &str) -> Result<(), String> {
        let rest = line.strip_prefix("# ").ok_or("the first line is not '# NNN: title'")?;
        let (number, title) = rest.split_once(": ").ok_or("the first line is not '# NNN: title'")?;
        if number.len() != 3 || !file.starts_with(&format!("{number}-")) {
            return Err(format!("{number} is not the number of the file"));
        }
        self.number = number.parse().map_err(|_| format!("{number} is no number"))?;
        title.clone_into(&mut self.title);
        self.over.insert(FIRST.to_owned(), false);
        Ok(())
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(directive) = line.strip_prefix('@') {
            let (name, value) = directive.split_once(' ').unwrap_or((directive, ""));
            return self.directive(number, name, value);
        }
        let mark = line.find(|c: char| !c.is_ascii_lowercase()).ok_or("not a step")?;
        let (name, rest) = line.split_at(mark);
        let mut chars = rest.chars();
        let mark = chars.next().unwrap_or_default();
        let rest = chars.as_str();
        let rest = if rest.is_empty() { rest } else { rest.strip_prefix(' ').ok_or("no space after the mark")? };
        let action = match mark {
            '>' => Action::Send(rest.to_owned()),
            '<' => Action::Expect(expectation(rest)?),
            '!' => ending(rest)?,
            '~' if name.is_empty() => Action::Advance(milliseconds(rest)?),
            _ => return Err("not a step".to_owned()),
        };
        self.step(number, if name.is_empty() { FIRST } else { name }, action)
    }

    fn directive(&mut self, number: usize, name: &str, value: &str) -> Result<(), String> {
        let set_up = self.steps.is_empty();
        match name {
            "set" if set_up && self.face.is_none() && self.transports.is_none() => self.setting(value),
            "set" => Err("@set comes before anything else".to_owned()),
            "face" if set_up && self.face.is_none() => {
                let face = Face::from_name(value.as_bytes()).ok_or("@face is frames or plain")?;
                self.face = Some(face);
                Ok(())
            }
            "transports" if set_up && self.transports.is_none() => {
                self.transports = Some(value.split(' ').map(transport).collect::<Result<_, _>>()?);
                Ok(())
            }
            "face" | "transports" => Err(format!("@{name} stands once, before the first step")),
            "model" => {
                let answer: Answer = serde_json::from_str(value).map_err(|error| format!("@model: {error}"))?;
                self.steps.push(Step {
                    line: number,
                    connection: FIRST.to_owned(),
                    action: Action::Model(Box::new(answer)),
                });
                Ok(())
            }
            "connect" => self.connection(number, value),
            _ => Err(format!("unknown directive @{name}")),
        }
    }

    fn setting(&mut self, value: &str) -> Result<(), String> {
        let (name, value) = value.split_once('=').ok_or("@set needs NAME=value")?;
        let is_name = |c: char| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit();
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(format!("{name} is no environment name"));
        }
        self.settings.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    fn connection(&mut self, number: usize, name: &str) -> Result<(), String> {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase()) {
            return Err("a connection's name is lower-case letters".to_owned());
        }
        if self.over.insert(name.to_owned(), false).is_some() {
            return Err(format!("there is a connection {name} already"));
        }
        self.steps.push(Step { line: number, connection: name.to_owned(), action: Action::Connect });
        Ok(())
    }

    fn step(&mut self, number: usize, connection: &str, action: Action) -> Result<(), String> {
        match self.over.get_mut(connection) {
            None => return Err(format!("no connection {connection} is open")),
            // Advancing the clock needs no open connection.
            Some(true) if !matches!(action, Action::Advance(_)) => {
                return Err(format!("connection {connection} is over"));
            }
            Some(over) => *over |= matches!(action, Action::Closed(_) | Action::Cut),
        }
        self.steps.push(Step { line: number, connection: connection.to_owned(), action });
        Ok(())
    }

    fn finish(self, file: &str) -> Result<Transcript, String> {
        let checks = |step: &Step| matches!(step.action, Action::Expect(_) | Action::Closed(_));
        if !self.steps.iter().any(checks) {
            return Err("nothing is expected of the server".to_owned());
        }
        Ok(Transcript {
            number: self.number,
            file: file.to_owned(),
            title: self.title,
            settings: self.settings,
            face: self.face.ok_or("@face is missing")?,
            transports: self.transports.unwrap_or_else(|| Transport::ALL.to_vec()),
            steps: self.steps,
        })
    }
}

fn transport(name: &str) -> Result<Transport, String> {
    let known = Transport::ALL.into_iter().find(|transport| transport.name() == name);
    known.ok_or_else(|| format!("unknown transport {name:?}"))
}

fn expectation(line: &str) -> Result<Pattern, String> {
    let pattern = Pattern::parse(line);
    match pattern.delta_text().map(|text| (text, whole_name(text))) {
        // The split into deltas is unspecified, so a single delta cannot be bound.
        Some((_, Some(name))) if name != "_" => Err("a delta's text is a text or $_".to_owned()),
        Some(("", None)) => Err("a delta's text is not empty".to_owned()),
        _ => Ok(pattern),
    }
}

fn ending(end: &str) -> Result<Action, String> {
    match end.split_once(' ') {
        None if end == "cut" => Ok(Action::Cut),
        None if end == "eof" => Ok(Action::HalfClose),
        Some(("closed", reason)) => {
            let known = CloseReason::from_name(reason.as_bytes());
            known.map(Action::Closed).ok_or_else(|| format!("unknown reason {reason:?}"))
        }
        _ => Err("after ! comes cut, eof or closed REASON".to_owned()),
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let whole: u64 = text.parse().map_err(|_| format!("{text:?} is no number of milliseconds"))?;
    if whole == 0 { Err("the clock has to move".to_owned()) } else { Ok(Duration::from_millis(whole)) }
}

#[cfg(test)]
mod tests;
