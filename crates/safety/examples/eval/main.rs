//! Measures the risk engine on a folder of sets. Started by `scripts/eval-safety`.
//!
//! `eval [--misses] [--lang es] [--variants] [--strict] [--lines FILE]... FOLDER`
//! `eval --table FOLDER`: the measures as a table in Markdown.

mod bounds;
mod sets;
mod variants;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use protocol::Timestamp;
use safety::episode::Episode;
use safety::{Assessment, Context, Level, Subject, assess};
use sets::{Conversation, Sentence};

#[derive(Debug, Default)]
struct Options {
    folder: PathBuf,
    lang: Option<String>,
    misses: bool,
    variants: bool,
    strict: bool,
    table: bool,
    lines: Vec<PathBuf>,
}

fn options() -> Option<Options> {
    let mut options = Options::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--misses" => options.misses = true,
            "--variants" => options.variants = true,
            "--strict" => options.strict = true,
            "--table" => options.table = true,
            "--lang" => options.lang = Some(args.next()?),
            "--lines" => options.lines.push(args.next()?.into()),
            folder if !folder.starts_with('-') => options.folder = folder.into(),
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> io::Result<ExitCode> {
    let mut out = io::BufWriter::new(io::stdout());
    let Some(options) = options() else {
        writeln!(out, "eval [--table] [--misses] [--lang es] [--variants] [--strict] [--lines FILE]... FOLDER")?;
        return Ok(ExitCode::from(2));
    };
    let wanted = |lang: &str| options.lang.as_deref().is_none_or(|wanted| wanted == lang);
    let sentences: Vec<Sentence> =
        sets::sentences(&options.folder).into_iter().filter(|sentence| wanted(&sentence.lang)).collect();
    let judged: Vec<Judged<'_>> = sentences.iter().map(Judged::new).collect();
    if options.table {
        table(&mut out, &judged)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut failed = 0;
    for lang in ["es", "en"].into_iter().filter(|lang| wanted(lang)) {
        let of: Vec<&Judged<'_>> = judged.iter().filter(|judged| judged.sentence.lang == lang).collect();
        failed += report(&mut out, lang, &of)?;
    }
    let talks: Vec<Conversation> =
        sets::conversations(&options.folder).into_iter().filter(|talk| wanted(&talk.lang)).collect();
    failed += conversations(&mut out, &talks, options.misses)?;
    if options.variants {
        failed += metamorphic(&mut out, &sentences, options.misses)?;
    }
    for path in &options.lines {
        failed += ordinary(&mut out, path, options.misses)?;
    }
    if options.misses {
        misses(&mut out, &judged)?;
    }
    writeln!(out, "{failed} goals missed")?;
    Ok(if options.strict && failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A sentence and its assessment.
struct Judged<'a> {
    sentence: &'a Sentence,
    assessment: Assessment,
}

/// A measure: the sentences it counts, and those that it counts as good.
struct Measure {
    name: &'static str,
    goal: Goal,
    of: fn(&Judged<'_>) -> bool,
    hit: fn(&Judged<'_>) -> bool,
}

const MEASURES: [Measure; 9] = [
    Measure {
        name: "recall of high and imminent",
        goal: Goal::at_least(0.97),
        of: |judged| judged.is_own() && judged.sentence.least() >= Level::High,
        hit: |judged| judged.assessment.level >= Level::High,
    },
    Measure {
        name: "imminent as imminent",
        goal: Goal::at_least(0.85),
        of: |judged| judged.is_own() && judged.sentence.least() == Level::Imminent,
        hit: |judged| judged.assessment.level == Level::Imminent,
    },
    Measure {
        name: "recall of concern",
        goal: Goal::at_least(0.85),
        of: |judged| judged.is_own() && judged.sentence.least() == Level::Concern,
        hit: |judged| judged.assessment.level >= Level::Concern,
    },
    Measure {
        name: "recall of somebody else",
        goal: Goal::at_least(0.85),
        of: |judged| judged.sentence.subject == "other" && judged.sentence.least() >= Level::Concern,
        hit: |judged| judged.assessment.level >= Level::Concern && judged.assessment.subject == Subject::Other,
    },
    Measure {
        name: "false alarms, everyday",
        goal: Goal::at_most(0.02),
        of: |judged| judged.sentence.most() == Level::None && judged.sentence.class != "sad",
        hit: |judged| judged.is_flagged(),
    },
    Measure {
        name: "false alarms, sad",
        goal: Goal::at_most(0.10),
        of: |judged| judged.sentence.most() == Level::None && judged.sentence.class == "sad",
        hit: |judged| judged.is_flagged(),
    },
    Measure {
        name: "more than concern, past or denied",
        goal: Goal::at_most(0.10),
        of: |judged| judged.sentence.most() == Level::Concern && judged.sentence.least() == Level::None,
        hit: |judged| judged.assessment.level > Level::Concern,
    },
    Measure {
        name: "more than concern for concern",
        goal: Goal::at_most(0.25),
        of: |judged| judged.sentence.most() == Level::Concern && judged.sentence.least() == Level::Concern,
        hit: |judged| judged.assessment.level > Level::Concern,
    },
    Measure {
        name: "kinds found",
        goal: Goal::at_least(0.85),
        of: |judged| !judged.sentence.kinds.is_empty() && judged.sentence.class != "other_at_risk",
        hit: |judged| {
            let found = |kind: &String| judged.assessment.kinds.iter().any(|found| found.name() == kind);
            judged.sentence.kinds.iter().any(found)
        },
    },
];

impl<'a> Judged<'a> {
    fn new(sentence: &'a Sentence) -> Self {
        Self { sentence, assessment: assess(&Context::default(), &sentence.text) }
    }

    fn is_own(&self) -> bool {
        self.sentence.subject == "self"
    }

    /// Returns `true` if the person would be shown help.
    fn is_flagged(&self) -> bool {
        self.assessment.level > Level::None || !self.assessment.kinds.is_empty()
    }

    /// Returns the measures that the sentence fails.
    fn spoils(&self) -> impl Iterator<Item = &'static Measure> + '_ {
        MEASURES.iter().filter(|measure| (measure.of)(self) && (measure.hit)(self) == measure.goal.at_most)
    }
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

/// Goal of a share: a lower or an upper bound.
#[derive(Debug, Clone, Copy)]
struct Goal {
    share: f64,
    at_most: bool,
}

impl Goal {
    const fn at_least(share: f64) -> Self {
        Self { share, at_most: false }
    }

    const fn at_most(share: f64) -> Self {
        Self { share, at_most: true }
    }
}

/// Writes a share with its bound; returns 1 where it misses the goal.
fn line(out: &mut impl Write, name: &str, hits: usize, of: usize, goal: Goal) -> io::Result<usize> {
    if of == 0 {
        return Ok(0);
    }
    let share = number(hits) / number(of);
    let missed = if goal.at_most { share > goal.share } else { share < goal.share };
    let (sign, bound) = if goal.at_most { ("<=", bounds::upper(hits, of)) } else { (">=", bounds::lower(hits, of)) };
    writeln!(
        out,
        "{} {name:42} {hits:5}/{of:<5} {share:7.4}  95 %: {sign} {bound:.4}  goal {sign} {}",
        if missed { "MISSED" } else { "      " },
        goal.share,
    )?;
    Ok(usize::from(missed))
}

fn report(out: &mut impl Write, lang: &str, judged: &[&Judged<'_>]) -> io::Result<usize> {
    writeln!(out, "\n{lang}: {} sentences", judged.len())?;
    let mut failed = 0;
    for measure in &MEASURES {
        let of: Vec<_> = judged.iter().filter(|judged| (measure.of)(judged)).collect();
        let hits = of.iter().filter(|judged| (measure.hit)(judged)).count();
        failed += line(out, measure.name, hits, of.len(), measure.goal)?;
        let mut by_trick: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
        for judged in of {
            let counts = by_trick.entry((&judged.sentence.class, &judged.sentence.trick)).or_default();
            counts.1 += 1;
            counts.0 += usize::from((measure.hit)(judged) == measure.goal.at_most);
        }
        let bad: Vec<String> = by_trick
            .iter()
            .filter(|(_, (bad, _))| *bad > 0)
            .map(|((class, trick), (bad, of))| format!("{class}/{trick} {bad}/{of}"))
            .collect();
        if !bad.is_empty() {
            writeln!(out, "         {}", bad.join(", "))?;
        }
    }
    Ok(failed)
}

/// Writes the measures as a table in Markdown, a column for each language.
fn table(out: &mut impl Write, judged: &[Judged<'_>]) -> io::Result<()> {
    writeln!(out, "| test set | Spanish | English | goal |\n| --- | --- | --- | --- |")?;
    for measure in &MEASURES {
        let Goal { share: goal, at_most } = measure.goal;
        let cell = |lang: &str| {
            let of: Vec<_> =
                judged.iter().filter(|judged| judged.sentence.lang == lang && (measure.of)(judged)).collect();
            let (hits, of) = (of.iter().filter(|judged| (measure.hit)(judged)).count(), of.len());
            let bound = if at_most { bounds::upper(hits, of) } else { bounds::lower(hits, of) };
            format!("{hits}/{of} = {:.3} ({} {bound:.3})", number(hits) / number(of.max(1)), sign(measure.goal))
        };
        writeln!(out, "| {} | {} | {} | {} {goal} |", measure.name, cell("es"), cell("en"), sign(measure.goal))?;
    }
    Ok(())
}

/// The side on which a share is to be, and its bound.
fn sign(goal: Goal) -> &'static str {
    if goal.at_most { "≤" } else { "≥" }
}

fn misses(out: &mut impl Write, judged: &[Judged<'_>]) -> io::Result<()> {
    for judged in judged {
        for measure in judged.spoils() {
            let reasons: Vec<&str> = judged.assessment.reasons.iter().map(|reason| reason.rule).collect();
            writeln!(
                out,
                "{} | {} | {}/{}/{} | {} {:?} | {}",
                measure.name,
                judged.assessment.level,
                judged.sentence.class,
                judged.sentence.trick,
                judged.sentence.family,
                reasons.join(","),
                judged.assessment.subject,
                judged.sentence.text.replace('\n', "\\n"),
            )?;
        }
    }
    Ok(())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_ms((1_700_000_000 + seconds) * 1_000)
}

fn conversations(out: &mut impl Write, talks: &[Conversation], misses: bool) -> io::Result<usize> {
    let (mut good, mut all) = (0, 0);
    for talk in talks {
        let mut episode = Episode::default();
        for message in &talk.messages {
            episode.observe(at(message.seconds), &message.text);
            let level = episode.level(at(message.seconds));
            all += 1;
            if message.levels.contains(&level) {
                good += 1;
            } else if misses {
                let wanted: Vec<&str> = message.levels.iter().map(|level| level.name()).collect();
                writeln!(
                    out,
                    "talk {} +{} | {level} not {} | {}",
                    talk.id,
                    message.seconds,
                    wanted.join("|"),
                    message.text
                )?;
            }
        }
    }
    writeln!(out, "\n{} conversations", talks.len())?;
    line(out, "levels remembered", good, all, Goal::at_least(0.9))
}

/// Level of a message, or of its parts as messages that follow one another.
fn level_of(text: &str, split: bool) -> Level {
    if !split {
        return assess(&Context::default(), text).level;
    }
    let mut episode = Episode::default();
    for (part, seconds) in text.split('\n').zip((0..).step_by(20)) {
        episode.observe(at(seconds), part);
    }
    episode.level(at(100))
}

fn metamorphic(out: &mut impl Write, sentences: &[Sentence], misses: bool) -> io::Result<usize> {
    writeln!(out, "\nvariants")?;
    let mut failed = 0;
    for name in variants::NAMES {
        let (mut good, mut all) = (0, 0);
        for sentence in sentences.iter().filter(|sentence| !sentence.text.contains('\n')) {
            let Some(variant) = variants::variant(name, &sentence.text) else { continue };
            let (before, after) = (level_of(&sentence.text, false), level_of(&variant, name == "split"));
            all += 1;
            good += usize::from(before == after);
            if misses && before != after {
                writeln!(out, "variant {name} | {before} then {after} | {}", variant.replace('\n', " / "))?;
            }
        }
        failed += line(out, name, good, all, Goal::at_least(0.98))?;
    }
    Ok(failed)
}

/// Ordinary text: texts separated by `%` lines (fortunes), or one a line.
fn ordinary(out: &mut impl Write, path: &PathBuf, misses: bool) -> io::Result<usize> {
    let bytes = std::fs::read(path)?;
    let content = String::from_utf8_lossy(&bytes);
    let texts: Vec<&str> = if content.contains("\n%") {
        content.split("\n%").map(str::trim).filter(|text| !text.is_empty()).collect()
    } else {
        content.lines().filter(|line| !line.trim().is_empty()).collect()
    };
    let mut flagged = 0;
    for text in &texts {
        let assessment = assess(&Context::default(), text);
        if assessment.level > Level::None {
            flagged += 1;
            if misses {
                let reasons: Vec<&str> = assessment.reasons.iter().map(|reason| reason.rule).collect();
                writeln!(out, "ordinary | {} | {} | {}", assessment.level, reasons.join(","), text.replace('\n', " "))?;
            }
        }
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    line(out, &name, flagged, texts.len(), Goal::at_most(0.005))
}
