//! Text that must never reach a log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Text a person wrote or will read.
///
/// `Debug` shows only its size, so a struct that holds one can be logged whole, and
/// there is no `Display`. Code that needs the words says so with [`UserText::expose`].
///
/// ```
/// use protocol::UserText;
///
/// let text = UserText::new("no se lo dije a nadie");
/// assert_eq!(format!("{text:?}"), "UserText(21 bytes)");
/// assert_eq!(text.expose(), "no se lo dije a nadie");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserText(String);

impl UserText {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself: for the wire, the store and the model, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the length in Unicode scalar values, the unit of every limit on text.
    pub fn chars(&self) -> usize {
        self.0.chars().count()
    }

    /// Returns its first `count` characters.
    #[must_use]
    pub fn first_chars(&self, count: usize) -> Self {
        Self(self.0.chars().take(count).collect())
    }

    /// Returns all but its first `count` characters.
    #[must_use]
    pub fn without_first_chars(&self, count: usize) -> Self {
        Self(self.0.chars().skip(count).collect())
    }

    /// Returns it without white space around it.
    #[must_use]
    pub fn trimmed(self) -> Self {
        let trimmed = self.0.trim();
        if trimmed.len() == self.0.len() { self } else { Self(trimmed.to_owned()) }
    }

    /// Returns the length in bytes.
    pub fn len_bytes(&self) -> usize {
        self.0.len()
    }

    /// Returns `true` if it has no character.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends `more`.
    pub fn push(&mut self, more: &UserText) {
        self.0.push_str(&more.0);
    }
}

impl fmt::Debug for UserText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserText({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_only_the_size() {
        assert_eq!(format!("{:?}", UserText::new("secreto")), "UserText(7 bytes)");
    }
}
