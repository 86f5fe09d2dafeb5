//! Summaries of samples.
//!
//! Percentiles interpolate linearly between the two nearest ranks (Hyndman and Fan's type 7,
//! the default of NumPy and R).

mod interval;
mod ranks;

use serde::{Deserialize, Serialize};

pub use interval::{Basis, Difference, FEWEST, MOST, Spread};
pub use ranks::FEWEST_PAIRS;

/// Location and tail of a sample, in the sample's unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest value.
    pub max: f64,
}

impl Summary {
    /// The summary of these values; `None` of an empty sample.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let max = *values.last()?;
        Some(Self {
            mean: values.iter().sum::<f64>() / values.len() as f64,
            p50: percentile(&values, 0.50),
            p90: percentile(&values, 0.90),
            p95: percentile(&values, 0.95),
            p99: percentile(&values, 0.99),
            max,
        })
    }
}

/// The `p` quantile of values in ascending order; `p` in [0, 1], `sorted` not empty.
fn percentile(sorted: &[f64], p: f64) -> f64 {
    let rank = p * (sorted.len() - 1) as f64;
    let below = sorted[rank.floor() as usize];
    let above = sorted[rank.ceil() as usize];
    below + (above - below) * rank.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_interpolate_between_ranks() {
        // reference: numpy.percentile([1..10], [50, 90, 95, 99])
        let summary = Summary::of((1..=10).map(f64::from)).unwrap();
        let expected = Summary { mean: 5.5, p50: 5.5, p90: 9.1, p95: 9.55, p99: 9.91, max: 10.0 };
        for (ours, theirs) in [
            (summary.mean, expected.mean),
            (summary.p50, expected.p50),
            (summary.p90, expected.p90),
            (summary.p95, expected.p95),
            (summary.p99, expected.p99),
            (summary.max, expected.max),
        ] {
            assert!((ours - theirs).abs() < 1e-12, "{summary:?}");
        }
    }

    #[test]
    fn an_empty_sample_has_no_summary() {
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn one_value_is_every_percentile() {
        let summary = Summary::of([3.0]).unwrap();
        assert_eq!((summary.p50, summary.p99, summary.max), (3.0, 3.0, 3.0));
    }
}
