//! Faces of a connection.

use std::fmt;

/// Form in which a connection speaks: text lines for people, or frames for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// Plain text lines for people (`nc`, the prototype's page).
    Plain,
    /// One JSON object per line for programs.
    Frames,
}

impl Face {
    /// Returns its name in the PROXY header's face TLV.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Frames => "frames",
        }
    }

    /// Returns the face called `name`, if there is one.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Plain, Self::Frames].into_iter().find(|face| face.name().as_bytes() == name)
    }
}

impl fmt::Display for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
