//! A stored report as the bound: what is worse now than it was, beyond a tolerance.

use std::str::FromStr;

use super::figure::{Figure, Latency, Stat};
use super::{GateError, MOST_LABEL, Verdict};
use crate::bench::statistics::{Basis, Spread};
use crate::report::spread::values;
use crate::report::{Figures, Lane, Report};
use crate::text::{shortened, visible};
use crate::units;

/// How much worse a figure may be: a share of the baseline's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance(f64);

impl Default for Tolerance {
    fn default() -> Self {
        Self(0.1)
    }
}

impl FromStr for Tolerance {
    type Err = GateError;

    /// Reads `10%` or `0.1`.
    fn from_str(text: &str) -> Result<Self, GateError> {
        let (number, scale) = match text.trim().strip_suffix('%') {
            Some(number) => (number.trim(), 0.01),
            None => (text.trim(), 1.0),
        };
        let share = number.parse::<f64>().map(|number| number * scale).ok();
        share
            .filter(|share| (0.0..1.0).contains(share))
            .map(Self)
            .ok_or_else(|| GateError("a tolerance is a share below 1, such as 5% or 0.05".into()))
    }
}

/// What must not become worse: its name, how it is read, and whether more is better.
type Guarded = (&'static str, Figure, fn(&Figures) -> Option<f64>, bool);

const GUARDED: [Guarded; 3] = [
    ("throughput", Figure::Throughput, |of| of.output_tokens_per_s, true),
    ("TTFT p50", Figure::Latency(Latency::Ttft, Stat::P50), |of| Some(of.ttft_s?.p50), false),
    ("ITL p50", Figure::Latency(Latency::Itl, Stat::P50), |of| Some(of.itl_s?.p50), false),
];

/// Compares throughput, TTFT and ITL of every lane that both reports have. With five repeats on
/// both sides a figure fails only when its whole interval is beyond the tolerance, so that
/// noise alone does not fail a build; with fewer the figures themselves decide.
pub fn against(baseline: &Report, report: &Report, tolerance: Tolerance) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for lane in &report.lanes {
        let Some(before) = baseline.lanes.iter().find(|of| of.label == lane.label) else {
            continue;
        };
        let guarded = GUARDED.iter().filter_map(|figure| judge(before, lane, figure, tolerance));
        verdicts.extend(guarded);
    }
    if verdicts.is_empty() {
        let line = "fails: baseline: no lane and figure is in both reports".to_owned();
        verdicts.push(Verdict { passed: false, line });
    }
    verdicts
}

fn judge(
    before: &Lane,
    lane: &Lane,
    (name, figure, read, more_is_better): &Guarded,
    Tolerance(tolerance): Tolerance,
) -> Option<Verdict> {
    let (was, is) = (values(before, *read), values(lane, *read));
    let (was_read, is_read) = (figure.read(before)?, figure.read(lane));
    let label = shortened(&visible(&lane.label), MOST_LABEL);
    let Some(is_read) = is_read else {
        let line = format!("fails: baseline: {label} {name}: the figure is not known");
        return Some(Verdict { passed: false, line });
    };
    let spread = Spread::of_ratio(&was, &is);
    let ratio = spread.map_or(is_read / was_read, |of| of.median);
    // how good the change may be at best, where the repeats are enough to tell
    let best = match spread.filter(|of| of.basis == Basis::Rank95) {
        Some(of) if *more_is_better => of.high,
        Some(of) => of.low,
        None => ratio,
    };
    let passed = match more_is_better {
        true => best >= 1.0 - tolerance,
        false => best <= 1.0 + tolerance,
    };
    let word = if passed { "holds" } else { "fails" };
    let unit = figure.unit();
    let line = format!(
        "{word}: baseline: {label} {name}: {} → {}, {}{} (tolerance {})",
        unit.format(was_read),
        unit.format(is_read),
        units::ratio(ratio),
        spread
            .map(|of| format!(", {}", super::interval(&of, super::Unit::Factor)))
            .unwrap_or_default(),
        units::percent(tolerance),
    );
    Some(Verdict { passed, line })
}
