//! The web client as `build.rs` bundled it.

use protocol::Language;

use super::file::{Caching, File};

/// The page in one language, without the settings.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) code: &'static str,
    pub(super) html: &'static str,
    /// Texts of the language by name, sorted.
    words: &'static [(&'static str, &'static str)],
}

include!(concat!(env!("OUT_DIR"), "/web.rs"));

/// Returns a text of the page's words; its name, if there is none.
pub(super) fn word(language: Language, name: &'static str) -> &'static str {
    let words = PAGES.iter().find(|page| page.code == language.code()).map_or(&[][..], |page| page.words);
    words.binary_search_by_key(&name, |(name, _)| name).map_or(name, |at| words[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_by_name() {
        assert_eq!(word(Language::Spanish, "close"), "Cerrar");
        assert_eq!(word(Language::English, "close"), "Close");
        assert_eq!(word(Language::English, "none of ours"), "none of ours");
    }
}
