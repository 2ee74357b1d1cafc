//! The bundle of the real folder.

#![expect(clippy::unwrap_used, reason = "what is unexpected here fails the test")]

use std::path::Path;

use page_bundle::{Bundle, brotli, bundle, gzip, integrity};

fn web() -> Bundle {
    bundle(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web")).unwrap()
}

/// Limit of page and script together, brotli, in bytes: what they have grown to. The goal is 40 KiB.
const PAGE_BYTES: usize = 80 * 1_024;

#[test]
fn page_is_whole_in_each_language() {
    let bundle = web();
    let codes: Vec<&str> = bundle.languages.iter().map(|language| language.code.as_str()).collect();
    assert_eq!(codes, ["en", "es"]);
    for language in &bundle.languages {
        let page = &language.page;
        assert!(page.contains(&format!("<html lang=\"{}\">", language.code)));
        assert!(page.contains(&format!("<script src=\"{}\" defer></script>", bundle.script_name)));
        let welcome = &language.words["welcome_title"];
        assert!(page.contains(welcome.as_str()), "{welcome}");
        let (_, style) = page.split_once("<style>").unwrap();
        assert_eq!(integrity(style.split_once("</style>").unwrap().0), bundle.style_hash);
        let (_, early) = page.split_once("<script>").unwrap();
        assert_eq!(integrity(early.split_once("</script>").unwrap().0), bundle.early_hash);
    }
    assert!(!bundle.script.contains("import ") && !bundle.script.contains("\nexport "));
}

#[test]
fn page_is_small() {
    let bundle = web();
    let script = brotli(bundle.script.as_bytes(), 11).len();
    for language in &bundle.languages {
        let page = brotli(language.page.as_bytes(), 11).len();
        assert!(page + script <= PAGE_BYTES, "{}: {page} + {script} bytes", language.code);
    }
    assert!(gzip(bundle.script.as_bytes()).len() < bundle.script.len() / 2);
}
