//! Kinds and subjects of risk.

use std::fmt;

/// The person at risk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The person who writes.
    #[default]
    Own,
    /// Another person.
    Other,
    /// Left open by the text: treated as the person's own.
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
    /// Not a value of the wire protocol.
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

    /// Returns `true` if `kind` is in the set.
    pub fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }

    /// Returns `true` if suicide or self-injury is in the set.
    pub(crate) fn has_self_directed(self) -> bool {
        self.contains(Kind::Suicide) || self.contains(Kind::SelfHarm)
    }

    /// Returns the set as bits, by the numbers of the kinds.
    pub(crate) fn bits(self) -> u16 {
        self.0
    }

    /// Returns `true` if the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Iterates over the kinds, the most urgent first.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }

    /// Returns the most urgent kind.
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
