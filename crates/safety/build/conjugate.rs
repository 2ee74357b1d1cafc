//! Forms of Spanish verbs, unaccented: those that people use of themselves and of others.

/// Makes the forms that `entry` (`colgar(cuelg)/1`) stands for.
pub(crate) fn forms(entry: &str) -> Result<Vec<String>, String> {
    let (verb, tag) = entry.split_once('/').ok_or("no tag")?;
    let (infinitive, changes) = match verb.split_once('(') {
        Some((infinitive, rest)) => (infinitive, rest.strip_suffix(')').ok_or("bracket is not closed")?),
        None => (verb, ""),
    };
    let verb = Verb::new(infinitive, changes)?;
    verb.tagged(tag).ok_or_else(|| format!("unknown tag /{tag}"))
}

struct Verb {
    infinitive: String,
    stem: String,
    /// Stressed stem: `cuelg` of `colgar`.
    strong: String,
    /// Stem of the gerund and of the third persons of the preterite: `mur` of `morir`.
    weak: String,
    first: bool,
    third_conjugation: bool,
}

impl Verb {
    fn new(infinitive: &str, changes: &str) -> Result<Self, String> {
        let (stem, ending) = infinitive
            .len()
            .checked_sub(2)
            .and_then(|at| infinitive.split_at_checked(at))
            .filter(|(stem, ending)| !stem.is_empty() && matches!(*ending, "ar" | "er" | "ir"))
            .ok_or_else(|| format!("{infinitive} is no infinitive"))?;
        let mut changes = changes.split(',').filter(|change| !change.is_empty());
        let strong = changes.next().unwrap_or(stem).to_owned();
        let weak = changes.next().unwrap_or(stem).to_owned();
        Ok(Self {
            infinitive: infinitive.to_owned(),
            stem: stem.to_owned(),
            strong,
            weak,
            first: ending == "ar",
            third_conjugation: ending == "ir",
        })
    }

    fn tagged(&self, tag: &str) -> Option<Vec<String>> {
        let all = |parts: &[Vec<String>]| parts.concat();
        Some(match tag {
            "inf" => vec![self.infinitive.clone()],
            "now1" => vec![self.present_first()],
            "past1" => self.past_first(),
            "fut1" => self.future(&["e", "ia"]),
            "subj" => self.subjunctive(""),
            "1" => {
                all(&[vec![self.present_first()], self.past_first(), self.future(&["e", "ia"]), self.subjunctive("")])
            }
            "2" => self.second(),
            "3" => self.third(),
            "p" => self.plural(),
            "ger" => vec![self.gerund()],
            "pp" => self.participles(),
            "imp" => self.imperatives(),
            "me" | "te" | "se" | "nos" => self.with_clitics(&[tag]),
            "lo" => self.with_clitics(&["lo", "la", "los", "las", "le", "les"]),
            _ => return None,
        })
    }

    fn with_clitics(&self, clitics: &[&str]) -> Vec<String> {
        clitics
            .iter()
            .flat_map(|clitic| [format!("{}{clitic}", self.infinitive), format!("{}{clitic}", self.gerund())])
            .collect()
    }

    fn present_first(&self) -> String {
        let stem = &self.strong;
        if !self.first && stem.ends_with('g') {
            let (root, _) = stem.split_at(stem.len() - 1);
            return format!("{root}jo");
        }
        format!("{stem}o")
    }

    fn past_first(&self) -> Vec<String> {
        let stem = &self.stem;
        if self.first {
            vec![before_e(stem, "e"), format!("{stem}aba")]
        } else {
            vec![format!("{stem}i"), format!("{stem}ia")]
        }
    }

    fn future(&self, endings: &[&str]) -> Vec<String> {
        endings.iter().map(|ending| format!("{}{ending}", self.infinitive)).collect()
    }

    fn subjunctive(&self, suffix: &str) -> Vec<String> {
        if self.first {
            vec![
                before_e(&self.strong, &format!("e{suffix}")),
                format!("{}ara{suffix}", self.stem),
                format!("{}ase{suffix}", self.stem),
            ]
        } else {
            let first = self.present_first();
            let (root, _) = first.split_at(first.len() - 1);
            vec![format!("{root}a{suffix}"), format!("{}iera{suffix}", self.weak), format!("{}iese{suffix}", self.weak)]
        }
    }

    fn second(&self) -> Vec<String> {
        let (present, voseo, past) = match (self.first, self.third_conjugation) {
            (true, _) => ("as", "as", "aste"),
            (false, false) => ("es", "es", "iste"),
            (false, true) => ("es", "is", "iste"),
        };
        let mut forms =
            vec![format!("{}{present}", self.strong), format!("{}{voseo}", self.stem), format!("{}{past}", self.stem)];
        forms.extend(self.future(&["as", "ias"]));
        forms.extend(self.subjunctive("s"));
        forms
    }

    fn third(&self) -> Vec<String> {
        let mut forms = if self.first {
            vec![
                format!("{}a", self.strong),
                format!("{}an", self.strong),
                format!("{}o", self.stem),
                format!("{}aron", self.stem),
                format!("{}aba", self.stem),
                format!("{}aban", self.stem),
            ]
        } else {
            vec![
                format!("{}e", self.strong),
                format!("{}en", self.strong),
                format!("{}io", self.weak),
                format!("{}ieron", self.weak),
                format!("{}ia", self.stem),
                format!("{}ian", self.stem),
            ]
        };
        forms.extend(self.future(&["a", "an", "ia", "ian"]));
        forms.extend(self.subjunctive(""));
        forms.extend(self.subjunctive("n"));
        forms
    }

    fn plural(&self) -> Vec<String> {
        let (present, past) = match (self.first, self.third_conjugation) {
            (true, _) => ("amos", "abamos"),
            (false, false) => ("emos", "iamos"),
            (false, true) => ("imos", "iamos"),
        };
        let mut forms = vec![format!("{}{present}", self.stem), format!("{}{past}", self.stem)];
        forms.extend(self.future(&["emos", "iamos"]));
        forms
    }

    fn gerund(&self) -> String {
        if self.first { format!("{}ando", self.stem) } else { format!("{}iendo", self.weak) }
    }

    fn participles(&self) -> Vec<String> {
        let vowel = if self.first { "a" } else { "i" };
        ["o", "a", "os", "as", "e"].iter().map(|end| format!("{}{vowel}d{end}", self.stem)).collect()
    }

    fn imperatives(&self) -> Vec<String> {
        let mut forms = if self.first {
            vec![format!("{}a", self.strong), before_e(&self.strong, "e"), before_e(&self.strong, "en")]
        } else {
            let first = self.present_first();
            let (root, _) = first.split_at(first.len() - 1);
            vec![format!("{}e", self.strong), format!("{root}a"), format!("{root}an")]
        };
        forms.push(
            self.stem.clone()
                + if self.first {
                    "a"
                } else if self.third_conjugation {
                    "i"
                } else {
                    "e"
                },
        );
        forms
    }
}

/// Keeps the sound of a stem before `e`: `cuelgue`, `toque`, `abrace`.
fn before_e(stem: &str, ending: &str) -> String {
    let (root, last) = stem.split_at(stem.len() - 1);
    match last {
        "g" => format!("{stem}u{ending}"),
        "c" => format!("{root}qu{ending}"),
        "z" => format!("{root}c{ending}"),
        _ => format!("{stem}{ending}"),
    }
}
