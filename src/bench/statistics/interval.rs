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
const MOST: usize = 200;

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
    /// The smallest and the largest value: too few repeats for an interval.
    Range,
}

impl Spread {
    /// The spread of these values; `None` below two.
    pub fn of(values: &[f64]) -> Option<Self> {
        Self::by(&[values], |samples| median(&mut samples[0]))
    }

    /// How `b` relates to `a`: the ratio of their medians. The measurements are independent.
    pub fn of_ratio(a: &[f64], b: &[f64]) -> Option<Self> {
        Self::by(&[a, b], |samples| {
            let below = median(&mut samples[0]);
            median(&mut samples[1]) / below
        })
    }

    fn by(groups: &[&[f64]], statistic: fn(&mut [Vec<f64>]) -> f64) -> Option<Self> {
        let groups: Vec<&[f64]> =
            groups.iter().map(|group| &group[..group.len().min(MOST)]).collect();
        let repeats = groups.iter().map(|group| group.len()).min()?;
        let finite = groups.iter().all(|group| group.iter().all(|value| value.is_finite()));
        if repeats < 2 || !finite {
            return None;
        }
        let mut whole: Vec<Vec<f64>> = groups.iter().map(|group| group.to_vec()).collect();
        let found = statistic(&mut whole);
        let (low, high, basis) = if repeats < FEWEST {
            let (low, high) = extremes(&whole);
            (low, high, Basis::Range)
        } else {
            let (low, high) = bootstrap(&whole, statistic);
            (low, high, Basis::Bootstrap95)
        };
        let all = [found, low, high];
        let known = all.iter().all(|value| value.is_finite());
        known.then_some(Self { median: found, low, high, repeats, basis })
    }

    /// What a ratio shows.
    pub fn shows(&self) -> Difference {
        match self.basis {
            Basis::Range => Difference::TooFewRepeats,
            Basis::Bootstrap95 if self.low * SAME >= 1.0 && self.high <= SAME => Difference::Same,
            Basis::Bootstrap95 if self.low > 1.0 => Difference::More,
            Basis::Bootstrap95 if self.high < 1.0 => Difference::Less,
            Basis::Bootstrap95 => Difference::NotShown,
        }
    }
}

/// A ratio below this, and above one over it, is of no matter to anybody.
const SAME: f64 = 1.01;

/// Whether a ratio of two medians differs from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// The whole interval lies within 1 % of 1, on one side of it or not.
    Same,
    /// Not the same, and the whole interval lies above 1.
    More,
    /// Not the same, and the whole interval lies below 1.
    Less,
    /// Not the same for certain, and the interval holds 1: no difference is shown, which does not mean that there is none.
    NotShown,
    /// There are fewer than [`FEWEST`] repeats.
    TooFewRepeats,
}

/// The smallest and largest that the statistic could be: of one group, its ends; of two, the
/// ratios of opposite ends. The groups are sorted.
fn extremes(groups: &[Vec<f64>]) -> (f64, f64) {
    let ends = |group: &Vec<f64>| (group[0], group[group.len() - 1]);
    match groups {
        [only] => ends(only),
        [a, b, ..] => (ends(b).0 / ends(a).1, ends(b).1 / ends(a).0),
        [] => (f64::NAN, f64::NAN),
    }
}

fn bootstrap(groups: &[Vec<f64>], statistic: fn(&mut [Vec<f64>]) -> f64) -> (f64, f64) {
    let mut random = SplitMix(0x5eed);
    let mut drawn = groups.to_vec();
    let mut found: Vec<f64> = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        for (group, drawn) in groups.iter().zip(&mut drawn) {
            drawn.iter_mut().for_each(|value| *value = group[random.below(group.len())]);
        }
        found.push(statistic(&mut drawn));
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
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
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

    /// Measurements around a level: noise of this relative size, and now and then a slow one.
    fn measured(random: &mut SplitMix, level: f64, noise: f64, count: usize) -> Vec<f64> {
        let uniform = |random: &mut SplitMix| random.next() as f64 / u64::MAX as f64;
        let one = |random: &mut SplitMix| {
            // the sum of twelve uniform numbers is nearly normal, of variance 1 about 6
            let normal: f64 = (0..12).map(|_| uniform(random)).sum::<f64>() - 6.0;
            let disturbed = if uniform(random) < 0.1 { 1.0 - 0.1 * uniform(random) } else { 1.0 };
            level * (1.0 + noise * normal) * disturbed
        };
        (0..count).map(|_| one(random)).collect()
    }

    /// Share of pairs of runs for which a difference is shown.
    fn shown(slowdown: f64, noise: f64, pairs: usize) -> f64 {
        let mut random = SplitMix(7);
        let differs = |_: &usize| {
            let a = measured(&mut random, 100.0, noise, 10);
            let b = measured(&mut random, 100.0 * (1.0 - slowdown), noise, 10);
            let found = Spread::of_ratio(&a, &b).unwrap().shows();
            matches!(found, Difference::More | Difference::Less)
        };
        (0..pairs).filter(differs).count() as f64 / pairs as f64
    }

    // docs/method.md states these rates
    #[test]
    fn a_slowdown_of_5_percent_between_two_runs_of_10_repeats_is_found() {
        let found = [0.01, 0.02, 0.03, 0.05, 0.08].map(|noise| shown(0.05, noise, 400));
        println!("found at 1, 2, 3, 5 and 8 % noise: {found:?}");
        for (found, least) in found.iter().zip([0.95, 0.85, 0.7, 0.35, 0.15]) {
            assert!(*found >= least, "{found} {least}");
        }
    }

    #[test]
    fn equal_runs_are_called_equal() {
        let alarms = [0.01, 0.02, 0.03, 0.05, 0.08].map(|noise| shown(0.0, noise, 1000));
        println!("false alarms at 1, 2, 3, 5 and 8 % noise: {alarms:?}");
        assert!(alarms.iter().all(|share| *share <= 0.07), "{alarms:?}");
    }

    #[test]
    fn an_interval_holds_the_median_it_is_of_and_narrows_with_repeats() {
        let mut random = SplitMix(1);
        let few = Spread::of(&measured(&mut random, 100.0, 0.02, 6)).unwrap();
        let many = Spread::of(&measured(&mut random, 100.0, 0.02, 60)).unwrap();
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
        let spread = Spread::of_ratio(&[100.0, 101.0], &[50.0, 51.0]).unwrap();
        assert_eq!((spread.basis, spread.shows()), (Basis::Range, Difference::TooFewRepeats));
        assert_eq!((spread.low, spread.high), (50.0 / 101.0, 51.0 / 100.0));
        assert_eq!(Spread::of(&[1.0]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn the_same_measurements_always_have_the_same_interval() {
        let values: Vec<f64> = (0..10).map(f64::from).collect();
        assert_eq!(Spread::of(&values), Spread::of(&values));
    }
}
