//! Kinds of risk, and whose it is.

use std::fmt;

/// Who is at risk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The person who writes.
    #[default]
    Own,
    /// Somebody whom the person knows.
    Other,
    /// Not to be told from the text: to be treated as the person's own.
    Unknown,
}

/// Kinds of risk, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "names of proto-line §8")]
pub enum Kind {
    Medical,
    Suicide,
    SexualViolence,
    Abuse,
    HarmToOthers,
    SelfHarm,
    Substance,
    Eating,
    /// Has no name on the wire.
    Psychosis,
}

impl Kind {
    /// Every kind, the most urgent first.
    pub const ALL: [Self; 9] = [
        Self::Medical,
        Self::Suicide,
        Self::SexualViolence,
        Self::Abuse,
        Self::HarmToOthers,
        Self::SelfHarm,
        Self::Substance,
        Self::Eating,
        Self::Psychosis,
    ];

    /// Name in data files, reports and `explain`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Medical => "medical",
            Self::Suicide => "suicide",
            Self::SexualViolence => "sexual_violence",
            Self::Abuse => "abuse",
            Self::HarmToOthers => "harm_to_others",
            Self::SelfHarm => "self_harm",
            Self::Substance => "substance",
            Self::Eating => "eating",
            Self::Psychosis => "psychosis",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Set of [`Kind`]s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Kinds(u16);

impl Kinds {
    /// Adds `kind`.
    pub fn insert(&mut self, kind: Kind) {
        self.0 |= 1 << kind as u16;
    }

    /// Tells whether `kind` is one of them.
    pub fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }

    /// Returns them as bits, by the numbers of the kinds.
    pub(crate) fn bits(self) -> u16 {
        self.0
    }

    /// Tells whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns them, the most urgent first.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }

    /// Returns the most urgent one.
    pub fn most_urgent(self) -> Option<Kind> {
        self.iter().next()
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        let mut set = Self::default();
        kinds.into_iter().for_each(|kind| set.insert(kind));
        set
    }
}
