//! Validation of API keys, so that a mistake shows at start and not as a provider's 401.

use service_runtime::Secret;

/// Reason that a key is invalid. Must not quote any part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The file was saved with a byte order mark.
    #[error("the key begins with a byte order mark: save the file as UTF-8 without it")]
    ByteOrderMark,
    /// An env file of a container keeps the quotes that a shell would remove.
    #[error("the key stands in quotes: write it without them")]
    Quotes,
    /// Two keys, or a text.
    #[error("the key holds a line break, a space or another character that no key has")]
    Character,
    /// A placeholder of an example.
    #[error("this is a placeholder: put the key itself there, or nothing")]
    Placeholder,
}

/// Checks that `key` is plausible: a valid header value, and no placeholder.
///
/// # Errors
///
/// See [`KeyError`].
pub fn check_key(key: &Secret) -> Result<(), KeyError> {
    let key = key.expose();
    if key.starts_with('\u{feff}') {
        Err(KeyError::ByteOrderMark)
    } else if key.starts_with(['"', '\'', '`']) || key.ends_with(['"', '\'', '`']) {
        Err(KeyError::Quotes)
    } else if is_placeholder(key) {
        Err(KeyError::Placeholder)
    } else if !key.chars().all(|letter| letter.is_ascii_graphic()) {
        Err(KeyError::Character)
    } else {
        Ok(())
    }
}

/// True if `key` consists of the words of an example. A real key has digits among its letters.
fn is_placeholder(key: &str) -> bool {
    const WORDS: [&str; 7] = ["your", "paste", "changeme", "change-me", "change_me", "placeholder", "example"];
    let key = key.to_lowercase();
    let is_in_brackets = [('<', '>'), ('{', '}'), ('[', ']')]
        .iter()
        .any(|(open, close)| key.starts_with(*open) && key.ends_with(*close));
    let filling = key.trim_start_matches("gsk_").trim_start_matches("sk-");
    let is_filled = filling.len() != 1 && filling.chars().all(|letter| "x.*".contains(letter));
    let is_of_words =
        !key.contains(|letter: char| letter.is_ascii_digit()) && WORDS.iter().any(|word| key.contains(word));
    is_in_brackets || is_filled || is_of_words || key == "${groq_api_key}" || key == "$groq_api_key"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_placeholders_and_stray_characters() {
        for (key, want) in [
            ("gsk_4fZ0x9Qw-_.Kb", Ok(())),
            ("clave", Ok(())),
            ("k", Ok(())),
            ("sk-or-v1-0a1b2c3d", Ok(())),
            ("eyJhbGciOiJIUzI1NiJ9.e30.x/y+z=", Ok(())),
            ("gsk_4fyourZ0x9", Ok(())),
            ("\u{feff}gsk_4f", Err(KeyError::ByteOrderMark)),
            ("\"gsk_4f\"", Err(KeyError::Quotes)),
            ("'gsk_4f'", Err(KeyError::Quotes)),
            ("gsk_4f\"", Err(KeyError::Quotes)),
            ("gsk_4f\ngsk_5a", Err(KeyError::Character)),
            ("gsk_4f gsk_5a", Err(KeyError::Character)),
            ("gsk_4f\u{a0}", Err(KeyError::Character)),
            ("gsk_ñ4", Err(KeyError::Character)),
            ("gsk_4\u{200b}f", Err(KeyError::Character)),
            ("gsk_\u{0}4", Err(KeyError::Character)),
            ("paste your key", Err(KeyError::Placeholder)),
            ("YOUR_API_KEY", Err(KeyError::Placeholder)),
            ("<key>", Err(KeyError::Placeholder)),
            ("gsk_xxxxxxxx", Err(KeyError::Placeholder)),
            ("...", Err(KeyError::Placeholder)),
            ("changeme", Err(KeyError::Placeholder)),
            ("$GROQ_API_KEY", Err(KeyError::Placeholder)),
            ("${GROQ_API_KEY}", Err(KeyError::Placeholder)),
        ] {
            // Surrounding white space is trimmed; a no-break space is part of the key.
            let Some(secret) = Secret::read(Some(key), None).unwrap() else { panic!("{key:?}") };
            let want = if secret.expose() == key { want } else { Ok(()) };
            assert_eq!(check_key(&secret), want, "{key:?}");
        }
    }
}
