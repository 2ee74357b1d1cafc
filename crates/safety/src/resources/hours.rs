//! Opening hours of a line.

use std::sync::LazyLock;

use jiff::tz::TimeZoneDatabase;
use protocol::{Language, Timestamp};

use super::table::Country;

/// The bundled time zones: the crate does no I/O, and the answer does not depend on the machine.
static TIME_ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

#[derive(Debug)]
pub(super) enum Hours {
    Always,
    Unknown,
    Spans { zone: &'static str, spans: &'static [Span] },
}

/// Days of the week, 0 Monday to 6 Sunday, and minutes of the day.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) first: u8,
    pub(super) last: u8,
    pub(super) from: u16,
    pub(super) to: u16,
}

impl Hours {
    pub(super) fn is_always(&self) -> bool {
        matches!(self, Self::Always)
    }

    /// `None` where the hours are not known.
    pub(super) fn is_open(&self, now: Timestamp) -> Option<bool> {
        match self {
            Self::Always => Some(true),
            Self::Unknown => None,
            Self::Spans { zone, spans } => {
                let zone = TIME_ZONES.get(zone).ok()?;
                let now = jiff::Timestamp::from_millisecond(now.unix_ms()).ok()?.to_zoned(zone);
                let day = u8::try_from(now.weekday().to_monday_zero_offset()).ok()?;
                let minute = u16::try_from(i32::from(now.hour()) * 60 + i32::from(now.minute())).ok()?;
                let holds =
                    |span: &Span| (span.first..=span.last).contains(&day) && (span.from..span.to).contains(&minute);
                Some(spans.iter().any(holds))
            }
        }
    }

    pub(super) fn text(&self, country: &Country, language: Language) -> String {
        let english = language == Language::English;
        match self {
            Self::Always => "24 h".to_owned(),
            Self::Unknown if english => "hours not confirmed".to_owned(),
            Self::Unknown => "horario sin confirmar".to_owned(),
            Self::Spans { spans, .. } => {
                let parts: Vec<String> = spans.iter().map(|span| span.text(language)).collect();
                let country = country.name.get(language);
                if english {
                    format!("{} ({country} time)", parts.join("; "))
                } else {
                    format!("{} (hora de {country})", parts.join("; "))
                }
            }
        }
    }
}

impl Span {
    fn text(&self, language: Language) -> String {
        const ES: [&str; 7] = ["lunes", "martes", "miércoles", "jueves", "viernes", "sábados", "domingos"];
        const EN: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let clock = |minute: u16| match (minute / 60, minute % 60) {
            (hour, 0) => hour.to_string(),
            (hour, minute) => format!("{hour}:{minute:02}"),
        };
        let days = if language == Language::English { EN } else { ES };
        let name = |day: u8| days.get(usize::from(day)).copied().unwrap_or_default();
        let (from, to) = (clock(self.from), clock(self.to));
        match (language, self.first == 0 && self.last == 6, self.first == self.last) {
            (Language::Spanish, true, _) => format!("todos los días de {from} a {to} h"),
            (Language::Spanish, _, true) => format!("{} de {from} a {to} h", name(self.first)),
            (Language::Spanish, ..) => format!("{} a {} de {from} a {to} h", name(self.first), name(self.last)),
            (Language::English, true, _) => format!("daily {from}–{to} h"),
            (Language::English, _, true) => format!("{} {from}–{to} h", name(self.first)),
            (Language::English, ..) => format!("{}–{} {from}–{to} h", name(self.first), name(self.last)),
        }
    }
}
