//! Bundler of the web client: makes of `web/` the few small files that the gateway serves.
//!
//! Runs in the gateway's build script. The folder stays plain ES modules, style sheets and HTML, which node tests as they
//! are; nothing is installed and no command is run by hand. The modules become two classic scripts, the second loaded by
//! the first; all style sheets go into the page, and each language gets a page with its words in it. Comments and indentation are removed; names
//! are kept, because shorter ones would save an eighth and cost a JavaScript compiler in every build.

mod compress;
mod markup;
mod modules;
mod script;
mod style;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

pub use self::compress::{brotli, entity_tag, gzip, integrity};
use self::markup::Parts;
pub use self::markup::escaped;

/// Modules start here.
const ENTRY: &str = "js/main.js";
/// Inlined into the page, before the first paint.
const EARLY: &str = "js/early.js";
/// Style sheets of the pages without a script.
const GUIDE_STYLES: [&str; 2] = ["css/base.css", "css/guide.css"];
/// Digits of a hash in a file name: enough to tell two versions apart.
const NAME_DIGITS: usize = 16;

/// A file of the folder is not what the bundler knows.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file contains something that the bundler does not know.
    #[error("{path}: {problem}")]
    Unknown {
        /// Path within the folder.
        path: String,
        /// The construct.
        problem: String,
    },
}

impl BundleError {
    fn unknown(path: &str, problem: impl Into<String>) -> Self {
        Self::Unknown { path: path.to_owned(), problem: problem.into() }
    }
}

/// A file whose name has the hash of its content.
#[derive(Debug)]
pub struct Part {
    /// Name.
    pub name: String,
    /// Content.
    pub text: String,
}

impl Part {
    pub(crate) fn new(stem: &str, ending: &str, text: String) -> Self {
        Self { name: format!("{stem}.{}.{ending}", hash_digits(&text)), text }
    }
}

/// Words of one language: texts without a number, by name.
pub type Words = BTreeMap<String, String>;

/// A language of the page.
#[derive(Debug)]
pub struct Language {
    /// Tag, such as `es`.
    pub code: String,
    /// Words that are plain texts.
    pub words: Words,
    /// The page in this language; it contains style and early script.
    pub page: String,
}

/// The output.
#[derive(Debug)]
pub struct Bundle {
    /// The modules that the page needs at once, as one classic script.
    pub script: Part,
    /// The script that the first one loads, and the words of each language.
    pub later: Vec<Part>,
    /// Languages in the order of their codes.
    pub languages: Vec<Language>,
    /// Hash of the page's inline style, as in a content security policy.
    pub style_hash: String,
    /// Hash of the page's inline script.
    pub early_hash: String,
    /// Style sheet of pages without a script.
    pub guide_style: String,
    /// Its hash.
    pub guide_style_hash: String,
}

/// Source files below one folder, by their path within it.
#[derive(Debug)]
pub(crate) struct Folder<'a>(&'a Path);

impl Folder<'_> {
    pub(crate) fn read(&self, path: &str) -> Result<String, BundleError> {
        let path = self.0.join(path);
        fs::read_to_string(&path).map_err(|source| BundleError::Read { path, source })
    }
}

/// Bundles the folder `web`.
///
/// # Errors
///
/// A file is missing, or contains a form that the bundler does not know: a bundle is complete or none.
pub fn bundle(web: &Path) -> Result<Bundle, BundleError> {
    let folder = Folder(web);
    let scripts = modules::bundle(&folder, ENTRY)?;
    let script = Part::new("app", "js", scripts.first);
    let early = script::stripped(EARLY, &folder.read(EARLY)?)?.text();
    let html = folder.read("index.html")?;
    let style = styles(&folder, &markup::style_sheets(&html))?;
    let files = word_files(web)?;
    let names: Vec<(&str, &str)> = files.iter().map(|(code, file)| (code.as_str(), file.name.as_str())).collect();
    let languages = files.iter().map(|(code, file)| {
        let words = words(&file.name, &file.text)?;
        let parts = Parts { early: &early, style: &style, script_name: &script.name, words: &file.text, files: &names };
        let page = markup::page(&html, code, &words, parts)?;
        Ok(Language { code: code.clone(), words, page })
    });
    let languages = languages.collect::<Result<_, BundleError>>()?;
    let guide_style = styles(&folder, &GUIDE_STYLES)?;
    Ok(Bundle {
        languages,
        style_hash: integrity(&style),
        early_hash: integrity(&early),
        guide_style_hash: integrity(&guide_style),
        script,
        later: scripts.later.into_iter().chain(files.into_values()).collect(),
        guide_style,
    })
}

fn styles(folder: &Folder<'_>, paths: &[impl AsRef<str>]) -> Result<String, BundleError> {
    paths.iter().map(|path| style::stripped(path.as_ref(), &folder.read(path.as_ref())?)).collect()
}

/// Returns each file in `words/` without white space, by the language's code.
fn word_files(web: &Path) -> Result<BTreeMap<String, Part>, BundleError> {
    let folder = web.join("words");
    let unreadable = |source| BundleError::Read { path: folder.clone(), source };
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        let Some(code) = name.strip_suffix(".json") else { continue };
        let path = format!("words/{name}");
        let words: serde_json::Value = serde_json::from_str(&Folder(web).read(&path)?)
            .map_err(|error| BundleError::unknown(&path, error.to_string()))?;
        files.insert(code.to_owned(), Part::new(&format!("words-{code}"), "json", words.to_string()));
    }
    Ok(files)
}

/// Returns the plain texts of a file of words.
fn words(path: &str, text: &str) -> Result<Words, BundleError> {
    let all: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| BundleError::unknown(path, error.to_string()))?;
    Ok(all.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect())
}

/// Returns the part of a text's hash that goes into a file name.
pub fn hash_digits(text: &str) -> String {
    compress::sha256_hex(text.as_bytes()).chars().take(NAME_DIGITS).collect()
}
