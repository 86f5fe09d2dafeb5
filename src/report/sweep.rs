//! Batch sizes side by side: lanes of a run that differ in their batch size only, and the knee
//! that [`crate::bench::sweep`] finds in them.

use super::{Lane, Report, spread};
use crate::bench::sweep::{self, Knee, Point};

/// Fewest batch sizes that show anything.
const FEWEST: usize = 3;

/// What the batch sizes of a report show, in the sentence of the Sweep screen; `None` where there
/// are fewer than three of them.
pub fn knee_words(report: &Report) -> Option<String> {
    Some(sweep::words(&Sweep::of(report)?.curve()))
}

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
        let rated = lanes.filter(|(_, lane)| !samples(lane).is_empty());
        let point = |(place, lane): (usize, &'a Lane)| Some((lane.batch_size?, place, lane));
        let mut points: Vec<(usize, usize, &Lane)> = rated.filter_map(point).collect();
        points.sort_by_key(|(size, place, _)| (*size, *place));
        points.dedup_by_key(|(size, _, _)| *size);
        (points.len() >= FEWEST).then_some(Self { points })
    }

    /// The batch size of the knee, and how sure it is, 0 to 1, where the repeats tell.
    pub fn knee(&self) -> Option<(usize, Option<f64>)> {
        match sweep::knee(&self.curve()) {
            Knee::At { place, confidence } => Some((self.points.get(place)?.0, confidence)),
            Knee::TooFew | Knee::Flat | Knee::Rising => None,
        }
    }

    /// Throughput of every repeat, by batch size.
    fn curve(&self) -> Vec<Point> {
        let point = |(batch_size, _, lane): &(usize, usize, &Lane)| Point {
            batch_size: *batch_size,
            samples: samples(lane),
            ..Point::default()
        };
        self.points.iter().map(point).collect()
    }
}

/// Throughput of the passes that came to their end.
fn samples(lane: &Lane) -> Vec<f64> {
    if lane.repeats.is_empty() && lane.failure.is_some() {
        return Vec::new();
    }
    spread::values(lane, |figures| figures.output_tokens_per_s)
}
