//! The `.env` file of the working directory, as in the prototype.

use crate::config_error::ConfigError;

/// Adds what `.env` in the working directory says to the environment; a variable that
/// is already set wins. To be called first in `main`, before any thread exists.
///
/// # Errors
///
/// A `.env` that is there and cannot be read or parsed. That it is missing is no error.
pub(crate) fn load_dotenv() -> Result<(), ConfigError> {
    match dotenvy::from_path(".env") {
        Ok(_) => Ok(()),
        Err(error) if error.not_found() => Ok(()),
        Err(dotenvy::Error::LineParse(_, at)) => {
            // The line itself may hold a secret.
            Err(ConfigError { problems: vec![format!(".env: not NAME=value, near character {at} of the line")] })
        }
        Err(error) => Err(ConfigError { problems: vec![format!(".env: {error}")] }),
    }
}
