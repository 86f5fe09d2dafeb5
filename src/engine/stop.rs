//! Ends a row's text at a stop string, while the text comes in pieces of any length.

/// Watches the text of one row.
///
/// The text ends before the stop string that is complete first; of those that are complete at
/// the same character, before the longest. So the result does not depend on how the text was
/// cut into pieces. Text that may be the beginning of a stop string is held back, and nothing
/// else is.
#[derive(Debug, Clone)]
pub struct StopStrings {
    strings: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopStrings {
    /// Watches for these strings, for one row.
    pub fn new(strings: &[String]) -> Self {
        let strings = strings.iter().filter(|string| !string.is_empty()).cloned().collect();
        Self { strings, held: String::new(), stopped: false }
    }

    /// Whether a stop string was met; the text has ended.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Takes the next piece and returns the text that is certain not to be part of a stop
    /// string.
    pub fn push(&mut self, text: &str) -> String {
        if self.stopped {
            return String::new();
        }
        if self.strings.is_empty() {
            return text.to_owned();
        }
        self.held.push_str(text);
        match self.first_match() {
            Some(at) => {
                self.stopped = true;
                self.held.truncate(at);
                std::mem::take(&mut self.held)
            }
            None => {
                let rest = self.held.split_off(self.held.len() - self.possible_beginning());
                std::mem::replace(&mut self.held, rest)
            }
        }
    }

    /// What was held back, now that nothing follows.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the stop string that is complete first begins.
    fn first_match(&self) -> Option<usize> {
        let matches = self
            .strings
            .iter()
            .filter_map(|string| self.held.find(string.as_str()).map(|at| (at + string.len(), at)));
        matches.min().map(|(_, at)| at)
    }

    /// The length of the longest end of the held text that is the beginning of a stop string.
    fn possible_beginning(&self) -> usize {
        let beginning = |string: &String| {
            let longest = (string.len() - 1).min(self.held.len());
            (1..=longest).rev().find(|length| {
                let end = &self.held.as_bytes()[self.held.len() - length..];
                string.as_bytes().starts_with(end)
            })
        };
        self.strings.iter().filter_map(beginning).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn watcher(strings: &[&str]) -> StopStrings {
        let strings: Vec<String> = strings.iter().map(|string| string.to_string()).collect();
        StopStrings::new(&strings)
    }

    fn run(strings: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut stop = watcher(strings);
        let mut texts: Vec<String> = pieces.iter().map(|piece| stop.push(piece)).collect();
        texts.push(stop.finish());
        (texts, stop.stopped())
    }

    #[test]
    fn a_stop_string_over_several_pieces_cuts_the_text_before_it() {
        let (texts, stopped) = run(&["\n\n"], &["one\n", "\ntwo", "three"]);
        assert_eq!((texts.join("|"), stopped), ("one|||".into(), true));
    }

    #[test]
    fn text_is_held_back_only_while_it_may_begin_a_stop_string() {
        let (texts, stopped) = run(&["</s>"], &["a<", "/", "b", "c"]);
        assert_eq!((texts.join("|"), stopped), ("a||</b|c|".into(), false));
    }

    #[test]
    fn held_text_is_given_out_at_the_end() {
        let (texts, stopped) = run(&["END"], &["the EN"]);
        assert_eq!((texts, stopped), (vec!["the ".to_owned(), "EN".to_owned()], false));
    }

    #[test]
    fn the_stop_string_that_is_complete_first_wins() {
        assert_eq!(run(&["bcd", "c"], &["abcd"]).0.concat(), "ab");
        assert_eq!(run(&["c", "abc"], &["xabc"]).0.concat(), "x");
        assert_eq!(run(&["aab"], &["aaab"]).0.concat(), "a");
    }

    #[test]
    fn characters_are_never_cut_apart() {
        // "é" and "è" begin with the same byte
        let (texts, _) = run(&["é!"], &["è", "é", "?"]);
        assert_eq!(texts.join("|"), "è||é?|");
    }

    #[test]
    fn without_stop_strings_everything_passes() {
        assert_eq!(run(&[], &["a", "b"]), (vec!["a".into(), "b".into(), String::new()], false));
        assert_eq!(run(&[""], &["a"]), (vec!["a".into(), String::new()], false));
    }

    /// Looks at the whole text, one character more at a time.
    fn cut_naively(strings: &[String], text: &str) -> String {
        for (at, character) in text.char_indices() {
            let seen = &text[..at + character.len_utf8()];
            let longest = strings.iter().filter(|string| seen.ends_with(string.as_str()));
            if let Some(length) = longest.map(String::len).max() {
                return seen[..seen.len() - length].to_owned();
            }
        }
        text.to_owned()
    }

    proptest! {
        #[test]
        fn the_text_is_cut_at_the_same_place_however_it_comes(
            strings in proptest::collection::vec("[abé]{1,4}", 0..4),
            pieces in proptest::collection::vec("[abéc]{0,5}", 0..8),
        ) {
            let mut stop = StopStrings::new(&strings);
            let mut text: String = pieces.iter().map(|piece| stop.push(piece)).collect();
            text += &stop.finish();
            prop_assert_eq!(text, cut_naively(&strings, &pieces.concat()));
        }
    }
}
