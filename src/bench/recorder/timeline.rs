//! A quantity over time, in a bounded number of equal buckets.

use std::time::Duration;

/// Most buckets kept; beyond it neighbours are merged and buckets become twice as wide.
const MOST_BUCKETS: usize = 1024;

/// Sums per bucket of time. When the buckets run out, each becomes twice as wide.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    width: Duration,
    sums: Vec<f64>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { width: Duration::from_millis(50), sums: Vec::new() }
    }
}

impl Timeline {
    /// Adds to the bucket of this moment.
    pub fn add(&mut self, at: Duration, amount: f64) {
        let mut bucket = self.bucket(at);
        while bucket >= MOST_BUCKETS {
            self.halve();
            bucket = self.bucket(at);
        }
        if bucket >= self.sums.len() {
            self.sums.resize(bucket + 1, 0.0);
        }
        self.sums[bucket] += amount;
    }

    /// Sum per second over windows of at least `window`, as (seconds, rate) points at the
    /// middle of each window.
    pub fn rates(&self, window: Duration) -> Vec<(f64, f64)> {
        let width = self.width.as_secs_f64();
        let group = ((window.as_secs_f64() / width).ceil() as usize).max(1);
        let points = self.sums.chunks(group).enumerate().map(|(place, sums)| {
            let start = (place * group) as f64 * width;
            let span = sums.len() as f64 * width;
            (start + span / 2.0, sums.iter().sum::<f64>() / span)
        });
        points.collect()
    }

    /// The mean rate between two moments; absent where nothing lies between them.
    pub fn rate_between(&self, from: Duration, until: Duration) -> Option<f64> {
        let (first, last) = (self.bucket(from), self.bucket(until).min(self.sums.len()));
        let sums = self.sums.get(first..last).filter(|sums| !sums.is_empty())?;
        Some(sums.iter().sum::<f64>() / (sums.len() as f64 * self.width.as_secs_f64()))
    }

    /// The width of a bucket, and the sum of each.
    pub fn buckets(&self) -> (Duration, &[f64]) {
        (self.width, &self.sums)
    }

    /// Buckets that were kept elsewhere; nothing where they cannot be.
    pub(in crate::bench) fn of_buckets(width: Duration, mut sums: Vec<f64>) -> Self {
        let whole = !width.is_zero() && sums.iter().all(|sum| (0.0..1e12).contains(sum));
        if !whole {
            return Self::default();
        }
        sums.truncate(MOST_BUCKETS);
        Self { width, sums }
    }

    fn bucket(&self, at: Duration) -> usize {
        (at.as_nanos() / self.width.as_nanos()) as usize
    }

    fn halve(&mut self) {
        self.width *= 2;
        self.sums = self.sums.chunks(2).map(|pair| pair.iter().sum()).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_its_sum_in_a_bounded_number_of_buckets() {
        let mut timeline = Timeline::default();
        for second in 0..10_000 {
            timeline.add(Duration::from_secs(second), 2.0);
        }
        assert!(timeline.sums.len() <= MOST_BUCKETS);
        assert_eq!(timeline.sums.iter().sum::<f64>(), 20_000.0);
    }

    #[test]
    fn the_rate_between_two_moments_is_that_of_the_buckets_between() {
        let mut timeline = Timeline::default();
        for step in 0..20 {
            timeline.add(Duration::from_millis(50 * step), if step < 10 { 5.0 } else { 10.0 });
        }
        let rate = |from, until| {
            timeline.rate_between(Duration::from_millis(from), Duration::from_millis(until))
        };
        assert_eq!(rate(0, 500), Some(100.0));
        assert_eq!(rate(500, 5000), Some(200.0));
        assert_eq!((rate(500, 500), rate(5000, 6000)), (None, None));
    }

    #[test]
    fn buckets_that_make_no_sense_are_none() {
        let second = Duration::from_secs(1);
        for (width, sums) in
            [(Duration::ZERO, vec![1.0]), (second, vec![f64::NAN]), (second, vec![-1.0])]
        {
            assert_eq!(Timeline::of_buckets(width, sums), Timeline::default());
        }
    }

    #[test]
    fn rates_are_sums_per_second() {
        let mut timeline = Timeline::default();
        for step in 0..20 {
            timeline.add(Duration::from_millis(50 * step), 5.0);
        }
        let rates = timeline.rates(Duration::from_millis(500));
        assert_eq!(rates.len(), 2);
        assert!(rates.iter().all(|(_, rate)| (rate - 100.0).abs() < 1e-9), "{rates:?}");
    }
}
