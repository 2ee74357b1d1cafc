//! Texts and word groups, compiled from `data/companion.*.toml` by the build.

use protocol::Language;

/// A text in the registers of vos, tú and usted; the same three times in English.
pub(super) type Text = [&'static str; 3];

/// Texts of one language.
pub(super) struct Edition {
    acts: &'static [&'static [Text]],
    nouns: &'static [(Group, &'static str)],
    /// Text in place of an unknown emergency number.
    pub(super) emergency: &'static str,
    /// Text in place of an unknown name.
    pub(super) person: &'static str,
    pub(super) plan_title: &'static str,
    pub(super) plan_headings: [&'static str; 6],
    pub(super) plan_footer: &'static str,
}

/// Noun that a person may name.
pub(super) struct Topic {
    /// Normalised, with the determiner and spaces around.
    pub(super) found_as: &'static str,
    /// The companion's name for it, by register.
    pub(super) forms: Text,
    pub(super) plural: bool,
    /// A person or an animal.
    pub(super) person: bool,
}

impl Edition {
    /// Returns the texts of `language`.
    pub(super) fn of(language: Language) -> &'static Self {
        match language {
            Language::Spanish => &SPANISH,
            Language::English => &ENGLISH,
        }
    }

    pub(super) fn texts(&self, act: Act) -> &'static [Text] {
        self.acts.get(act as usize).copied().unwrap_or_default()
    }

    /// Returns the noun for a feeling.
    pub(super) fn noun(&self, group: Group) -> Option<&'static str> {
        self.nouns.iter().find(|(named, _)| *named == group).map(|(_, noun)| *noun)
    }
}

include!(concat!(env!("OUT_DIR"), "/companion.rs"));
