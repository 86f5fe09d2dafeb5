//! Medians of repeated measurements with 95 % intervals, by the percentile bootstrap (Efron and
//! Tibshirani, *An Introduction to the Bootstrap*, chapter 13).
//!
//! The resamples are drawn from a fixed seed: the same measurements always give the same
//! interval. With fewer than five values no interval is given: even the range from the
//! smallest to the largest of four values holds the median in only 87.5 % of cases.

use serde::{Deserialize, Serialize};

/// Fewest values of which an interval is made.
pub const FEWEST: usize = 5;

/// Most values of a group that are looked at: a bound on the effort for reports of any origin.
pub const MOST: usize = 200;

/// How often is resampled.
const RESAMPLES: usize = 2000;

/// Both tails of what a 95 % interval leaves out.
const TAILS: (f64, f64) = (0.025, 0.975);

/// The median of repeated measurements and how far it may be off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Median of the repeats.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How many measurements it is made of.
    pub repeats: usize,
    /// What the ends are.
    pub basis: Basis,
}

/// What the ends of a [`Spread`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A 95 % bootstrap interval of the median.
    #[serde(rename = "bootstrap_95")]
    Bootstrap95,
    /// The 95 % interval of a rank test; of ratios between two groups.
    #[serde(rename = "rank_95")]
    Rank95,
    /// The smallest and the largest value: too few repeats for an interval.
    Range,
}

impl Spread {
    /// The spread of these values; `None` below two.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values[..values.len().min(MOST)].to_vec();
        if sorted.len() < 2 || !sorted.iter().all(|value| value.is_finite()) {
            return None;
        }
        let median = median(&mut sorted);
        let (low, high, basis) = if sorted.len() < FEWEST {
            (sorted[0], sorted[sorted.len() - 1], Basis::Range)
        } else {
            let (low, high) = bootstrap(&sorted);
            (low, high, Basis::Bootstrap95)
        };
        Some(Self { median, low, high, repeats: sorted.len(), basis })
    }

    /// What a ratio shows.
    pub fn shows(&self) -> Difference {
        match self.basis {
            Basis::Range => Difference::TooFewRepeats,
            Basis::Bootstrap95 | Basis::Rank95 => self.differs(),
        }
    }

    fn differs(&self) -> Difference {
        if self.low * SAME >= 1.0 && self.high <= SAME {
            Difference::Same
        } else if self.low > 1.0 {
            Difference::More
        } else if self.high < 1.0 {
            Difference::Less
        } else {
            Difference::NotShown
        }
    }
}

/// A ratio below this, and above one over it, is of no matter to anybody.
const SAME: f64 = 1.01;

/// Whether a ratio differs from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// The whole interval lies within 1 % of 1, on one side of it or not.
    Same,
    /// Not the same, and the whole interval lies above 1.
    More,
    /// Not the same, and the whole interval lies below 1.
    Less,
    /// Not the same for certain, and the interval holds 1: no difference is shown, which does not
    /// mean that there is none.
    NotShown,
    /// There are too few repeats for an interval.
    TooFewRepeats,
}

/// The interval of the median of these values.
fn bootstrap(values: &[f64]) -> (f64, f64) {
    let mut random = SplitMix::new(0x5eed);
    let mut drawn = values.to_vec();
    let mut found: Vec<f64> = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        drawn.iter_mut().for_each(|value| *value = values[random.below(values.len())]);
        found.push(median(&mut drawn));
    }
    found.sort_by(f64::total_cmp);
    (super::percentile(&found, TAILS.0), super::percentile(&found, TAILS.1))
}

/// The median; the values are sorted by it.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    super::percentile(values, 0.5)
}

/// Steele, Lea and Flood's `SplitMix64`: small, and even enough to draw indices with.
pub(super) struct SplitMix(u64);

impl SplitMix {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// An index below `count`; the high bits, so that the bias is below 2⁻³² for any list.
    fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measurements around 100: noise of 2 %.
    fn measured(random: &mut SplitMix, count: usize) -> Vec<f64> {
        let mut one = || random.below(1000) as f64 / 1000.0 - 0.5;
        (0..count).map(|_| 100.0 + 2.0 * (one() + one() + one())).collect()
    }

    #[test]
    fn an_interval_holds_the_median_it_is_of_and_narrows_with_repeats() {
        let mut random = SplitMix::new(1);
        let few = Spread::of(&measured(&mut random, 6)).unwrap();
        let many = Spread::of(&measured(&mut random, 60)).unwrap();
        for of in [few, many] {
            assert!(of.low <= of.median && of.median <= of.high, "{of:?}");
            assert_eq!(of.basis, Basis::Bootstrap95);
        }
        assert!(many.high - many.low < few.high - few.low);
    }

    #[test]
    fn what_differs_by_less_than_one_percent_for_certain_is_called_the_same() {
        let spread = |low, high| {
            let median = f64::midpoint(low, high);
            Spread { median, low, high, repeats: 10, basis: Basis::Bootstrap95 }
        };
        let cases = [
            (0.999, 1.002, Difference::Same),
            (1.001, 1.003, Difference::Same),
            (0.985, 1.002, Difference::NotShown),
            (1.005, 1.02, Difference::More),
            (0.95, 0.999, Difference::Less),
        ];
        for (low, high, expected) in cases {
            assert_eq!(spread(low, high).shows(), expected, "{low} to {high}");
        }
    }

    #[test]
    fn few_repeats_have_a_range_and_show_nothing() {
        let spread = Spread::of(&[101.0, 100.0, 103.0]).unwrap();
        assert_eq!((spread.basis, spread.shows()), (Basis::Range, Difference::TooFewRepeats));
        assert_eq!((spread.low, spread.median, spread.high), (100.0, 101.0, 103.0));
        assert_eq!(Spread::of(&[1.0]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn the_same_measurements_always_have_the_same_interval() {
        let values: Vec<f64> = (0..10).map(f64::from).collect();
        assert_eq!(Spread::of(&values), Spread::of(&values));
    }
}
