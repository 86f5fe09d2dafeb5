//! Which rows the table shows.

use crate::bench::recorder::{LaneRecord, Pass, Recorder, RowRecord, RowState};

/// Which rows the table shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Filter {
    /// All, in the order of the list.
    #[default]
    All,
    /// Those that failed in any lane.
    Failed,
    /// Those whose output differs from the reference's in any lane.
    Diverged,
    /// All, those with the longest output first.
    Longest,
}

impl Filter {
    /// The next one.
    pub fn next(self) -> Self {
        match self {
            Filter::All => Filter::Failed,
            Filter::Failed => Filter::Diverged,
            Filter::Diverged => Filter::Longest,
            Filter::Longest => Filter::All,
        }
    }

    /// As it is shown; nothing of all rows is said.
    pub fn word(self) -> &'static str {
        match self {
            Filter::All => "",
            Filter::Failed => "failed",
            Filter::Diverged => "diverged",
            Filter::Longest => "longest first",
        }
    }

    /// The rows, where not all in their order.
    pub fn rows(self, record: &Recorder) -> Option<Vec<usize>> {
        let passes: Vec<&Pass> = record.lanes.iter().filter_map(LaneRecord::pass).collect();
        let any = |holds: fn(&RowRecord) -> bool| {
            let row =
                |row: &usize| passes.iter().any(|pass| pass.rows.get(*row).is_some_and(holds));
            (0..record.rows()).filter(row).collect()
        };
        match self {
            Filter::All => None,
            Filter::Failed => Some(any(|row| row.state == RowState::Failed)),
            Filter::Diverged => Some(any(|row| row.same_as_reference == Some(false))),
            Filter::Longest => {
                let longest = |row: usize| {
                    let rows = passes.iter().filter_map(|pass| pass.rows.get(row));
                    rows.map(|row| row.output_tokens()).max()
                };
                let mut rows: Vec<usize> = (0..record.rows()).collect();
                rows.sort_by_cached_key(|row| std::cmp::Reverse(longest(*row)));
                Some(rows)
            }
        }
    }
}
