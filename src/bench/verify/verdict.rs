//! The verdict on a whole run: what is a failure, what is missing, what is worth knowing.

use serde::{Deserialize, Serialize};

use super::{Agreement, Canary, Integrity, row_list};
use crate::bench::recorder::LaneState;

/// What was found in a lane.
#[derive(Debug, Clone, Copy)]
pub struct LaneFindings<'a> {
    /// The lane's label.
    pub label: &'a str,
    /// Where it stands.
    pub state: &'a LaneState,
    /// Rows that failed, over all passes.
    pub rows_failed: usize,
    /// Over all passes; absent before the first.
    pub integrity: Option<&'a Integrity>,
    /// Absent where nothing was compared.
    pub agreement: Option<&'a Agreement>,
    /// Absent where no prompt expects a word.
    pub canary: Option<&'a Canary>,
    /// The lane and its reference run on the same batch-invariant provider, so that a greedy
    /// row must be the same in both.
    pub must_agree: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every row of every lane ended well, in its place; nothing speaks against it.
    Verified,
    /// Nothing speaks against what was run, but not everything was run.
    Incomplete,
    /// Something is wrong.
    Failed,
}

impl Outcome {
    /// The word for screens and reports.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Verified => "verified",
            Outcome::Incomplete => "incomplete",
            Outcome::Failed => "failed",
        }
    }
}

/// The verdict on a run, with its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// In a word.
    pub outcome: Outcome,
    /// What is wrong: violated integrity, swapped rows, lanes or rows that failed, and
    /// divergence where the provider is batch-invariant.
    pub failures: Vec<Finding>,
    /// What was not run.
    pub incomplete: Vec<Finding>,
    /// What is worth knowing and wrong in nothing.
    pub information: Vec<Finding>,
}

/// Something that was found in a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The lane's label.
    pub lane: String,
    /// What it is about.
    pub kind: FindingKind,
    /// In words.
    pub message: String,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The lane ended early.
    LaneFailed,
    /// The lane was stopped, or has not ended.
    LaneIncomplete,
    /// Rows failed and the lane went on.
    RowsFailed,
    /// A row did not end exactly once, or an output is out of place.
    Integrity,
    /// A row holds another row's output.
    Swapped,
    /// A greedy output differs from the reference.
    Diverged,
    /// What the canary words show.
    Canary,
}

/// Judges a run.
pub fn verdict<'a>(lanes: impl IntoIterator<Item = LaneFindings<'a>>) -> Verdict {
    let mut verdict = Verdict {
        outcome: Outcome::Verified,
        failures: Vec::new(),
        incomplete: Vec::new(),
        information: Vec::new(),
    };
    for lane in lanes {
        verdict.judge_state(&lane);
        verdict.judge_integrity(&lane);
        verdict.judge_agreement(&lane);
    }
    verdict.outcome = match (verdict.failures.is_empty(), verdict.incomplete.is_empty()) {
        (false, _) => Outcome::Failed,
        (true, false) => Outcome::Incomplete,
        (true, true) => Outcome::Verified,
    };
    verdict
}

impl Verdict {
    fn judge_state(&mut self, lane: &LaneFindings<'_>) {
        let incomplete = FindingKind::LaneIncomplete;
        let missing = lane.integrity.map_or(0, |integrity| integrity.rows_missing);
        let open = match missing {
            0 => String::new(),
            1 => ", 1 row was not run".into(),
            rows => format!(", {rows} rows were not run"),
        };
        match lane.state {
            LaneState::Done => {}
            LaneState::Failed(failure) => {
                let message = format!("{failure}{open}");
                self.failures.push(finding(lane, FindingKind::LaneFailed, message));
            }
            LaneState::Cancelled => {
                self.incomplete.push(finding(lane, incomplete, format!("stopped{open}")));
            }
            LaneState::Waiting => {
                self.incomplete.push(finding(lane, incomplete, "not run".into()));
            }
            LaneState::WarmingUp | LaneState::Running => {
                self.incomplete.push(finding(lane, incomplete, "still running".into()));
            }
        }
        let told = matches!(lane.state, LaneState::Failed(_));
        if lane.rows_failed > 0 && !told {
            let message = format!("{} failed", counted(lane.rows_failed));
            self.failures.push(finding(lane, FindingKind::RowsFailed, message));
        }
    }

    fn judge_integrity(&mut self, lane: &LaneFindings<'_>) {
        for what in lane.integrity.iter().flat_map(|integrity| &integrity.violations) {
            self.failures.push(finding(lane, FindingKind::Integrity, what.clone()));
        }
        if let Some(canary) = lane.canary {
            let message =
                format!("{} of {} outputs contain their own word", canary.own, canary.checked);
            self.information.push(finding(lane, FindingKind::Canary, message));
        }
    }

    fn judge_agreement(&mut self, lane: &LaneFindings<'_>) {
        let Some(agreement) = lane.agreement else { return };
        let rows: Vec<usize> = agreement.swapped.iter().map(|swapped| swapped.row).collect();
        if !rows.is_empty() {
            let message = format!("holds another row's output in {}", named(&rows));
            self.failures.push(finding(lane, FindingKind::Swapped, message));
        }
        let rows: Vec<usize> = agreement.diverged.iter().map(|diverged| diverged.row).collect();
        if !rows.is_empty() {
            let message = format!("differs from {} in {}", agreement.reference, named(&rows));
            let place = if lane.must_agree { &mut self.failures } else { &mut self.information };
            place.push(finding(lane, FindingKind::Diverged, message));
        }
    }
}

fn finding(lane: &LaneFindings<'_>, kind: FindingKind, message: String) -> Finding {
    Finding { lane: lane.label.to_owned(), kind, message }
}

/// Which rows, and how many.
fn named(rows: &[usize]) -> String {
    match rows {
        [_] => format!("row {}", row_list(rows)),
        _ => format!("{} rows: {}", rows.len(), row_list(rows)),
    }
}

fn counted(rows: usize) -> String {
    if rows == 1 { "1 row".into() } else { format!("{rows} rows") }
}
