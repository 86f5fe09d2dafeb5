//! A text that is looked for in prompts and outputs, small and capital ASCII letters alike.

use std::ops::Range;

use aho_corasick::AhoCorasick;

/// What is looked for; by default nothing.
#[derive(Debug, Clone, Default)]
pub struct Search {
    text: String,
    finder: Option<AhoCorasick>,
}

impl Search {
    /// Looks for this text; for nothing where it is empty.
    pub fn new(text: &str) -> Self {
        let finder = AhoCorasick::builder().ascii_case_insensitive(true).build([text]);
        // what cannot be looked for, since it is far too long, is found nowhere
        let finder = finder.ok().filter(|_| !text.is_empty());
        Self { text: text.to_owned(), finder }
    }

    /// What is looked for, as it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether a text holds it.
    pub fn is_in(&self, text: &str) -> bool {
        self.finder.as_ref().is_some_and(|finder| finder.is_match(text))
    }

    /// Where a text holds it, in order; at most `most` places.
    pub fn places(&self, text: &str, most: usize) -> Vec<Range<usize>> {
        let Some(finder) = &self.finder else { return Vec::new() };
        finder.find_iter(text).take(most).map(|found| found.range()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_any_case() {
        let starts = |text, wanted| {
            let places = Search::new(wanted).places(text, 9);
            places.iter().map(|range| range.start).collect::<Vec<_>>()
        };
        assert_eq!(starts("The Nile, the nile", "NILE"), [4, 14]);
        assert_eq!(starts("日本", "本"), [3]);
        assert_eq!(starts("aaa", "aa"), [0]);
        assert!(Search::new("").places("abc", 9).is_empty() && !Search::new("").is_in("abc"));
        assert!(!Search::new("a").is_in("") && Search::new("a").is_in("xA"));
    }
}
