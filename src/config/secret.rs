//! Names of the environment variables that hold keys. The keys themselves are read by the
//! providers, and by nobody else: presets, plans, reports and messages hold only the name.

/// What was given cannot be a variable's name; it may be a key, so it is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "api_key_env is not the name of an environment variable: give the name, such as \
     OPENAI_API_KEY, and put the key itself into that variable"
)]
pub struct NotAName;

/// Checks that this can be the name of an environment variable.
///
/// # Errors
/// [`NotAName`].
pub fn check_name(name: &str) -> Result<(), NotAName> {
    let starts = name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_');
    let rest = name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    if starts && rest { Ok(()) } else { Err(NotAName) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_key_is_not_taken_for_a_name() {
        for name in ["sk-live-1", "", "1KEY", "A=B", "A B", "Ä"] {
            assert_eq!(check_name(name), Err(NotAName), "{name}");
        }
        assert_eq!(check_name("OPENAI_API_KEY"), Ok(()));
    }
}
