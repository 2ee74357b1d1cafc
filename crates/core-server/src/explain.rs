//! `core-server explain`: how lines are assessed, told to whoever keeps the rules.
//!
//! Nothing is stored or sent: lines come from standard input, and the answers go to standard output.

use std::io::{self, Read, Write};

use bytes::BytesMut;
use protocol::{ErrorCode, Inbound, LineCodec, Timestamp, UserText};
use safety::episode::Episode;
use safety::{Assessment, Cssrs, Kind, Level, Reason, Subject};
use serde::Serialize;

/// Read at once.
const READ_BYTES: usize = 64 * 1_024;
/// Time between two messages of a conversation.
const BETWEEN_MS: i64 = 30_000;

/// How to explain.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExplainOptions {
    /// One JSON object a line.
    pub json: bool,
    /// The lines are one conversation.
    pub conversation: bool,
}

/// Explains every line of `input` on `output`, one after another as they come. Blank lines are passed over, and
/// a line that cannot be read is named. Returns once `input` ends, or nobody reads `output` any more.
///
/// # Errors
///
/// `input` cannot be read, or `output` cannot be written.
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
    /// The number of the line in hand.
    line: u64,
    episode: Episode,
}

/// What is told of a line.
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
    /// The level that the conversation remembers.
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
    /// Bytes of the line.
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
            // The last line may have no end.
            let fresh = if read == 0 { &b"\n"[..] } else { chunk.get(..read).unwrap_or_default() };
            // One line at a time, so that each is known by its number, blank or not.
            for line in fresh.split_inclusive(|byte| *byte == b'\n') {
                bytes.extend_from_slice(line);
                let ends = line.ends_with(b"\n");
                self.line += u64::from(ends && (read != 0 || 1 < bytes.len()));
                while let Some(inbound) = codec.next_line(&mut bytes) {
                    self.tell(inbound, ends)?;
                }
            }
            self.output.flush()?;
            if read == 0 {
                return Ok(());
            }
        }
    }

    /// `ended`: the line's end has been read; one that is too long is told before.
    fn tell(&mut self, inbound: Inbound, ended: bool) -> io::Result<()> {
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
        let mut told = vec![assessed.level.to_owned()];
        told.extend(assessed.remembered.map(|remembered| format!("remembered {remembered}")));
        told.extend(assessed.cssrs.map(|item| format!("C-SSRS {item}")));
        told.push(format!("subject {}", assessed.subject));
        if !assessed.kinds.is_empty() {
            told.push(assessed.kinds.join(" + "));
        }
        if assessed.minor {
            told.push("says to be a minor".to_owned());
        }
        writeln!(self.output, "{line}: {}", told.join(", "))?;
        for Rule { code, rule, span: [from, to], text } in &assessed.rules {
            // Quoted: control characters of a line must not reach the terminal.
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
        let told = explained(input, ExplainOptions { json: true, conversation });
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn each_line_is_told_under_its_number() {
        let told = json(b"hola\r\n\n  \nquiero morirme\n\xff\xfe\nchau", false);
        let numbers: Vec<_> = told.iter().map(|line| line["line"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [1, 4, 5, 6]);
        assert_eq!(told[0]["level"], "none");
        assert_eq!((&told[1]["level"], &told[1]["subject"]), (&"high".into(), &"self".into()));
        assert_eq!(told[1]["kinds"], serde_json::json!(["suicide"]));
        let rule = &told[1]["rules"][0];
        let [from, to] = [0, 1].map(|end| usize::try_from(rule["span"][end].as_u64().unwrap()).unwrap());
        assert_eq!("quiero morirme".get(from..to), rule["text"].as_str());
        assert_eq!(told[2], serde_json::json!({"line": 5, "error": "invalid_utf8"}));
        assert_eq!(told[3]["level"], "none");
    }

    #[test]
    fn a_line_that_is_too_long_is_named_once_and_the_next_one_read() {
        let mut input = vec![b'a'; 3 * protocol::limits::MAX_LINE_BYTES];
        input.extend_from_slice(b"\nquiero morirme\n");
        let told = json(&input, false);
        assert_eq!(told[0], serde_json::json!({"line": 1, "error": "line_too_long"}));
        assert_eq!((told.len(), &told[1]["line"], &told[1]["level"]), (2, &2.into(), &"high".into()));
    }

    #[test]
    fn a_conversation_remembers() {
        let lines = "quiero morirme\nhoy cociné arroz\n".as_bytes();
        let [alone, together] = [false, true].map(|conversation| json(lines, conversation));
        assert_eq!((&alone[1]["level"], alone[1].get("remembered")), (&"none".into(), None));
        assert_eq!(together[1]["remembered"], "high");
    }

    #[test]
    fn text_for_people_shows_no_control_characters() {
        let told = explained(b"quiero\x1b[31m morirme\n", ExplainOptions::default());
        assert!(told.starts_with("1: ") && !told.contains('\x1b'), "{told:?}");
        let told = explained("quiero morirme".as_bytes(), ExplainOptions::default());
        assert!(told.starts_with("1: high, C-SSRS ") && told.contains("subject self, suicide"), "{told}");
        assert!(told.contains("\n  wish_dead by es.") && told.contains(": \"quiero morirme\"\n"), "{told}");
    }
}
