//! How a pass went, in a bounded number of points for charts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bench::recorder::Pass;

/// Most points of a series.
const MOST_POINTS: usize = 120;
/// The narrowest window over which tokens are counted: steps of a batch are not seen as spikes.
const LEAST_WINDOW: Duration = Duration::from_millis(500);

/// Throughput and memory over the time of a pass. Only what happened in the session that wrote
/// the report: a journal keeps rows, not moments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OverTime {
    /// (seconds from the start of the pass, output tokens per second around that moment).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output_tokens_per_s: Vec<(f64, f64)>,
    /// (seconds from the start of the pass, bytes): of the GPUs where they are read, else of
    /// the process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory_bytes: Vec<(f64, u64)>,
}

impl OverTime {
    /// The points of a pass; `None` where there are none.
    pub(super) fn of(pass: &Pass) -> Option<Self> {
        let wall = pass.finished.or(pass.memory.last().map(|(at, _)| *at)).unwrap_or_default();
        let window = (wall / MOST_POINTS as u32).max(LEAST_WINDOW);
        let mut rates = pass.throughput.rates(window);
        // what comes after the end of the pass belongs to no window
        rates.retain(|(at, _)| pass.finished.is_none_or(|end| *at <= end.as_secs_f64()));
        rates.truncate(2 * MOST_POINTS);
        let group = pass.memory.len().div_ceil(MOST_POINTS).max(1);
        let highest = |points: &[(Duration, u64)]| {
            let (at, bytes) = points.iter().max_by_key(|(_, bytes)| *bytes)?;
            Some((at.as_secs_f64(), *bytes))
        };
        let memory = pass.memory.chunks(group).filter_map(highest).collect();
        let found = Self { output_tokens_per_s: rates, memory_bytes: memory };
        (found != Self::default()).then_some(found)
    }
}
