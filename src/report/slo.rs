//! Latency limits: which rows met them, and at what rate (goodput).

use serde::{Deserialize, Serialize};

use super::sweep::Sweep;
use super::{Lane, Report, Row};

/// Share of a lane's rows that must meet the limits for the lane to be within them.
pub(super) const ENOUGH: f64 = 0.95;

/// What a row must keep; a limit that is absent is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// Longest time until the first text, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_s: Option<f64>,
    /// Longest time until the row has ended, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e2e_s: Option<f64>,
}

/// How a lane kept the limits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Rows that ended well within every limit.
    pub rows_met: usize,
    /// Of all rows of the list.
    pub share: f64,
    /// Rows that met the limits a second.
    pub goodput_rows_per_s: f64,
}

/// What the batch sizes of a run show.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BatchSizes {
    /// The batch size from which a larger one brings little, by [`crate::bench::sweep::knee`];
    /// absent where the throughput hardly rises, or rises up to the largest size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knee: Option<usize>,
    /// In how many of the resamples of the repeats the knee is the same, 0 to 1; absent where no
    /// size ran more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knee_confidence: Option<f64>,
    /// The largest batch size at which 95 % of the rows met the limits; absent where there are
    /// no limits, or no size meets them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_within_slo: Option<usize>,
}

impl Report {
    /// The report with its rows judged by these limits.
    #[must_use]
    pub fn within(mut self, slo: Slo) -> Self {
        if slo == Slo::default() {
            return self;
        }
        self.lanes.iter_mut().for_each(|lane| lane.slo = kept(lane, slo));
        self.run.slo = Some(slo);
        self.batch_sizes = BatchSizes::of(&self);
        self
    }
}

impl BatchSizes {
    pub(super) fn of(report: &Report) -> Option<Self> {
        let sweep = Sweep::of(report)?;
        let within = |lane: &Lane| lane.slo.is_some_and(|kept| kept.share >= ENOUGH);
        let mut sizes = sweep.points.iter().rev();
        let largest = sizes.find(|(_, _, lane)| within(lane)).map(|(size, _, _)| *size);
        let (knee, knee_confidence) = sweep.knee().unzip();
        let knee_confidence = knee_confidence.flatten();
        Some(Self { knee, knee_confidence, largest_within_slo: largest })
    }
}

fn kept(lane: &Lane, slo: Slo) -> Option<Kept> {
    let wall = lane.figures.wall_s.filter(|wall| *wall > 0.0)?;
    let within = |time: Option<f64>, limit: Option<f64>| match limit {
        None => true,
        Some(limit) => time.is_some_and(|time| time <= limit),
    };
    let met = |row: &&Row| {
        row.is_done() && within(row.ttft_s, slo.ttft_s) && within(row.e2e_s, slo.e2e_s)
    };
    let rows_met = lane.rows.iter().filter(met).count();
    let share = rows_met as f64 / lane.rows.len().max(1) as f64;
    Some(Kept { rows_met, share, goodput_rows_per_s: rows_met as f64 / wall })
}
