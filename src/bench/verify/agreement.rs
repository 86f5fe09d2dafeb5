//! Agreement: each row's greedy output against the reference lane's.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::bench::recorder::{Pass, RowRecord, RowState};
use crate::prompts::{Content, PromptList};

/// Characters shown before the first difference, and from there on.
const EXCERPT: (usize, usize) = (24, 72);

/// How the outputs of a lane compare with those of the reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Label of the reference lane.
    pub reference: String,
    /// Rows whose text equals the reference in every pass.
    pub same: usize,
    /// Rows whose text differs, in the order of the list.
    pub diverged: Vec<Divergence>,
    /// Rows that hold the text of another row: an ordering bug.
    pub swapped: Vec<Swapped>,
}

impl Agreement {
    /// Rows that could be compared.
    pub fn compared(&self) -> usize {
        self.same + self.diverged.len() + self.swapped.len()
    }

    /// Takes back what chance explains between lanes of different engines or models, given the
    /// passes it was made of. They differ in many rows, and a short text may then be another
    /// row's; a row counts as swapped only where that other row has lost its own text.
    #[must_use]
    pub fn between_engines(mut self, reference: &Pass, passes: &[&Pass]) -> Self {
        for at in std::mem::take(&mut self.swapped) {
            let pass = passes.iter().find(|pass| pass.repeat == at.repeat);
            let held = |row: usize| Some((reference.rows.get(row)?, pass?.rows.get(row)?));
            match (held(at.equals_row), held(at.row)) {
                (Some((own, other)), Some((expected, output))) if own.text == other.text => {
                    self.diverged.push(divergence(at.row, at.repeat, expected, output));
                }
                _ => self.swapped.push(at),
            }
        }
        self.diverged.sort_by_key(|at| at.row);
        self
    }
}

/// A row whose text differs from the reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// Index of the row, from 0.
    pub row: usize,
    /// The pass it was seen in, from 0.
    pub repeat: usize,
    /// Characters that both texts share from their start.
    pub at: usize,
    /// Token ids that both outputs share from their start, where both are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_token: Option<usize>,
    /// The reference around that place.
    pub reference: String,
    /// The text around that place.
    pub text: String,
}

/// A row whose text is another row's reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swapped {
    /// Index of the row, from 0.
    pub row: usize,
    /// The pass it was seen in, from 0.
    pub repeat: usize,
    /// Index of the row whose reference it equals.
    pub equals_row: usize,
}

/// Compares passes of a lane, row by row, with a pass of the reference lane. Only rows that
/// are done in both count; a row that differs in several passes is told once, with its first.
///
/// A row is `swapped` only where its text is evidence of that: it is not blank, not the row's
/// own reference, and the reference of one other prompt only. Where several different prompts
/// have that reference (yes/no answers, say), equality shows nothing and the row has diverged.
/// Rows with the same prompt as the swapped one do not count as others.
///
/// Only meaningful for greedy runs; the caller decides that.
pub fn agreement(label: &str, reference: &Pass, passes: &[&Pass], list: &PromptList) -> Agreement {
    let mut found = Agreement {
        reference: label.to_owned(),
        same: 0,
        diverged: Vec::new(),
        swapped: Vec::new(),
    };
    let mut owners = None;
    for (row, expected) in reference.rows.iter().enumerate() {
        let done = |record: &&RowRecord| record.state == RowState::Done;
        let outputs = passes
            .iter()
            .filter_map(|pass| pass.rows.get(row).filter(done).map(|output| (pass.repeat, output)));
        let mut outputs = outputs.peekable();
        if !done(&expected) || outputs.peek().is_none() {
            continue;
        }
        let Some((repeat, output)) = outputs.find(|(_, output)| output.text != expected.text)
        else {
            found.same += 1;
            continue;
        };
        let owners = owners.get_or_insert_with(|| Owners::of(reference, list));
        match owners.other_than(row, &output.text) {
            Some(equals_row) => found.swapped.push(Swapped { row, repeat, equals_row }),
            None => found.diverged.push(divergence(row, repeat, expected, output)),
        }
    }
    found
}

/// Which rows have which reference text.
struct Owners<'a> {
    rows: HashMap<&'a str, Owner>,
    list: &'a PromptList,
}

/// Whose reference a text is.
#[derive(Clone, Copy)]
enum Owner {
    /// That of this row, and perhaps of rows with the same prompt.
    One(usize),
    /// That of rows with different prompts.
    Several,
}

impl<'a> Owners<'a> {
    fn of(reference: &'a Pass, list: &'a PromptList) -> Self {
        let mut owners = Self { rows: HashMap::new(), list };
        for (row, record) in reference.rows.iter().enumerate() {
            if record.state != RowState::Done || record.text.trim().is_empty() {
                continue;
            }
            let owner = match owners.rows.get(record.text.as_str()) {
                None => Owner::One(row),
                Some(Owner::One(first)) if owners.same_prompt(*first, row) => Owner::One(*first),
                Some(Owner::One(_) | Owner::Several) => Owner::Several,
            };
            owners.rows.insert(&record.text, owner);
        }
        owners
    }

    /// The one other prompt's row that has this reference.
    fn other_than(&self, row: usize, text: &str) -> Option<usize> {
        match self.rows.get(text)? {
            Owner::One(other) if !self.same_prompt(*other, row) => Some(*other),
            Owner::One(_) | Owner::Several => None,
        }
    }

    fn same_prompt(&self, a: usize, b: usize) -> bool {
        self.content(a) == self.content(b)
    }

    fn content(&self, row: usize) -> Option<&Content> {
        self.list.prompts.get(row).map(|prompt| &prompt.content)
    }
}

fn divergence(row: usize, repeat: usize, expected: &RowRecord, output: &RowRecord) -> Divergence {
    let at = shared(expected.text.chars(), output.text.chars());
    let known = !expected.ids.is_empty() && !output.ids.is_empty();
    Divergence {
        row,
        repeat,
        at,
        at_token: known.then(|| shared(expected.ids.iter(), output.ids.iter())),
        reference: excerpt(&expected.text, at),
        text: excerpt(&output.text, at),
    }
}

/// How many items both begin with.
fn shared<T: PartialEq>(a: impl Iterator<Item = T>, b: impl Iterator<Item = T>) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).count()
}

/// The text around a character, `…` where it was cut.
fn excerpt(text: &str, at: usize) -> String {
    let from = at.saturating_sub(EXCERPT.0);
    let mut rest = text.chars().skip(from);
    let shown: String = rest.by_ref().take(at - from + EXCERPT.1).collect();
    let cut = |cut: bool| if cut { "…" } else { "" };
    format!("{}{shown}{}", cut(from > 0), cut(rest.next().is_some()))
}
