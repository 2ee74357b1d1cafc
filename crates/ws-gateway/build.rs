//! Bundles the web client, and writes it as constants for `src/http/web.rs`.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use page_bundle::{Language, Part, brotli, bundle, entity_tag, gzip};

const WEB: &str = "../../web";
/// The best; a build has the time.
const BROTLI_QUALITY: u8 = 11;
/// Files that are served as they are: name, type, caching, and whether compression makes them smaller.
const FILES: [(&str, &str, Caching, bool); 7] = [
    ("favicon.svg", "image/svg+xml", Caching::Daily, true),
    ("help-lines.json", "application/json", Caching::Revalidated, true),
    ("manifest.webmanifest", "application/manifest+json", Caching::Revalidated, true),
    ("icons/192.png", "image/png", Caching::Daily, false),
    ("icons/512.png", "image/png", Caching::Daily, false),
    ("icons/maskable.png", "image/png", Caching::Daily, false),
    ("icons/apple-touch.png", "image/png", Caching::Daily, false),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={WEB}");
    let web = Path::new(WEB);
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    let out = Path::new(&out);
    let bundle = bundle(web)?;
    let mut files = String::new();
    let parts: Vec<&Part> = std::iter::once(&bundle.script).chain(&bundle.later).collect();
    for part in &parts {
        files += &file(out, (&part.name, part_type(part), Caching::Forever, true), part.text.as_bytes())?;
    }
    for entry in FILES {
        files += &file(out, entry, &fs::read(web.join(entry.0))?)?;
    }
    let count = parts.len() + FILES.len();
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    let pages: String = bundle.languages.iter().map(page).collect();
    let code = format!(
        "pub(super) static FILES: [File; {count}] = [{files}];\n\
         pub(super) static PAGES: &[Page] = &[{pages}];\n\
         pub(super) const PART_NAMES: &[&str] = &{names:?};\n\
         pub(super) const PAGE_STYLE_HASH: &str = {:?};\n\
         pub(super) const EARLY_SCRIPT_HASH: &str = {:?};\n\
         pub(super) const GUIDE_STYLE: &str = {:?};\n\
         pub(super) const GUIDE_STYLE_HASH: &str = {:?};\n\
         pub(super) const WORKER: &str = {:?};\n",
        bundle.style_hash,
        bundle.early_hash,
        bundle.guide_style,
        bundle.guide_style_hash,
        fs::read_to_string(web.join("sw.js"))?,
    );
    fs::write(out.join("web.rs"), code)?;
    Ok(())
}

fn part_type(part: &Part) -> &'static str {
    if part.name.ends_with(".json") { "application/json" } else { "text/javascript; charset=utf-8" }
}

/// Names of constants of `src/http/file.rs`.
#[derive(Debug, Clone, Copy)]
enum Caching {
    /// Its name changes with its content.
    Forever,
    Daily,
    Revalidated,
}

/// Writes a file with its compressed forms, and returns it as a Rust expression.
fn file(
    out: &Path,
    (name, content_type, caching, compresses): (&str, &str, Caching, bool),
    bytes: &[u8],
) -> Result<String, Box<dyn Error>> {
    let flat = name.replace('/', "-");
    let compressed = compresses.then(|| [("br", brotli(bytes, BROTLI_QUALITY)), ("gz", gzip(bytes))]);
    fs::write(out.join(&flat), bytes)?;
    let included = |name: &str| format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}\"))");
    let mut forms = Vec::new();
    for (ending, bytes) in compressed.iter().flatten() {
        let name = format!("{flat}.{ending}");
        fs::write(out.join(&name), bytes)?;
        forms.push(format!("Some({})", included(&name)));
    }
    let forms = if forms.is_empty() { "None, None".to_owned() } else { forms.join(", ") };
    let (tag, plain) = (entity_tag(bytes), included(&flat));
    Ok(format!("File::new(({name:?}, {content_type:?}), ({tag:?}, Caching::{caching:?}), {plain}, {forms}),\n"))
}

/// Returns a page as a Rust expression, its words in the order of their names.
fn page(Language { code, words, page }: &Language) -> String {
    let words: String = words.iter().map(|word| format!("{word:?},")).collect();
    format!("Page {{ code: {code:?}, html: {page:?}, words: &[{words}] }},\n")
}
