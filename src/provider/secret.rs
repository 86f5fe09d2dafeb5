//! Keys: read from the environment, put into a header, and taken out of whatever a server says.
//!
//! A key is never part of an error, a debug output, a report or a journal.

use std::ffi::OsString;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::{Failure, FailureKind};

/// A key and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Secret {
    name: String,
    value: SecretString,
}

/// Shorter keys are not looked for in text: they would hit ordinary words.
const SHORTEST_SCRUBBED: usize = 6;

impl Secret {
    /// Reads the environment variable `name`.
    pub fn from_env(name: &str) -> Result<Self, Failure> {
        Self::from_value(name, std::env::var_os(name))
    }

    fn from_value(name: &str, value: Option<OsString>) -> Result<Self, Failure> {
        let auth = |what: &str| {
            let message = format!("the environment variable {name} {what}: set it to the key");
            Err(Failure::new(FailureKind::Auth, message))
        };
        match value.map(OsString::into_string) {
            None => auth("is not set"),
            Some(Err(_)) => auth("is not text"),
            Some(Ok(value)) if value.trim().is_empty() => auth("is empty"),
            Some(Ok(value)) => {
                Ok(Self { name: name.to_owned(), value: SecretString::from(value.trim()) })
            }
        }
    }

    /// The value of a header, marked so that no debug output shows it.
    pub fn header(&self, prefix: &str) -> Result<HeaderValue, Failure> {
        let text = SecretString::from(format!("{prefix}{}", self.value.expose_secret()));
        let mut value = HeaderValue::from_str(text.expose_secret()).map_err(|_| {
            let message =
                format!("the key in {} has characters that no header can carry", self.name);
            Failure::new(FailureKind::Auth, message)
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Takes the key out of a text, such as an error that quotes it.
    pub fn scrub(&self, text: &str) -> String {
        let key = self.value.expose_secret();
        if key.len() < SHORTEST_SCRUBBED {
            return text.to_owned();
        }
        text.replace(key, &format!("[{}]", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(value: &str) -> Secret {
        Secret::from_value("A_KEY", Some(value.into())).unwrap()
    }

    #[test]
    fn neither_the_secret_nor_its_header_shows_in_debug_output() {
        let secret = secret("sk-very-secret");
        let header = secret.header("Bearer ").unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer sk-very-secret");
        let shown = format!("{secret:?} {header:?}");
        assert!(!shown.contains("very-secret"), "{shown}");
    }

    #[test]
    fn a_text_that_quotes_the_key_is_scrubbed() {
        let text = secret("sk-very-secret\n").scrub("wrong key sk-very-secret, sorry");
        assert_eq!(text, "wrong key [A_KEY], sorry");
    }

    #[test]
    fn a_key_that_is_missing_or_unusable_is_named_but_not_shown() {
        let missing = Secret::from_value("A_KEY", None).unwrap_err();
        assert_eq!(missing.kind, FailureKind::Auth);
        assert_eq!(missing.message, "the environment variable A_KEY is not set: set it to the key");
        let broken = secret("sk-two\nlines").header("").unwrap_err();
        assert_eq!(broken.message, "the key in A_KEY has characters that no header can carry");
    }
}
