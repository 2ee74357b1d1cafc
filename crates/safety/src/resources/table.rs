//! Static tables made from the data by `build/help_lines.rs`.

use protocol::Language;

use super::hours::{Hours, Span};

include!(concat!(env!("OUT_DIR"), "/help_lines.rs"));

#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    pub(super) es: &'static str,
    pub(super) en: &'static str,
}

impl Text {
    pub(super) fn get(self, language: Language) -> &'static str {
        match language {
            Language::Spanish => self.es,
            Language::English => self.en,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Official,
    Press,
    Unverified,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    Suicide,
    Youth,
    Violence,
    Eating,
    Helper,
}

impl LineKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Suicide => "suicide",
            Self::Youth => "youth",
            Self::Violence => "violence",
            Self::Eating => "eating",
            Self::Helper => "helper",
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct SmsTo {
    pub(super) to: &'static str,
    pub(super) body: Option<&'static str>,
    pub(super) body_es: Option<&'static str>,
}

impl SmsTo {
    pub(super) fn body_in(self, language: Language) -> Option<&'static str> {
        match language {
            Language::Spanish => self.body_es.or(self.body),
            Language::English => self.body,
        }
    }
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) country: &'static str,
    pub(super) kind: LineKind,
    pub(super) also: &'static [LineKind],
    pub(super) name: Text,
    pub(super) dial: Option<&'static str>,
    pub(super) display: Option<&'static str>,
    pub(super) how: Option<Text>,
    pub(super) sms: Option<SmsTo>,
    pub(super) whatsapp: Option<&'static str>,
    pub(super) url: Option<&'static str>,
    pub(super) hours: Hours,
    pub(super) area: Option<Text>,
    pub(super) languages: &'static [&'static str],
    pub(super) free: bool,
    pub(super) mobile_only: bool,
    pub(super) status: Status,
    pub(super) source: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the test of the data's age"))]
    pub(super) source_date: &'static str,
    pub(super) verified_at: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the test of the data's age"))]
    pub(super) recheck: Option<&'static str>,
}

impl Line {
    pub(super) fn serves(&self, kind: LineKind) -> bool {
        self.kind == kind || self.also.contains(&kind)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    General,
    Ambulance,
    Police,
}

#[derive(Debug)]
pub(super) struct EmergencyNumber {
    pub(super) service: Service,
    pub(super) number: &'static str,
}

#[derive(Debug)]
pub(super) struct Country {
    pub(super) code: &'static str,
    pub(super) code3: &'static str,
    pub(super) name: Text,
    pub(super) aliases: &'static [&'static str],
    pub(super) numbers: &'static [EmergencyNumber],
    pub(super) status: Status,
    pub(super) source: &'static str,
    pub(super) source_date: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the test of the data's age"))]
    pub(super) recheck: Option<&'static str>,
}
