//! Integrity: every row ends exactly once.

use serde::{Deserialize, Serialize};

use super::row_list;
use crate::bench::recorder::{Pass, RowRecord, RowState};

/// Most violations that are kept in words; the rest is counted.
const MOST_VIOLATIONS: usize = 100;

/// Whether every row ended exactly once, in its own place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integrity {
    /// There is no violation.
    pub passed: bool,
    /// What is wrong, in words.
    pub violations: Vec<String>,
    /// Rows that have not ended. Where the pass was stopped, failed, or still runs, that is
    /// expected and no violation; where it came to its end, it is one.
    #[serde(default)]
    pub rows_missing: usize,
}

impl Integrity {
    /// Adds a violation.
    pub fn violate(&mut self, what: String) {
        self.passed = false;
        match self.violations.len() {
            kept if kept < MOST_VIOLATIONS => self.violations.push(what),
            MOST_VIOLATIONS => self.violations.push("and more, which are not listed".into()),
            _ => {}
        }
    }
}

/// Checks that every row of a pass ended exactly once, that none is missing from a pass that
/// came to its end, and that the record agrees with itself.
pub fn integrity(pass: &Pass) -> Integrity {
    let mut found = Integrity { passed: true, violations: Vec::new(), rows_missing: 0 };
    pass.violations.iter().for_each(|what| found.violate(what.clone()));
    for (place, row) in pass.rows.iter().enumerate() {
        if let Some(what) = contradiction(row) {
            found.violate(format!("row {} {what}", place + 1));
        }
    }
    check_counts(pass, &mut found);
    check_missing(pass, &mut found);
    found
}

/// What the record of a row says against itself.
fn contradiction(row: &RowRecord) -> Option<&'static str> {
    match (row.state, &row.reason, &row.failure) {
        (_, Some(_), Some(_)) => Some("ended both well and with a failure"),
        (RowState::Done, None, _) => Some("is done but never finished"),
        (RowState::Failed, _, None) => Some("has failed without a failure"),
        (RowState::Waiting | RowState::Running | RowState::NotRun, Some(_), _)
        | (RowState::Waiting | RowState::Running | RowState::NotRun, _, Some(_)) => {
            Some("ended and was run again")
        }
        (RowState::Done, Some(_), None)
        | (RowState::Failed, None, Some(_))
        | (RowState::Waiting | RowState::Running | RowState::NotRun, None, None) => None,
    }
}

fn check_counts(pass: &Pass, found: &mut Integrity) {
    for (what, state, counted) in
        [("done", RowState::Done, pass.done), ("failed", RowState::Failed, pass.failed)]
    {
        let recorded = pass.rows.iter().filter(|row| row.state == state).count();
        if recorded != counted {
            found.violate(format!("{counted} rows were counted as {what}, {recorded} are"));
        }
    }
}

fn check_missing(pass: &Pass, found: &mut Integrity) {
    let open = pass.rows.iter().enumerate().filter(|(_, row)| !row.ended());
    let missing: Vec<usize> = open.map(|(place, _)| place).collect();
    found.rows_missing = missing.len();
    let came_to_its_end = pass.finished.is_some() && pass.failure.is_none();
    if came_to_its_end && !missing.is_empty() {
        let (count, rows) = (missing.len(), row_list(&missing));
        found.violate(format!("{count} of {} rows never ended: {rows}", pass.rows.len()));
    }
}
