//! `core-server explain`: shows the assessment of lines to the maintainers of the rules.
//!
//! Reads standard input and writes standard output; must not store or send anything.

use std::io::{self, Read, Write};

use bytes::BytesMut;
use protocol::{ErrorCode, Inbound, LineCodec, Timestamp, UserText};
use safety::episode::Episode;
use safety::{Assessment, Cssrs, Kind, Level, Reason, Subject};
use serde::Serialize;

/// Size of the read buffer.
const READ_BYTES: usize = 64 * 1_024;
/// Assumed time between two messages of a conversation, in milliseconds.
const BETWEEN_MS: i64 = 30_000;

/// Options of [`explain`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ExplainOptions {
    /// Print one JSON object a line.
    pub json: bool,
    /// Treat the lines as one conversation.
    pub conversation: bool,
}

/// Explains each line of `input` on `output` as it arrives. Skips blank lines, and reports rejected ones with their
/// error code. Returns at the end of `input`, or when `output` is a closed pipe.
///
/// # Errors
///
/// Reading `input` or writing `output` fails.
pub fn explain(mut input: impl Read, output: impl Write, options: ExplainOptions) -> io::Result<()> {
    let mut explainer = Explainer { output, options, line: 0, episode: Episode::default() };
    match explainer.read_all(&mut input) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        explained => explained,
    }
}

struct Explainer<W> {
    output: W,
    options: ExplainOptions,
    /// Number of the current line, from 1.
    line: u64,
    episode: Episode,
}

/// Output for one line.
#[derive(Debug, Serialize)]
struct Explanation<'a> {
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorCode>,
    #[serde(flatten)]
    assessed: Option<Assessed<'a>>,
}

#[derive(Debug, Serialize)]
struct Assessed<'a> {
    level: &'static str,
    /// Level of the conversation's episode.
    #[serde(skip_serializing_if = "Option::is_none")]
    remembered: Option<&'static str>,
    cssrs: Option<u8>,
    subject: &'static str,
    kinds: Vec<&'static str>,
    minor: bool,
    rules: Vec<Rule<'a>>,
}

#[derive(Debug, Serialize)]
struct Rule<'a> {
    code: &'static str,
    rule: &'static str,
    /// Byte range in the line.
    span: [usize; 2],
    text: &'a str,
}

impl<W: Write> Explainer<W> {
    fn read_all(&mut self, input: &mut impl Read) -> io::Result<()> {
        let mut codec = LineCodec::default();
        let (mut bytes, mut chunk) = (BytesMut::new(), vec![0; READ_BYTES]);
        loop {
            let read = match input.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            // Terminates a last line without a line break.
            let fresh = if read == 0 { &b"\n"[..] } else { chunk.get(..read).unwrap_or_default() };
            // Fed line by line: the codec skips blank lines silently, and the count must not.
            for line in fresh.split_inclusive(|byte| *byte == b'\n') {
                bytes.extend_from_slice(line);
                let ends = line.ends_with(b"\n");
                self.line += u64::from(ends && (read != 0 || 1 < bytes.len()));
                while let Some(inbound) = codec.next_line(&mut bytes) {
                    self.report(inbound, ends)?;
                }
            }
            self.output.flush()?;
            if read == 0 {
                return Ok(());
            }
        }
    }

    /// Writes the explanation of one line. `ended`: its line break has been read; a line over the limit is rejected
    /// before, and belongs to the number that follows.
    fn report(&mut self, inbound: Inbound, ended: bool) -> io::Result<()> {
        let line = self.line + u64::from(!ended);
        match inbound {
            Inbound::Rejected { code: error, .. } => {
                self.write(&Explanation { line, error: Some(error), assessed: None })
            }
            Inbound::Line { text, .. } => {
                let (assessment, remembered) = self.assess(&text);
                let assessed = assessed(&assessment, remembered, text.expose());
                self.write(&Explanation { line, error: None, assessed: Some(assessed) })
            }
        }
    }

    fn assess(&mut self, text: &UserText) -> (Assessment, Option<Level>) {
        if !self.options.conversation {
            return (safety::assess(&safety::Context::default(), text.expose()), None);
        }
        let at = Timestamp::from_unix_ms(i64::try_from(self.line).unwrap_or(i64::MAX).saturating_mul(BETWEEN_MS));
        let assessment = self.episode.observe(at, text.expose());
        (assessment, Some(self.episode.level(at)))
    }

    fn write(&mut self, explanation: &Explanation<'_>) -> io::Result<()> {
        if self.options.json {
            serde_json::to_writer(&mut self.output, explanation)?;
            return writeln!(self.output);
        }
        let Explanation { line, error, assessed } = explanation;
        if let Some(error) = error {
            writeln!(self.output, "{line}: {error}")?;
        }
        let Some(assessed) = assessed else { return Ok(()) };
        let mut parts = vec![assessed.level.to_owned()];
        parts.extend(assessed.remembered.map(|remembered| format!("remembered {remembered}")));
        parts.extend(assessed.cssrs.map(|item| format!("C-SSRS {item}")));
        parts.push(format!("subject {}", assessed.subject));
        if !assessed.kinds.is_empty() {
            parts.push(assessed.kinds.join(" + "));
        }
        if assessed.minor {
            parts.push("says to be a minor".to_owned());
        }
        writeln!(self.output, "{line}: {}", parts.join(", "))?;
        for Rule { code, rule, span: [from, to], text } in &assessed.rules {
            // Debug-quoted: control characters of the input must not reach the terminal.
            writeln!(self.output, "  {code} by {rule} at {from}..{to}: {text:?}")?;
        }
        Ok(())
    }
}

fn assessed<'a>(assessment: &Assessment, remembered: Option<Level>, text: &'a str) -> Assessed<'a> {
    let rule = |Reason { code, rule, span }: &Reason| Rule {
        code,
        rule,
        span: [span.start, span.end],
        text: text.get(span.clone()).unwrap_or_default(),
    };
    Assessed {
        level: assessment.level.name(),
        remembered: remembered.map(Level::name),
        cssrs: assessment.cssrs.map(|item: Cssrs| item as u8),
        subject: match assessment.subject {
            Subject::Own => "self",
            Subject::Other => "other",
            Subject::Unknown => "unknown",
        },
        kinds: assessment.kinds.iter().map(Kind::name).collect(),
        minor: assessment.minor_hint,
        rules: assessment.reasons.iter().map(rule).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(input: &[u8], options: ExplainOptions) -> String {
        let mut output = Vec::new();
        explain(input, &mut output, options).unwrap();
        String::from_utf8(output).unwrap()
    }

    fn json(input: &[u8], conversation: bool) -> Vec<serde_json::Value> {
        let output = explained(input, ExplainOptions { json: true, conversation });
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn numbers_every_line() {
        let output = json(b"hola\r\n\n  \nquiero morirme\n\xff\xfe\nchau", false);
        let numbers: Vec<_> = output.iter().map(|line| line["line"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [1, 4, 5, 6]);
        assert_eq!(output[0]["level"], "none");
        assert_eq!((&output[1]["level"], &output[1]["subject"]), (&"high".into(), &"self".into()));
        assert_eq!(output[1]["kinds"], serde_json::json!(["suicide"]));
        let rule = &output[1]["rules"][0];
        let [from, to] = [0, 1].map(|end| usize::try_from(rule["span"][end].as_u64().unwrap()).unwrap());
        assert_eq!("quiero morirme".get(from..to), rule["text"].as_str());
        assert_eq!(output[2], serde_json::json!({"line": 5, "error": "invalid_utf8"}));
        assert_eq!(output[3]["level"], "none");
    }

    #[test]
    fn reports_an_overlong_line_once_and_goes_on() {
        let mut input = vec![b'a'; 3 * protocol::limits::MAX_LINE_BYTES];
        input.extend_from_slice(b"\nquiero morirme\n");
        let output = json(&input, false);
        assert_eq!(output[0], serde_json::json!({"line": 1, "error": "line_too_long"}));
        assert_eq!((output.len(), &output[1]["line"], &output[1]["level"]), (2, &2.into(), &"high".into()));
    }

    #[test]
    fn conversation_keeps_its_level() {
        let lines = "quiero morirme\nhoy cociné arroz\n".as_bytes();
        let [alone, together] = [false, true].map(|conversation| json(lines, conversation));
        assert_eq!((&alone[1]["level"], alone[1].get("remembered")), (&"none".into(), None));
        assert_eq!(together[1]["remembered"], "high");
    }

    #[test]
    fn plain_output_escapes_control_characters() {
        let output = explained(b"quiero\x1b[31m morirme\n", ExplainOptions::default());
        assert!(output.starts_with("1: ") && !output.contains('\x1b'), "{output:?}");
        let output = explained("quiero morirme".as_bytes(), ExplainOptions::default());
        assert!(output.starts_with("1: high, C-SSRS ") && output.contains("subject self, suicide"), "{output}");
        assert!(output.contains("\n  wish_dead by es.") && output.contains(": \"quiero morirme\"\n"), "{output}");
    }
}
