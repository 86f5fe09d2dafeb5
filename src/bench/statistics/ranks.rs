//! How two groups of measurements relate: the middle of all their ratios (Hodges and Lehmann,
//! *Estimates of Location Based on Rank Tests*, 1963) with the 95 % interval of the rank test that
//! belongs to it. Of independent measurements with noise of the same shape and size on both sides,
//! whatever the shape, the interval misses in no more than one of twenty cases, which a bootstrap
//! promises for many measurements only; and it finds more than medians do.

use super::interval::{Basis, FEWEST, MOST, Spread};
use super::percentile;

/// Fewest pairs of which an interval is made.
pub const FEWEST_PAIRS: usize = 6;

/// What the interval leaves out on one side.
const TAIL: f64 = 0.025;

impl Spread {
    /// How `b` relates to `a`, of independent measurements: the median of every ratio of one to
    /// the other, with the interval of the test of Mann and Whitney.
    pub fn of_ratio(a: &[f64], b: &[f64]) -> Option<Self> {
        let (a, b) = (&a[..a.len().min(MOST)], &b[..b.len().min(MOST)]);
        let ratios = a.iter().flat_map(|a| b.iter().map(move |b| b / a)).collect();
        let repeats = a.len().min(b.len());
        let left_out = (repeats >= FEWEST).then(|| left_out(rank_sums(a.len(), b.len())));
        of_all(ratios, repeats, left_out.flatten())
    }

    /// How one relates to the other, of ratios that were each measured together: the median of
    /// the geometric means of every two of them, with the interval of Wilcoxon's test of signed
    /// ranks, which takes [`FEWEST_PAIRS`].
    pub fn of_pairs(ratios: &[f64]) -> Option<Self> {
        let ratios = &ratios[..ratios.len().min(MOST)];
        let upwards = |(place, a): (usize, &f64)| {
            let a = *a;
            ratios[place..].iter().map(move |b| a.sqrt() * b.sqrt())
        };
        let means = ratios.iter().enumerate().flat_map(upwards).collect();
        of_all(means, ratios.len(), left_out(signed_rank_sums(ratios.len())))
    }
}

/// The middle of the ratios, and their ends without so many on both sides; the ends themselves
/// where there are too few for an interval.
fn of_all(mut ratios: Vec<f64>, repeats: usize, left_out: Option<usize>) -> Option<Spread> {
    if repeats < 2 || ratios.iter().any(|ratio| ratio.is_nan()) {
        return None;
    }
    ratios.sort_by(f64::total_cmp);
    let basis = if left_out.is_some() { Basis::Rank95 } else { Basis::Range };
    let place = left_out.unwrap_or(0);
    let (low, high) = (ratios[place], ratios[ratios.len() - 1 - place]);
    let median = percentile(&ratios, 0.5);
    let known = [median, low, high].iter().all(|of| of.is_finite());
    known.then_some(Spread { median, low, high, repeats, basis })
}

/// How often each sum of ranks comes, from the smallest to the middle one, and how often any.
type Sums = (Vec<f64>, f64);

/// How many of the sorted values the interval leaves out on each side: as many as the sum of
/// ranks stays at or below in no more than its tail. `None` where even the smallest is too
/// frequent.
fn left_out((counts, total): Sums) -> Option<usize> {
    let mut below = 0.0;
    let within = counts.iter().take_while(|count| {
        below += **count;
        below <= TAIL * total
    });
    within.count().checked_sub(1)
}

/// Sums of Mann and Whitney over the orders of `a` and `b` equal measurements: the coefficients
/// of a Gaussian binomial. No more than the lower half: the terms above it are small differences
/// of large numbers.
fn rank_sums(a: usize, b: usize) -> Sums {
    let (few, many) = (a.min(b), a.max(b));
    let mut counts = vec![0.0; few * many / 2 + 1];
    counts[0] = 1.0;
    let mut total = 1.0;
    for of in 1..=few {
        for sum in (many + of..counts.len()).rev() {
            counts[sum] -= counts[sum - many - of];
        }
        for sum in of..counts.len() {
            counts[sum] += counts[sum - of];
        }
        total *= (many + of) as f64 / of as f64;
    }
    (counts, total)
}

/// Sums of positive ranks over the signs of `pairs` equal pairs.
fn signed_rank_sums(pairs: usize) -> Sums {
    let mut counts = vec![0.0; pairs * (pairs + 1) / 4 + 1];
    counts[0] = 1.0;
    for rank in 1..=pairs {
        for sum in (rank..counts.len()).rev() {
            counts[sum] += counts[sum - rank];
        }
    }
    (counts, 2_f64.powi(pairs as i32))
}

#[cfg(test)]
mod tests {
    use super::super::interval::SplitMix;
    use super::*;
    use crate::bench::statistics::Difference;

    fn uniform(random: &mut SplitMix) -> f64 {
        random.next() as f64 / u64::MAX as f64
    }

    /// The sum of twelve uniform numbers is nearly normal, of variance 1 about 6.
    fn normal(random: &mut SplitMix) -> f64 {
        (0..12).map(|_| uniform(random)).sum::<f64>() - 6.0
    }

    /// A measurement of a level: noise of this relative size, and now and then a slow one.
    fn measured(random: &mut SplitMix, level: f64, noise: f64) -> f64 {
        let disturbed = if uniform(random) < 0.1 { 1.0 - 0.1 * uniform(random) } else { 1.0 };
        level * (1.0 + noise * normal(random)) * disturbed
    }

    fn differs(spread: Option<Spread>) -> bool {
        matches!(spread.unwrap().shows(), Difference::More | Difference::Less)
    }

    /// Share of pairs of runs of 10 repeats for which a difference is shown.
    fn shown(slowdown: f64, noise: f64, runs: usize) -> f64 {
        let mut random = SplitMix::new(7);
        let differ = |_: &usize| {
            let mut run = |level| -> Vec<f64> {
                (0..10).map(|_| measured(&mut random, level, noise)).collect()
            };
            let (a, b) = (run(100.0), run(100.0 * (1.0 - slowdown)));
            differs(Spread::of_ratio(&a, &b))
        };
        (0..runs).filter(differ).count() as f64 / runs as f64
    }

    /// The same for runs in turns on a machine whose speed wanders by 10 % from pair to pair.
    fn shown_in_turns(slowdown: f64, noise: f64, runs: usize) -> f64 {
        let mut random = SplitMix::new(7);
        let differ = |_: &usize| {
            let mut pair = |_| {
                let speed = 100.0 * (1.0 + 0.1 * normal(&mut random).clamp(-3.0, 3.0));
                let a = measured(&mut random, speed, noise);
                measured(&mut random, speed * (1.0 - slowdown), noise) / a
            };
            differs(Spread::of_pairs(&(0..10).map(&mut pair).collect::<Vec<_>>()))
        };
        (0..runs).filter(differ).count() as f64 / runs as f64
    }

    /// docs/method.md states the rates that are printed.
    fn rates_hold(name: &str, shown: fn(f64, f64, usize) -> f64, least: [f64; 5]) {
        let noises = [0.01, 0.02, 0.03, 0.05, 0.08];
        let alarms = noises.map(|noise| shown(0.0, noise, 10_000));
        let found = noises.map(|noise| shown(0.05, noise, 10_000));
        println!("{name}, 1, 2, 3, 5 and 8 % noise: false alarms {alarms:?}, found {found:?}");
        // 5 % and three standard errors of 10,000 draws
        assert!(alarms.iter().all(|share| *share <= 0.057), "{alarms:?}");
        for (found, least) in found.iter().zip(least) {
            assert!(*found >= least, "{found} {least}");
        }
    }

    #[test]
    fn a_slowdown_of_5_percent_between_two_runs_of_10_repeats_is_found_and_none_where_there_is_none()
     {
        rates_hold("apart", shown, [0.95, 0.9, 0.75, 0.4, 0.18]);
    }

    #[test]
    fn between_runs_in_turns_the_wandering_speed_of_the_machine_does_not_matter() {
        rates_hold("in turns", shown_in_turns, [0.95, 0.9, 0.75, 0.35, 0.15]);
    }

    #[test]
    fn the_places_are_those_of_published_tables() {
        // largest rejected sums, two-sided 5 %: Mann-Whitney U of 5 and 5, 8 and 10, 20 and 20;
        // Wilcoxon's T of 6, 10, 25
        for (a, b, expected) in [(5, 5, 2), (8, 10, 17), (20, 20, 127)] {
            assert_eq!(left_out(rank_sums(a, b)), Some(expected), "{a} {b}");
        }
        for (pairs, expected) in [(6, 0), (10, 8), (25, 89)] {
            assert_eq!(left_out(signed_rank_sums(pairs)), Some(expected), "{pairs}");
        }
        assert_eq!(left_out(rank_sums(3, 3)), None);
        assert_eq!(left_out(signed_rank_sums(FEWEST_PAIRS - 1)), None);
    }

    #[test]
    fn groups_of_any_size_are_near_the_normal_distribution() {
        for (a, b) in [(200, 200), (200, 60), (60, 200), (122, 50), (199, 113), (30, 200)] {
            let place = left_out(rank_sums(a, b)).unwrap() as f64;
            let (a, b) = (a as f64, b as f64);
            let normal = a * b / 2.0 - 1.96 * (a * b * (a + b + 1.0) / 12.0).sqrt();
            assert!((place - normal).abs() < 3.0, "{a} {b}: {place} {normal}");
        }
        let place = left_out(signed_rank_sums(MOST)).unwrap() as f64;
        let of = MOST as f64;
        let normal =
            of * (of + 1.0) / 4.0 - 1.96 * (of * (of + 1.0) * (2.0 * of + 1.0) / 24.0).sqrt();
        assert!((place - normal).abs() < 3.0, "{place} {normal}");
    }

    #[test]
    fn the_middle_of_all_ratios_is_found() {
        let a = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        let b = a.map(|of| of * 1.5);
        let spread = Spread::of_ratio(&a, &b).unwrap();
        assert_eq!((spread.median, spread.repeats, spread.basis), (1.5, 6, Basis::Rank95));
        let spread = Spread::of_pairs(&[1.5; 6]).unwrap();
        assert!((spread.low - 1.5).abs() < 1e-12 && (spread.high - 1.5).abs() < 1e-12);
    }

    #[test]
    fn few_repeats_have_a_range_and_show_nothing() {
        let spread = Spread::of_ratio(&[100.0, 101.0], &[50.0, 51.0]).unwrap();
        assert_eq!((spread.basis, spread.shows()), (Basis::Range, Difference::TooFewRepeats));
        assert_eq!((spread.low, spread.high), (50.0 / 101.0, 51.0 / 100.0));
        let spread = Spread::of_pairs(&[0.9; 5]).unwrap();
        assert_eq!(spread.shows(), Difference::TooFewRepeats);
        assert_eq!(Spread::of_ratio(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(Spread::of_ratio(&[], &[]), None);
        assert_eq!(Spread::of_pairs(&[]), None);
        assert_eq!(Spread::of_ratio(&[0.0; 6], &[1.0; 6]), None);
        // one repeat without a rate spoils no others
        let spread =
            Spread::of_ratio(&[0.0, 1., 1., 1., 1., 1., 1., 1., 1., 1.], &[1.0; 10]).unwrap();
        assert_eq!((spread.low, spread.median, spread.high), (1.0, 1.0, 1.0));
        assert_eq!(Spread::of_pairs(&[f64::NAN; 6]), None);
        assert_eq!(Spread::of_pairs(&[-1.0; 6]), None);
    }
}
