//! What is wrong with a prompt list, and where.

use std::fmt;

/// A prompt list that cannot be loaded. Its text is safe to print: control characters of the
/// user's data are escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptError {
    /// The file, as the user named it, or the name of the list.
    pub list: String,
    /// The line, from 1, where one is to blame.
    pub line: Option<usize>,
    /// What is wrong and what to try.
    pub reason: String,
}

impl PromptError {
    /// An error of a list as a whole.
    pub fn new(list: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { list: list.into(), line: None, reason: reason.into() }
    }

    /// An error of a line, counted from 1.
    pub fn at(list: impl Into<String>, line: usize, reason: impl Into<String>) -> Self {
        Self { list: list.into(), line: Some(line), reason: reason.into() }
    }
}

impl std::error::Error for PromptError {}

impl fmt::Display for PromptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.list))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", printable(&self.reason))
    }
}

/// The text with its control characters escaped, and cut where it is too long for a message.
pub(crate) fn printable(text: &str) -> String {
    const MOST_CHARS: usize = 600;
    let mut shown = String::with_capacity(text.len().min(MOST_CHARS));
    for (place, char) in text.chars().enumerate() {
        if place == MOST_CHARS {
            shown.push('…');
            break;
        }
        if char.is_control() {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// The candidate that `word` is most likely a misspelling of.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let rated = candidates.into_iter().map(|name| (strsim::jaro_winkler(word, name), name));
    rated.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_file_and_line_and_carries_no_escape_sequence() {
        let error = PromptError::at("a\u{1b}.txt", 7, "bad \u{9b}31m word");
        assert_eq!(error.to_string(), "a\\u{1b}.txt:7: bad \\u{9b}31m word");
    }

    #[test]
    fn a_message_about_a_huge_word_stays_short() {
        assert!(printable(&"x".repeat(100_000)).len() < 700);
    }

    #[test]
    fn a_misspelt_word_finds_its_neighbour_and_a_strange_one_finds_none() {
        let names = ["max_tokens", "temperature", "seed"];
        assert_eq!(nearest("max_token", names), Some("max_tokens"));
        assert_eq!(nearest("zebra", names), None);
    }
}
