//! Canaries: lists whose prompts each ask for a word of their own, so that an output shows
//! which prompt it answers. The evidence does not depend on row numbers or on another lane.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::bench::recorder::{Pass, RowState};
use crate::prompts::PromptList;

/// What the words in the outputs show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Finished rows whose prompt expects a word.
    pub checked: usize,
    /// Of these, outputs that contain their own word. An output without any expected word
    /// proves nothing: small models do not always do as they are asked.
    pub own: usize,
    /// Outputs that contain another row's word and not their own, in words.
    pub violations: Vec<String>,
}

/// Looks for the expected words in the outputs of a pass; `None` where no prompt expects one.
///
/// Words are compared whole, regardless of case and of what stands between letters and digits.
/// A word that the row's own prompt contains is no sign of a mix-up, nor is one that several
/// prompts expect.
pub fn canary(pass: &Pass, list: &PromptList) -> Option<Canary> {
    let words = Words::of(list);
    if words.owner.is_empty() {
        return None;
    }
    let mut found = Canary { checked: 0, own: 0, violations: Vec::new() };
    for (prompt, row) in list.prompts.iter().zip(&pass.rows) {
        let Some(own) = prompt.expect.as_deref().map(normal) else { continue };
        if own.is_empty() || row.state != RowState::Done {
            continue;
        }
        found.checked += 1;
        let said = words.said_in(&row.text);
        if said.contains(&own) {
            found.own += 1;
            continue;
        }
        if said.is_empty() {
            continue;
        }
        let asked = words.said_in(prompt.content.display());
        if let Some(other) = said.difference(&asked).min_by_key(|word| words.owner[*word]) {
            let (row, place) = (prompt.index + 1, words.owner[other] + 1);
            found.violations.push(format!(
                "the output of row {row} contains the word of row {place} and not its own"
            ));
        }
    }
    Some(found)
}

/// The expected words of a list.
struct Words {
    /// The first row that expects each word.
    owner: HashMap<String, usize>,
    /// How many parts the words have, ascending.
    lengths: Vec<usize>,
}

impl Words {
    fn of(list: &PromptList) -> Self {
        let mut owner = HashMap::new();
        for prompt in &list.prompts {
            let word = prompt.expect.as_deref().map(normal).filter(|word| !word.is_empty());
            if let Some(word) = word {
                owner.entry(word).or_insert(prompt.index);
            }
        }
        let parts = owner.keys().map(|word: &String| word.split(' ').count());
        let mut lengths: Vec<usize> = parts.collect::<HashSet<_>>().into_iter().collect();
        lengths.sort_unstable();
        Self { owner, lengths }
    }

    /// The expected words in a text.
    fn said_in(&self, text: &str) -> HashSet<String> {
        let normal = normal(text);
        let parts: Vec<&str> = normal.split(' ').collect();
        let mut said = HashSet::new();
        for &length in &self.lengths {
            for window in parts.windows(length) {
                let word = window.join(" ");
                if self.owner.contains_key(&word) {
                    said.insert(word);
                }
            }
        }
        said
    }
}

/// Runs of letters and digits in lower case, one space between them.
fn normal(text: &str) -> String {
    let parts = text.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
    parts.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}
