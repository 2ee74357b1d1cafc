//! Instructions to the model: stricter with a higher risk, in words and in temperature.

use protocol::Language;
use safety::{Kind, Level, Subject};

use session::Risk;

/// Highest temperature with a passive wish in force, and with more than that.
const CONCERN_TEMPERATURE: f32 = 0.4;
const HIGH_TEMPERATURE: f32 = 0.2;

/// Instructions in both languages.
#[derive(Clone, Copy)]
struct Text {
    spanish: &'static str,
    english: &'static str,
}

macro_rules! text {
    ($name:literal) => {
        Text {
            spanish: include_str!(concat!("prompts/", $name, "es.txt")),
            english: include_str!(concat!("prompts/", $name, "en.txt")),
        }
    };
}

/// Comes first, unless the operator has configured other instructions.
const BASE: Text = text!("");
const CONCERN: Text = text!("concern.");
const HIGH: Text = text!("high.");
const OTHER: Text = text!("other.");
const MINOR: Text = text!("minor.");
/// Sections for kinds of risk, the most urgent first. Suicide has those of its levels.
const KINDS: [(&[Kind], Text); 7] = [
    (&[Kind::Medical], text!("medical.")),
    (&[Kind::SexualViolence, Kind::Abuse], text!("violence.")),
    (&[Kind::HarmToOthers], text!("harm_to_others.")),
    (&[Kind::SelfHarm], text!("self_harm.")),
    (&[Kind::Substance], text!("substance.")),
    (&[Kind::Eating], text!("eating.")),
    (&[Kind::Psychosis], text!("psychosis.")),
];

impl Text {
    fn of(self, language: Language) -> &'static str {
        match language {
            Language::Spanish => self.spanish.trim_end(),
            Language::English => self.english.trim_end(),
        }
    }
}

/// Returns the instructions for an answer in `language` to a person at this `risk`. `own`: the operator's, in place of
/// the built-in ones; sections for the risk follow those too.
pub(super) fn instructions(own: Option<&str>, language: Language, risk: Risk) -> String {
    let mut text = own.unwrap_or_else(|| BASE.of(language)).to_owned();
    for section in sections(risk) {
        text.push_str("\n\n");
        text.push_str(section.of(language));
    }
    text
}

/// Returns the highest temperature at this level; `None`: the configured one.
pub(super) fn temperature_at_most(level: Level) -> Option<f32> {
    match level {
        Level::None => None,
        Level::Concern => Some(CONCERN_TEMPERATURE),
        Level::High | Level::Imminent => Some(HIGH_TEMPERATURE),
    }
}

fn sections(risk: Risk) -> impl Iterator<Item = Text> {
    let is_other = risk.subject == Subject::Other && (risk.level != Level::None || !risk.kinds.is_empty());
    let for_subject = match risk.level {
        _ if is_other => Some(OTHER),
        Level::None => None,
        Level::Concern => Some(CONCERN),
        Level::High | Level::Imminent => Some(HIGH),
    };
    let for_kinds = KINDS.into_iter().filter(move |(kinds, _)| kinds.iter().any(|kind| risk.kinds.contains(*kind)));
    for_subject.into_iter().chain(for_kinds.map(|(_, text)| text)).chain(risk.minor.then_some(MINOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn risk(level: Level, subject: Subject, kinds: &[Kind], minor: bool) -> Risk {
        Risk { level, subject, kinds: kinds.iter().copied().collect(), minor, ..Risk::default() }
    }

    #[test]
    fn adds_sections_by_risk() {
        let own = Subject::Own;
        for (risk, want) in [
            (risk(Level::None, own, &[], false), vec![]),
            (risk(Level::None, Subject::Other, &[], false), vec![]),
            (risk(Level::Concern, own, &[Kind::Suicide], false), vec![CONCERN]),
            (risk(Level::High, own, &[Kind::Suicide], true), vec![HIGH, MINOR]),
            (risk(Level::High, Subject::Unknown, &[Kind::SelfHarm], false), vec![HIGH, KINDS[3].1]),
            (risk(Level::Imminent, own, &[Kind::Substance, Kind::Medical], false), vec![HIGH, KINDS[0].1, KINDS[4].1]),
            (risk(Level::High, Subject::Other, &[Kind::Suicide], false), vec![OTHER]),
            (risk(Level::None, own, &[Kind::Abuse, Kind::SexualViolence], false), vec![KINDS[1].1]),
            (risk(Level::None, own, &[Kind::Eating], true), vec![KINDS[5].1, MINOR]),
        ] {
            for (language, base) in [(Language::Spanish, BASE.spanish), (Language::English, BASE.english)] {
                let texts: Vec<_> = want.iter().map(|text| text.of(language)).collect();
                let all = instructions(None, language, risk);
                assert_eq!(all, [&[base.trim_end()][..], &texts].concat().join("\n\n"), "{risk:?}");
                let below_own = instructions(Some("mine"), language, risk);
                assert_eq!(below_own, [&["mine"][..], &texts].concat().join("\n\n"), "{risk:?}");
            }
        }
    }

    #[test]
    fn sections_have_no_phone_number_and_disclose_ai() {
        let kinds: Vec<_> = Kind::ALL.to_vec();
        for subject in [Subject::Own, Subject::Other] {
            for language in [Language::Spanish, Language::English] {
                let all = instructions(None, language, risk(Level::High, subject, &kinds, true));
                let digits: String = all.chars().filter(char::is_ascii_digit).collect();
                assert_eq!(digits, "4444", "the breathing exercise");
                let is_ai = ["sos una inteligencia artificial", "you are an artificial intelligence"];
                assert!(is_ai.iter().any(|words| all.contains(words)), "{language:?}");
            }
        }
    }

    #[test]
    fn temperature_falls_as_level_rises() {
        let levels = [Level::None, Level::Concern, Level::High, Level::Imminent];
        let highest = levels.map(|level| temperature_at_most(level).unwrap_or(f32::INFINITY));
        assert!(highest.is_sorted_by(|lower, higher| higher <= lower), "{highest:?}");
    }
}
