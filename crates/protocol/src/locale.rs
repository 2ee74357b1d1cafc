//! Languages of the product, and locales.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A language of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// Spanish with voseo: the default.
    #[default]
    Spanish,
    /// English.
    English,
}

impl Language {
    /// Returns its ISO 639-1 code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Spanish => "es",
            Self::English => "en",
        }
    }
}

/// A supported language with the person's region, such as `es-AR`.
///
/// Anything else falls back to Spanish, so that no person is rejected over a language tag.
///
/// ```
/// use protocol::{Language, Locale};
///
/// let locale: Locale = "en_US".parse().unwrap();
/// assert_eq!((locale.language(), locale.region()), (Language::English, Some("US")));
/// // Anything but Spanish and English falls back to Spanish.
/// assert_eq!("fr-FR".parse::<Locale>().unwrap().language(), Language::Spanish);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Locale {
    language: Language,
    region: Option<[u8; 2]>,
}

impl Locale {
    /// Returns the language.
    pub fn language(self) -> Language {
        self.language
    }

    /// Returns the ISO 3166 alpha-2 code of the person's country, in upper case.
    pub fn region(&self) -> Option<&str> {
        self.region.as_ref().and_then(|region| std::str::from_utf8(region).ok())
    }
}

impl From<Language> for Locale {
    fn from(language: Language) -> Self {
        Self { language, region: None }
    }
}

/// Error of a tag that is not `language` or `language-REGION` with letters and digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a locale is a language tag such as es, en or es-AR")]
pub struct LocaleError;

impl FromStr for Locale {
    type Err = LocaleError;

    fn from_str(tag: &str) -> Result<Self, LocaleError> {
        let mut parts = tag.split(['-', '_']);
        let language = parts.next().unwrap_or_default();
        if !(2..=3).contains(&language.len()) || !language.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(LocaleError);
        }
        let mut region = None;
        for part in parts {
            if !(2..=8).contains(&part.len()) || !part.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Err(LocaleError);
            }
            if let ([a, b], None) = (part.as_bytes(), region)
                && part.bytes().all(|b| b.is_ascii_alphabetic())
            {
                region = Some([a.to_ascii_uppercase(), b.to_ascii_uppercase()]);
            }
        }
        Ok(match language.to_ascii_lowercase().as_str() {
            "es" => Self { language: Language::Spanish, region },
            "en" => Self { language: Language::English, region },
            _ => Self { language: Language::Spanish, region: None },
        })
    }
}

impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.language.code())?;
        self.region().map_or(Ok(()), |region| write!(f, "-{region}"))
    }
}

impl Serialize for Locale {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Locale {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_language_tags() {
        for (tag, want) in [
            ("es", Some("es")),
            ("ES_ar", Some("es-AR")),
            ("en-US", Some("en-US")),
            ("es-Latn-MX", Some("es-MX")),
            ("es-419", Some("es")),
            ("pt-BR", Some("es")),
            ("", None),
            ("e", None),
            ("es-", None),
            ("es-AR\n", None),
            ("español", None),
        ] {
            let got = tag.parse::<Locale>().ok().map(|locale| locale.to_string());
            assert_eq!(got.as_deref(), want, "{tag:?}");
        }
    }
}
