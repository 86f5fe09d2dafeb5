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
