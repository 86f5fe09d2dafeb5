//! Keys of providers: read from the environment, never stored, never shown.
//!
//! Presets, plans, reports and messages hold only the name of the variable.

use secrecy::SecretString;

/// Why there is no key. Says the variable's name where it is one, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// What was given cannot be a variable's name; it may be a key, so it is not repeated.
    #[error(
        "api_key_env is not the name of an environment variable: give the name, such as \
         OPENAI_API_KEY, and put the key itself into that variable"
    )]
    NotAName,
    /// The variable is not set, or empty.
    #[error("the environment variable {0} is not set: put the key into it")]
    Missing(String),
    /// The variable holds something that cannot be sent as a key.
    #[error("the environment variable {0} does not hold a key: it has characters no key has")]
    Unusable(String),
}

/// Checks that this can be the name of an environment variable.
///
/// # Errors
/// [`SecretError::NotAName`].
pub fn check_name(name: &str) -> Result<(), SecretError> {
    let starts = name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_');
    let rest = name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    if starts && rest { Ok(()) } else { Err(SecretError::NotAName) }
}

/// Reads the key from the environment variable of this name, without space around it.
///
/// # Errors
/// The name is none, or the variable holds no key.
pub fn read(name: &str) -> Result<SecretString, SecretError> {
    check_name(name)?;
    let value = std::env::var_os(name).ok_or_else(|| SecretError::Missing(name.into()))?;
    let value =
        SecretString::from(value.into_string().map_err(|_| SecretError::Unusable(name.into()))?);
    key(name, &value)
}

fn key(name: &str, value: &SecretString) -> Result<SecretString, SecretError> {
    use secrecy::ExposeSecret;

    let value = value.expose_secret().trim();
    if value.is_empty() {
        return Err(SecretError::Missing(name.into()));
    }
    if !value.chars().all(|char| char.is_ascii_graphic()) {
        return Err(SecretError::Unusable(name.into()));
    }
    Ok(SecretString::from(value))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn of(value: &str) -> Result<String, SecretError> {
        key("KEY", &SecretString::from(value)).map(|key| key.expose_secret().to_owned())
    }

    #[test]
    fn a_key_loses_the_space_around_it() {
        assert_eq!(of(" sk-1\n"), Ok("sk-1".into()));
    }

    #[test]
    fn what_cannot_be_a_key_is_refused_by_the_name_of_its_variable() {
        assert_eq!(of(" \n"), Err(SecretError::Missing("KEY".into())));
        let error = of("two\nlines").unwrap_err();
        assert_eq!(error, SecretError::Unusable("KEY".into()));
        assert!(!error.to_string().contains("lines"));
    }

    #[test]
    fn a_key_is_read_from_a_variable_that_is_set() {
        // PATH is set wherever tests run; no test may change the environment
        assert!(read("PATH").is_ok());
        let missing = "BATCHGEN_NO_SUCH_KEY";
        assert_eq!(read(missing).unwrap_err(), SecretError::Missing(missing.into()));
    }

    #[test]
    fn a_pasted_key_is_not_taken_for_a_name() {
        for name in ["sk-live-1", "", "1KEY", "A=B", "A B", "Ä"] {
            assert_eq!(read(name).unwrap_err(), SecretError::NotAName);
        }
    }
}
