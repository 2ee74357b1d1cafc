//! Modules joined to two classic scripts.
//!
//! Each module becomes a function that runs once, after those it imports, and returns its exports. The module that the
//! first one asks for with `import()` is in the second script with all that only it needs: a function of the exports
//! that it takes from the first. Only the forms that the folder uses are known; any other is an error of the build.

use std::collections::{BTreeMap, BTreeSet};

use crate::script::{self, Line};
use crate::{BundleError, Folder, Part};

/// Loads the second script: stands for `import()`.
const LOADER: &str = "js/part.js";
const ASKED: &str = "import(\"";

/// An import: the local names of a module's exports.
#[derive(Debug)]
struct Import {
    from: String,
    /// Pattern of a `const` that takes the exports.
    pattern: String,
}

#[derive(Debug, Default)]
struct Module {
    imports: Vec<Import>,
    exports: Vec<String>,
    body: String,
    /// Address in an `import()`.
    later: Option<String>,
}

/// State of a module in the walk through the imports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Its imports are being read: to meet it again is a circle.
    Open,
    /// The number of its function.
    Written(usize),
}

struct Bundler<'a> {
    folder: &'a Folder<'a>,
    entry: &'a str,
    places: BTreeMap<String, Place>,
    out: String,
    /// Modules that are imported in the script that is being written.
    used: BTreeSet<usize>,
    later: Option<Part>,
}

/// The first script, and the one that it asks for.
pub(crate) struct Scripts {
    pub(crate) first: String,
    pub(crate) later: Option<Part>,
}

/// Joins the module `entry` and all that it imports.
pub(crate) fn bundle(folder: &Folder<'_>, entry: &str) -> Result<Scripts, BundleError> {
    let (places, used) = (BTreeMap::new(), BTreeSet::new());
    let mut bundler = Bundler { folder, entry, places, out: String::new(), used, later: None };
    bundler.add(entry)?;
    let first = format!("(() => {{\n\"use strict\";\n{}}})();\n", bundler.out);
    Ok(Scripts { first, later: bundler.later })
}

impl Bundler<'_> {
    /// Writes a module after those it imports; returns its number.
    fn add(&mut self, path: &str) -> Result<usize, BundleError> {
        match self.places.get(path) {
            Some(Place::Written(number)) => return Ok(*number),
            Some(Place::Open) => return Err(BundleError::unknown(path, "a circle of imports")),
            None => {}
        }
        self.places.insert(path.to_owned(), Place::Open);
        let text = self.folder.read(path)?;
        let value = self.function(path, &text)?;
        let number = self.written();
        self.out.push_str(&format!("const ${number} = {value};\n"));
        self.places.insert(path.to_owned(), Place::Written(number));
        Ok(number)
    }

    fn written(&self) -> usize {
        self.places.values().filter(|place| matches!(place, Place::Written(_))).count()
    }

    fn function(&mut self, path: &str, text: &str) -> Result<String, BundleError> {
        let mut module = parse(path, text)?;
        let mut taken = String::new();
        for Import { from, pattern } in &module.imports {
            let number = self.add(&resolve(path, from)?)?;
            self.used.insert(number);
            taken.push_str(&format!("const {pattern} = ${number};\n"));
        }
        if let Some(from) = &module.later {
            if path != self.entry {
                return Err(BundleError::unknown(path, "import() outside of the first module"));
            }
            let loaded = self.later(&resolve(path, from)?)?;
            module.body = module.body.replace(&format!("{ASKED}{from}\")"), &loaded);
        }
        let exports = module.exports.join(", ");
        Ok(format!("(() => {{\n{taken}{}return {{ {exports} }};\n}})()", module.body))
    }

    /// Writes the second script; returns the expression that loads it.
    fn later(&mut self, path: &str) -> Result<String, BundleError> {
        let loader = self.add(LOADER)?;
        let held = self.written();
        let first = std::mem::take(&mut self.out);
        self.used.clear();
        let number = self.add(path)?;
        let modules = std::mem::replace(&mut self.out, first);
        let shared: Vec<String> = self.used.range(..held).map(|number| format!("${number}")).collect();
        let shared = shared.join(", ");
        let text = format!(
            "document.currentScript.run = ({shared}) => {{\n\"use strict\";\n{modules}return ${number};\n}};\n"
        );
        let part = Part::new("later", "js", text);
        let loaded = format!("${loader}.part({:?}, [{shared}])", part.name);
        self.later = Some(part);
        Ok(loaded)
    }
}

/// Returns the path of `from`, an address relative to the module at `path`.
fn resolve(path: &str, from: &str) -> Result<String, BundleError> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in from.split('/') {
        match part {
            "." => {}
            ".." if parts.pop().is_some() => {}
            ".." => return Err(BundleError::unknown(path, format!("{from} is outside of the folder"))),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn parse(path: &str, text: &str) -> Result<Module, BundleError> {
    let mut module = Module::default();
    let mut lines = script::stripped(path, text)?.0.into_iter();
    while let Some(Line { mut text, top_level }) = lines.next() {
        if top_level && text.starts_with("import") {
            while !text.ends_with(';') {
                let next = lines.next().ok_or_else(|| BundleError::unknown(path, "an import without its semicolon"))?;
                text.push(' ');
                text.push_str(&next.text);
            }
            module.imports.push(import(path, &text)?);
            continue;
        }
        if let Some((_, from)) = text.split_once(ASKED) {
            let (from, _) =
                from.split_once("\")").ok_or_else(|| BundleError::unknown(path, "an import() of two values"))?;
            if module.later.replace(from.to_owned()).is_some() {
                return Err(BundleError::unknown(path, "a second import()"));
            }
        }
        let declaration = if top_level { text.strip_prefix("export ") } else { None };
        if let Some(declaration) = declaration {
            module.exports.push(declared_name(path, declaration)?.to_owned());
        }
        module.body.push_str(declaration.unwrap_or(&text));
        module.body.push('\n');
    }
    Ok(module)
}

/// Reads `import { a, b as c } from "./d.js";`.
fn import(path: &str, text: &str) -> Result<Import, BundleError> {
    let unknown = || BundleError::unknown(path, format!("this import is not bundled: {text}"));
    let (names, from) =
        text.strip_prefix("import { ").and_then(|text| text.split_once(" } from \"")).ok_or_else(unknown)?;
    let from = from.strip_suffix("\";").filter(|from| from.ends_with(".js")).ok_or_else(unknown)?;
    let names: Vec<String> =
        names.split(',').map(|name| name.trim().replace(" as ", ": ")).filter(|name| !name.is_empty()).collect();
    Ok(Import { from: from.to_owned(), pattern: format!("{{ {} }}", names.join(", ")) })
}

/// Returns the name in a declaration such as `const a = 1;`. A variable that changes cannot be exported by its value.
fn declared_name<'a>(path: &str, declaration: &'a str) -> Result<&'a str, BundleError> {
    let kinds = ["const ", "function* ", "function ", "async function ", "class "];
    let rest = kinds.iter().find_map(|kind| declaration.strip_prefix(kind));
    let name = rest.and_then(|rest| rest.split(|letter: char| !is_of_name(letter)).next());
    name.filter(|name| is_name(name))
        .ok_or_else(|| BundleError::unknown(path, format!("this export is not bundled: export {declaration}")))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_of_name)
}

fn is_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_become_constants() {
        for (text, want) in
            [("import { a } from \"./b.js\";", "{ a }"), ("import { a, b as c, } from \"./b.js\";", "{ a, b: c }")]
        {
            assert_eq!(import("m.js", text).unwrap().pattern, want, "{text}");
        }
        for text in [
            "import \"./b.js\";",
            "import * as a from \"./b.js\";",
            "import a from \"./b.js\";",
            "import a from \"./b.json\" with { type: \"json\" };",
            "import a, { b } from \"./c.js\";",
            "import { a } from './b.js';",
        ] {
            assert!(import("m.js", text).is_err(), "{text}");
        }
    }

    #[test]
    fn exports_are_returned() {
        let module =
            parse("m.js", "export const a = 1;\nexport async function b() {\n  return a;\n}\nexport class C {}\n")
                .unwrap();
        assert_eq!(module.exports, ["a", "b", "C"]);
        assert_eq!(module.body, "const a = 1;\nasync function b() {\nreturn a;\n}\nclass C {}\n");
        for text in [
            "export let a = 1;",
            "export default 1;",
            "export { a };",
            "export * from \"./b.js\";",
            "export const { a } = b;",
        ] {
            assert!(parse("m.js", text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_module_can_be_asked_for() {
        let asked = parse("m.js", "const load = () => import(\"./later.js\");\n").unwrap();
        assert_eq!(asked.later.as_deref(), Some("./later.js"));
        for text in ["import(\"./a.js\", b);", "import(\"./a.js\");\nimport(\"./b.js\");"] {
            assert!(parse("m.js", text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_relative() {
        assert_eq!(resolve("js/a.js", "./b.js").unwrap(), "js/b.js");
        assert_eq!(resolve("js/a.js", "../words/es.json").unwrap(), "words/es.json");
        assert!(resolve("a.js", "../b.js").is_err());
    }
}
