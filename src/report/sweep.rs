//! Batch sizes side by side: lanes of a run that differ in their batch size only.

use super::{Lane, Report};

/// Share of the best throughput from which a larger batch no longer pays.
pub(super) const KNEE: f64 = 0.9;
/// Fewest batch sizes that show anything.
const FEWEST: usize = 3;

/// Batched lanes on one provider and model, smallest batch first.
pub(super) struct Sweep<'a> {
    /// (batch size, place of the lane in the report, the lane).
    pub points: Vec<(usize, usize, &'a Lane)>,
}

impl<'a> Sweep<'a> {
    /// The sweep in a report; `None` where there are fewer than three batch sizes.
    pub fn of(report: &'a Report) -> Option<Self> {
        let batched = |lane: &&Lane| lane.mode == "batched" && lane.batch_size.is_some();
        let first = report.lanes.iter().find(batched)?;
        let alike = |lane: &&Lane| {
            batched(lane) && lane.provider == first.provider && lane.model == first.model
        };
        let lanes = report.lanes.iter().enumerate().filter(|(_, lane)| alike(lane));
        let rated = lanes.filter(|(_, lane)| lane.figures.output_tokens_per_s.is_some());
        let point = |(place, lane): (usize, &'a Lane)| Some((lane.batch_size?, place, lane));
        let mut points: Vec<(usize, usize, &Lane)> = rated.filter_map(point).collect();
        points.sort_by_key(|(size, place, _)| (*size, *place));
        points.dedup_by_key(|(size, _, _)| *size);
        (points.len() >= FEWEST).then_some(Self { points })
    }

    /// The knee: the smallest batch size with at least [`KNEE`] of the best throughput.
    pub fn knee(&self) -> Option<&(usize, usize, &'a Lane)> {
        let rate = |lane: &Lane| lane.figures.output_tokens_per_s.unwrap_or_default();
        let best = self.points.iter().map(|(_, _, lane)| rate(lane)).fold(0.0, f64::max);
        self.points.iter().find(|(_, _, lane)| rate(lane) >= KNEE * best && best > 0.0)
    }
}
