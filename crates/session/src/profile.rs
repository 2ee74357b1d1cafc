//! Language and location of the session's person, as far as they are known.

use protocol::{Country, Language, Locale, UserText};

use crate::country::{answered_country, confirms};
use crate::help::Whereabouts;
use crate::language::is_english;

/// Language and location.
#[derive(Debug)]
pub(crate) struct Profile {
    locale: Locale,
    /// No language was chosen, and no message was long enough to detect one.
    is_language_open: bool,
    /// `locale` was detected from a message and is not stored yet.
    is_locale_unsaved: bool,
    whereabouts: Whereabouts,
    /// The country was named in a message and is not stored yet.
    is_country_unsaved: bool,
}

impl Profile {
    /// `is_language_open`: the first message decides on the language.
    pub(crate) fn new(locale: Locale, country: Option<Country>, is_language_open: bool) -> Self {
        let whereabouts = Whereabouts { country, time_zone: None };
        Self { locale, is_language_open, is_locale_unsaved: false, whereabouts, is_country_unsaved: false }
    }

    pub(crate) fn locale(&self) -> Locale {
        self.locale
    }

    pub(crate) fn language(&self) -> Language {
        self.locale.language()
    }

    pub(crate) fn is_locale_unsaved(&self) -> bool {
        self.is_locale_unsaved
    }

    pub(crate) fn whereabouts(&self) -> &Whereabouts {
        &self.whereabouts
    }

    /// Records the time zone of a client: a guess at the country.
    pub(crate) fn note_time_zone(&mut self, time_zone: &UserText) {
        self.whereabouts.time_zone = Some(time_zone.expose().into());
    }

    /// Applies a `locale` that the person, or their client, has chosen.
    pub(crate) fn choose(&mut self, locale: Locale) {
        // A detected locale may not be stored yet: it stays unsaved if the choice is the same.
        self.is_locale_unsaved &= self.locale == locale;
        self.locale = locale;
        self.is_language_open = false;
    }

    /// Adopts the language of the first message that is long enough, unless one was chosen before.
    pub(crate) fn detect_language(&mut self, text: &UserText) {
        if !self.is_language_open {
            return;
        }
        let Some(is_english) = is_english(text) else { return };
        self.is_language_open = false;
        if is_english && self.language() != Language::English {
            self.locale = Language::English.into();
            self.is_locale_unsaved = true;
        }
    }

    /// Takes the detected language to be stored.
    pub(crate) fn take_unsaved_locale(&mut self) -> Option<Locale> {
        std::mem::take(&mut self.is_locale_unsaved).then_some(self.locale)
    }

    /// Puts the detected language back: the store failed, and the next message retries.
    pub(crate) fn restore_unsaved_locale(&mut self) {
        self.is_locale_unsaved = true;
    }

    pub(crate) fn set_country(&mut self, country: Country) {
        self.whereabouts.country = Some(country);
    }

    /// Adopts the country that `text` names, if it says nothing else and none was chosen. Returns true if it did.
    pub(crate) fn adopt_answered_country(&mut self, text: &UserText) -> bool {
        let Some(country) = answered_country(text.expose()).filter(|_| self.whereabouts.country.is_none()) else {
            return false;
        };
        self.adopt_country(country);
        true
    }

    /// Adopts the country guessed by the time zone, if `text` is a bare yes and none was chosen. Returns true if it did.
    pub(crate) fn adopt_confirmed_country(&mut self, text: &UserText) -> bool {
        let Some(country) = self.whereabouts.guessed_country().filter(|_| confirms(text.expose())) else {
            return false;
        };
        self.adopt_country(country);
        true
    }

    fn adopt_country(&mut self, country: Country) {
        self.set_country(country);
        self.is_country_unsaved = true;
    }

    /// Takes the adopted country to be stored.
    pub(crate) fn take_unsaved_country(&mut self) -> Option<Country> {
        let is_unsaved = std::mem::take(&mut self.is_country_unsaved);
        self.whereabouts.country.filter(|_| is_unsaved)
    }

    /// Puts the adopted country back: the store failed, and the next message retries.
    pub(crate) fn restore_unsaved_country(&mut self) {
        self.is_country_unsaved = true;
    }
}
