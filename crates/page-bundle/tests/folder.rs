//! The bundle of the real folder.

#![expect(clippy::unwrap_used, reason = "what is unexpected here fails the test")]

use std::path::Path;

use page_bundle::{Bundle, brotli, bundle, gzip, integrity};

fn web() -> Bundle {
    bundle(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web")).unwrap()
}

/// Limit of page and first script together, brotli, in bytes: what they have grown to. The goal is 40 KiB.
const PAGE_BYTES: usize = 52 * 1_024;
/// Limit of the second script.
const LATER_BYTES: usize = 13 * 1_024;

#[test]
fn page_is_whole_in_each_language() {
    let bundle = web();
    let codes: Vec<&str> = bundle.languages.iter().map(|language| language.code.as_str()).collect();
    assert_eq!(codes, ["en", "es"]);
    for language in &bundle.languages {
        let page = &language.page;
        assert!(page.contains(&format!("<html lang=\"{}\">", language.code)));
        assert!(page.contains(&format!("<script src=\"{}\" defer></script>", bundle.script.name)));
        let words =
            bundle.later.iter().find(|part| part.name.starts_with(&format!("words-{}.", language.code))).unwrap();
        assert!(page.contains(&format!(" data-{}=\"{}\"", language.code, words.name)) && page.contains(&words.text));
        let welcome = &language.words["welcome_title"];
        assert!(page.contains(welcome.as_str()), "{welcome}");
        let (_, style) = page.split_once("<style>").unwrap();
        assert_eq!(integrity(style.split_once("</style>").unwrap().0), bundle.style_hash);
        let (_, early) = page.split_once("<script>").unwrap();
        assert_eq!(integrity(early.split_once("</script>").unwrap().0), bundle.early_hash);
    }
    let later = bundle.later.iter().find(|part| part.name.starts_with("later.")).unwrap();
    assert!(bundle.script.text.contains(&format!(".part(\"{}\", [$", later.name)));
    assert!(later.text.starts_with("document.currentScript.run = ($"));
    assert!(!bundle.script.text.contains("import ") && !bundle.script.text.contains("\nexport "));
}

#[test]
fn page_is_small() {
    let bundle = web();
    let script = brotli(bundle.script.text.as_bytes(), 11).len();
    for language in &bundle.languages {
        let page = brotli(language.page.as_bytes(), 11).len();
        assert!(page + script <= PAGE_BYTES, "{}: {page} + {script} bytes", language.code);
    }
    let later = bundle.later.iter().find(|part| part.name.starts_with("later.")).unwrap();
    let size = brotli(later.text.as_bytes(), 11).len();
    assert!(size <= LATER_BYTES, "{size} bytes");
    assert!(gzip(bundle.script.text.as_bytes()).len() < bundle.script.text.len() / 2);
}
