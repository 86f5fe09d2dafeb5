//! The names of requests in a batch, by which results find their prompts.

use std::collections::HashSet;

use crate::prompts::PromptList;

/// The longest name that every batch API takes.
const MOST_CHARS: usize = 64;

/// A name for each prompt, in the order of the list; the same for the same list.
///
/// The prompts' own ids where all of them will do: unique, at most 64 letters, digits, `-` and
/// `_`. Otherwise `r-000001` and so on for all.
pub fn custom_ids(list: &PromptList) -> Vec<String> {
    let mut seen = HashSet::new();
    let own = |id: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !id.is_empty() && id.len() <= MOST_CHARS && id.chars().all(plain)
    };
    let all = list.prompts.iter().all(|prompt| own(&prompt.id) && seen.insert(&prompt.id));
    let name = |(place, id): (usize, &String)| match all {
        true => id.clone(),
        false => format!("r-{:06}", place + 1),
    };
    list.prompts.iter().map(|prompt| &prompt.id).enumerate().map(name).collect()
}

#[cfg(test)]
mod tests {
    use crate::prompts::{Format, LoadOptions, load_bytes};

    use super::*;

    fn ids(jsonl: &str) -> Vec<String> {
        let list = load_bytes("p", Format::JsonLines, jsonl.as_bytes(), &LoadOptions::default());
        custom_ids(&list.unwrap())
    }

    #[test]
    fn ids_that_every_api_takes_are_kept() {
        assert_eq!(ids(r#"{"id":"a-1","prompt":"x"}"#), ["a-1"]);
        assert_eq!(ids("{\"prompt\":\"x\"}\n{\"id\":\"b_2\",\"prompt\":\"y\"}"), ["row-1", "b_2"]);
    }

    #[test]
    fn one_that_will_not_do_renames_all() {
        for bad in ["a 1", "ä", "a\",\"prompt\":\"y\"}\n{\"id\":\"a", &"x".repeat(65)] {
            let ids = ids(&format!(r#"{{"id":"{bad}","prompt":"x"}}"#));
            assert!(ids.iter().enumerate().all(|(at, id)| *id == format!("r-{:06}", at + 1)));
        }
    }
}
