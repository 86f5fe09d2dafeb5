//! The names of requests in a batch, by which results find their prompts.

use std::collections::HashSet;

use crate::prompts::{Prompt, PromptList};

/// The longest name that every batch API takes.
const MOST_CHARS: usize = 64;

/// A name for each prompt, in the order of the list; the same for the same list.
///
/// The prompts' own ids where all of them will do: unique, at most 64 letters, digits, `-` and
/// `_`. Otherwise `r-000001` and so on for all.
pub fn custom_ids(list: &PromptList) -> Vec<String> {
    let prompts: Vec<&Prompt> = list.prompts.iter().map(|prompt| &**prompt).collect();
    names(&prompts, MOST_CHARS)
}

/// As [`custom_ids`], for some prompts of a list, each with an ending that tells its job from
/// every other, also from one over the same list.
pub fn custom_ids_of_job(prompts: &[&Prompt], ending: &str) -> Vec<String> {
    let names = names(prompts, MOST_CHARS.saturating_sub(ending.len() + 1));
    names.into_iter().map(|name| format!("{name}-{ending}")).collect()
}

fn names(prompts: &[&Prompt], most_chars: usize) -> Vec<String> {
    let mut seen = HashSet::new();
    let own = |id: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !id.is_empty() && id.len() <= most_chars && id.chars().all(plain)
    };
    let all = prompts.iter().all(|prompt| own(&prompt.id) && seen.insert(&prompt.id));
    let name = |prompt: &&Prompt| match all {
        true => prompt.id.clone(),
        false => format!("r-{:06}", prompt.index + 1),
    };
    prompts.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use crate::prompts::{Content, Format, LoadOptions, load_bytes};

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
    fn names_in_a_job_are_its_own_and_short_enough() {
        let named =
            |id: String| Prompt { index: 6, id, content: Content::Text("x".into()), expect: None };
        let (short, long) = (named("a".repeat(55)), named("a".repeat(56)));
        let ids = custom_ids_of_job(&[&short], "0011aaff");
        assert_eq!(ids, [format!("{}-0011aaff", "a".repeat(55))]);
        assert_eq!(custom_ids_of_job(&[&long], "0011aaff"), ["r-000007-0011aaff"]);
    }

    #[test]
    fn one_that_will_not_do_renames_all() {
        for bad in ["a 1", "ä", "a\",\"prompt\":\"y\"}\n{\"id\":\"a", &"x".repeat(65)] {
            let ids = ids(&format!(r#"{{"id":"{bad}","prompt":"x"}}"#));
            assert!(ids.iter().enumerate().all(|(at, id)| *id == format!("r-{:06}", at + 1)));
        }
    }
}
