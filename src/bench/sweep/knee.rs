//! The knee of throughput against batch size: from there on a larger batch costs more than it
//! brings.
//!
//! The method is that of Kneedle (Satopää, Albrecht, Irwin, Raghavan: "Finding a 'Kneedle' in a
//! Haystack", 2011) on measured points: both axes are scaled to 0..1, and the knee is the point
//! farthest above the straight line from the first to the last one. Before, throughput is made
//! non-decreasing by its running maximum, so that a size which is slower than a smaller one
//! counts as no gain. The axis of the batch size is linear: a row more costs as much memory and
//! latency at any size.

use super::Point;

/// Less gain than this over the first size is none.
const LEAST_GAIN: f64 = 0.10;

/// A curve that stays this close to the straight line has no knee.
const LEAST_BEND: f64 = 0.10;

/// Resamples that the confidence is counted over.
pub const RESAMPLES: usize = 1000;

/// What the curve shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Knee {
    /// Fewer than three sizes.
    TooFew,
    /// No size brings more than a tenth over the first.
    Flat,
    /// Throughput rises up to the largest size.
    Rising,
    /// It bends.
    At {
        /// Index of the point.
        place: usize,
        /// In how many of the resamples the same point is the knee, 0 to 1; absent where no
        /// size ran more than once, since then the noise is not known.
        confidence: Option<f64>,
    },
}

/// The knee of points that are in order of their size.
///
/// Its confidence is a parametric bootstrap: each resample moves every point by a normal error
/// of the relative standard deviation of the passes, pooled over all sizes and divided by the
/// root of the point's passes. The same points always give the same answer.
pub fn knee(points: &[Point]) -> Knee {
    let curve: Vec<(f64, f64)> = points
        .iter()
        .filter_map(|point| Some((point.batch_size as f64, point.tokens_per_s()?)))
        .collect();
    if curve.len() < points.len() {
        return Knee::TooFew;
    }
    match farthest(&curve) {
        Bend::At(place) => Knee::At { place, confidence: confidence(points, &curve, place) },
        Bend::TooFew => Knee::TooFew,
        Bend::Flat => Knee::Flat,
        Bend::Rising => Knee::Rising,
    }
}

#[derive(Debug, PartialEq)]
enum Bend {
    TooFew,
    Flat,
    Rising,
    At(usize),
}

fn farthest(curve: &[(f64, f64)]) -> Bend {
    let (Some(first), Some(last), 3..) = (curve.first(), curve.last(), curve.len()) else {
        return Bend::TooFew;
    };
    let mut highest = f64::MIN;
    let rising: Vec<f64> = curve
        .iter()
        .map(|(_, y)| {
            highest = highest.max(*y);
            highest
        })
        .collect();
    let gain = highest - first.1;
    let width = last.0 - first.0;
    let is_flat = gain <= LEAST_GAIN * first.1 || !gain.is_finite() || width <= 0.0;
    if is_flat {
        return Bend::Flat;
    }
    let above =
        |place: usize| (rising[place] - first.1) / gain - (curve[place].0 - first.0) / width;
    let best = (0..curve.len()).rev().max_by(|a, b| above(*a).total_cmp(&above(*b)));
    match best {
        Some(place) if above(place) >= LEAST_BEND => Bend::At(place),
        Some(_) | None => Bend::Rising,
    }
}

fn confidence(points: &[Point], curve: &[(f64, f64)], place: usize) -> Option<f64> {
    let noise = relative_deviation(points)?;
    let mut random = Normal::default();
    let mut agreeing = 0;
    for _ in 0..RESAMPLES {
        let moved: Vec<(f64, f64)> = curve
            .iter()
            .zip(points)
            .map(|((x, y), point)| {
                let error = noise / (point.samples.len() as f64).sqrt();
                (*x, y * (1.0 + error * random.next()))
            })
            .collect();
        agreeing += usize::from(farthest(&moved) == Bend::At(place));
    }
    Some(agreeing as f64 / RESAMPLES as f64)
}

/// Of the passes from the mean of their size, pooled; absent where no size has two passes.
fn relative_deviation(points: &[Point]) -> Option<f64> {
    let mut squares = 0.0;
    let mut freedom = 0;
    for point in points {
        let mean = point.tokens_per_s()?;
        squares += point.samples.iter().map(|sample| (sample / mean - 1.0).powi(2)).sum::<f64>();
        freedom += point.samples.len() - 1;
    }
    (freedom > 0).then(|| (squares / freedom as f64).sqrt())
}

/// Standard normal numbers, always the same ones: SplitMix64 and the Box-Muller transform.
#[derive(Default)]
struct Normal {
    state: u64,
}

impl Normal {
    fn next(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// In [0, 1).
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn points(values: &[(usize, &[f64])]) -> Vec<Point> {
        let point = |(batch_size, samples): &(usize, &[f64])| Point {
            batch_size: *batch_size,
            samples: samples.to_vec(),
            ..Point::default()
        };
        values.iter().map(point).collect()
    }

    fn singles(values: &[(usize, f64)]) -> Vec<Point> {
        let point = |(batch_size, sample): &(usize, f64)| Point {
            batch_size: *batch_size,
            samples: vec![*sample],
            ..Point::default()
        };
        values.iter().map(point).collect()
    }

    /// Amdahl's law: a step costs a fixed part and a part per row.
    fn saturating(sizes: &[usize], fixed: f64) -> Vec<Point> {
        let rate = |size: usize| size as f64 / (fixed + size as f64);
        let values: Vec<_> = sizes.iter().map(|size| (*size, rate(*size))).collect();
        singles(&values)
    }

    #[test]
    fn the_knee_of_a_saturating_curve_is_where_calculus_puts_it() {
        // the curve x/(f+x) over [1, 64] is farthest above its chord where its slope is the
        // chord's: (f+x)² = (f+1)(f+64), for f = 4 at x = 14.4
        let every: Vec<usize> = (1..=64).collect();
        assert_eq!(knee(&saturating(&every, 4.0)), Knee::At { place: 13, confidence: None });
        let doubled = [1, 2, 4, 8, 16, 32, 64];
        assert_eq!(knee(&saturating(&doubled, 4.0)), Knee::At { place: 4, confidence: None });
    }

    #[test]
    fn a_plateau_has_its_knee_where_it_begins() {
        let plateau =
            singles(&[(1, 60.0), (2, 115.0), (4, 210.0), (8, 300.0), (16, 295.0), (32, 290.0)]);
        assert_eq!(knee(&plateau), Knee::At { place: 3, confidence: None });
    }

    #[test]
    fn a_curve_without_a_bend_has_no_knee() {
        assert_eq!(knee(&singles(&[(1, 10.0), (2, 20.0), (4, 40.0), (8, 80.0)])), Knee::Rising);
        assert_eq!(knee(&singles(&[(1, 50.0), (2, 51.0), (4, 52.0)])), Knee::Flat);
        assert_eq!(knee(&singles(&[(1, 50.0), (2, 30.0), (4, 20.0)])), Knee::Flat);
        assert_eq!(knee(&singles(&[(1, 50.0), (2, 90.0)])), Knee::TooFew);
        assert_eq!(knee(&[]), Knee::TooFew);
    }

    #[test]
    fn quiet_passes_are_sure_and_noisy_ones_are_not() {
        let confidence = |points: &[Point]| match knee(points) {
            Knee::At { confidence: Some(share), .. } => share,
            other => panic!("{other:?}"),
        };
        let quiet = points(&[
            (1, &[60.0, 60.3]),
            (4, &[200.0, 201.0]),
            (8, &[300.0, 299.0]),
            (16, &[310.0, 311.0]),
            (32, &[315.0, 314.0]),
        ]);
        assert!(confidence(&quiet) > 0.99, "{}", confidence(&quiet));
        let noisy = points(&[
            (1, &[60.0, 80.0]),
            (4, &[200.0, 270.0]),
            (8, &[240.0, 320.0]),
            (16, &[250.0, 370.0]),
            (32, &[270.0, 360.0]),
        ]);
        assert!((0.2..0.9).contains(&confidence(&noisy)), "{}", confidence(&noisy));
        assert_eq!(knee(&noisy), knee(&noisy));
    }

    #[test]
    fn the_random_numbers_are_normal() {
        let mut random = Normal::default();
        let numbers: Vec<f64> = (0..20_000).map(|_| random.next()).collect();
        let mean = numbers.iter().sum::<f64>() / 20_000.0;
        let variance = numbers.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    proptest! {
        #[test]
        fn any_points_have_an_answer_within_them(
            values in proptest::collection::vec((1usize..5000, 0.0f64..1e9), 0..12),
        ) {
            let mut values = values;
            values.sort_by_key(|value| value.0);
            if let Knee::At { place, .. } = knee(&singles(&values)) {
                prop_assert!(place < values.len());
            }
        }

        #[test]
        fn units_do_not_move_the_knee(scale in 0.001f64..1000.0, fixed in 1.0f64..20.0) {
            let sizes = [1, 2, 4, 8, 16, 32, 64];
            let plain = saturating(&sizes, fixed);
            let mut scaled = plain.clone();
            for point in &mut scaled {
                point.samples[0] *= scale;
            }
            prop_assert_eq!(knee(&plain), knee(&scaled));
        }
    }
}
