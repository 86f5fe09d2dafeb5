//! The figures of one lane in several reports.

use super::turns::Pairs;
use crate::bench::statistics::{Difference, Spread};
use crate::report::spread::{Read, values};
use crate::report::{Figures, Lane};
use crate::units;

/// A figure: its name, its values, and what the others are of the first.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::report) struct Row {
    pub name: &'static str,
    /// One a report, formatted.
    pub values: Vec<String>,
    /// One a report after the first.
    pub ratios: Vec<Ratio>,
}

/// A figure over that of the first report.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::report) struct Ratio {
    /// The factor, formatted.
    pub factor: String,
    /// The interval and what it shows, where there are repeats.
    pub shown: Option<String>,
    /// Whether a difference is shown, and whether it is for the better.
    pub better: Option<bool>,
}

/// Name, how it is read, how it is written, whether more is better.
type Figure = (&'static str, Read, fn(f64) -> String, bool);

const BYTES: fn(f64) -> String = |bytes| units::bytes(bytes as u64);

const FIGURES: [Figure; 9] = [
    ("throughput", |of| of.output_tokens_per_s, units::throughput, true),
    ("TTFT p50", |of| Some(of.ttft_s?.p50), units::duration, false),
    ("TTFT p95", |of| Some(of.ttft_s?.p95), units::duration, false),
    ("ITL p50", |of| Some(of.itl_s?.p50), units::duration, false),
    ("e2e p50", |of| Some(of.e2e_s?.p50), units::duration, false),
    ("memory, process", |of| Some(of.peak_memory_bytes?.process? as f64), BYTES, false),
    ("memory, engine", |of| Some(of.peak_memory_bytes?.engine? as f64), BYTES, false),
    ("memory, gpu", |of| Some(of.peak_memory_bytes?.gpu? as f64), BYTES, false),
    ("J per 1,000 tokens", energy, units::significant, false),
];

fn energy(of: &Figures) -> Option<f64> {
    of.energy.as_ref()?.joules_per_1000_output_tokens
}

/// The figures that at least one of the lanes has; `in_turns` has one a lane after the first.
pub(super) fn rows(lanes: &[&Lane], in_turns: &[Option<Pairs<'_>>]) -> Vec<Row> {
    FIGURES.iter().filter_map(|figure| row(lanes, in_turns, figure)).collect()
}

fn row(
    lanes: &[&Lane],
    in_turns: &[Option<Pairs<'_>>],
    (name, read, format, more_is_better): &Figure,
) -> Option<Row> {
    let median = |lane: &&Lane| {
        let spread = Spread::of(&values(lane, *read));
        spread.map(|of| of.median).or_else(|| read(&lane.figures))
    };
    let known: Vec<Option<f64>> = lanes.iter().map(median).collect();
    known.iter().find(|value| value.is_some())?;
    let estimated = matches!(*name, "throughput" | "ITL p50");
    let shown = |(lane, value): (&&Lane, &Option<f64>)| {
        units::estimated(estimated && lane.figures.estimated(), units::known(*value, *format))
    };
    let (first, others) = lanes.split_first()?;
    let ratio = |(place, other): (usize, &&Lane)| {
        let factor = known[place + 1].zip(known[0]).map(|(now, before)| now / before);
        // peaks of memory do not scatter like times: an interval would be of nothing
        let scatters = !name.starts_with("memory");
        let spread = match &in_turns[place] {
            _ if !scatters => None,
            Some(pairs) => Spread::of_pairs(&ratios(pairs, *read)),
            None => Spread::of_ratio(&values(first, *read), &values(other, *read)),
        };
        ratio(factor, spread, *more_is_better)
    };
    Some(Row {
        name,
        values: lanes.iter().zip(&known).map(shown).collect(),
        ratios: others.iter().enumerate().map(ratio).collect(),
    })
}

/// A figure's ratio in every pair that has it.
fn ratios(pairs: &Pairs<'_>, read: Read) -> Vec<f64> {
    pairs.iter().filter_map(|(a, b)| Some(read(&b.figures)? / read(&a.figures)?)).collect()
}

fn ratio(factor: Option<f64>, spread: Option<Spread>, more_is_better: bool) -> Ratio {
    let factor = spread.map(|of| of.median).or(factor).filter(|factor| factor.is_finite());
    let shows = spread.map(|of| of.shows());
    let shown = spread.zip(shows).map(|(of, shows)| {
        let word = match shows {
            Difference::Same => "the same within 1 %",
            Difference::More => "more",
            Difference::Less => "less",
            Difference::NotShown => "no difference shown",
            Difference::TooFewRepeats => "too few repeats to tell",
        };
        format!("{} to {}: {word}", units::significant(of.low), units::ratio(of.high))
    });
    let better = match shows {
        Some(Difference::More) => Some(more_is_better),
        Some(Difference::Less) => Some(!more_is_better),
        Some(Difference::Same | Difference::NotShown | Difference::TooFewRepeats) | None => None,
    };
    Ratio { factor: units::known(factor, units::ratio), shown, better }
}
