//! Secrets of the configuration.

use std::fmt;
use std::path::Path;

/// A secret. `Debug` redacts it; there is no `Display`, and it is never serialized.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Failure to read a secret. Names the file, never its contents.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// `NAME` and `NAME_FILE` are both set.
    #[error("set it or its _FILE form, not both")]
    Twice,
    /// The file of `NAME_FILE` cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Path of the file.
        path: String,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The file of `NAME_FILE` is empty.
    #[error("{path} is empty")]
    Empty {
        /// Path of the file.
        path: String,
    },
}

impl Secret {
    /// Reads a secret from `NAME` or the file `NAME_FILE`, trimmed; an empty `NAME` counts as unset.
    ///
    /// # Errors
    ///
    /// Both are set, or the file is unreadable or empty.
    pub fn read(value: Option<&str>, file: Option<&Path>) -> Result<Option<Self>, SecretError> {
        let value = value.map(str::trim).filter(|value| !value.is_empty());
        match (value, file) {
            (Some(_), Some(_)) => Err(SecretError::Twice),
            (Some(value), None) => Ok(Some(Self(value.to_owned()))),
            (None, None) => Ok(None),
            (None, Some(file)) => {
                let path = || file.display().to_string();
                let text =
                    std::fs::read_to_string(file).map_err(|source| SecretError::Unreadable { path: path(), source })?;
                match text.trim() {
                    "" => Err(SecretError::Empty { path: path() }),
                    text => Ok(Some(Self(text.to_owned()))),
                }
            }
        }
    }

    /// Splits a comma-separated list of secrets.
    pub fn split(&self) -> impl Iterator<Item = Self> {
        self.0.split(',').map(str::trim).filter(|secret| !secret.is_empty()).map(|secret| Self(secret.to_owned()))
    }

    /// Returns the secret in clear, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_trimmed_and_redacts() {
        let secret = Secret::read(Some(" k3y \n"), None).unwrap().unwrap();
        assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ("k3y", "Secret(..)"));
        assert_eq!(Secret::read(Some(""), None).unwrap(), None);
        assert!(matches!(Secret::read(Some("a"), Some(Path::new("b"))), Err(SecretError::Twice)));
        let missing = Secret::read(None, Some(Path::new("/nowhere/key"))).unwrap_err();
        assert!(missing.to_string().starts_with("cannot read /nowhere/key: "), "{missing}");
    }
}
