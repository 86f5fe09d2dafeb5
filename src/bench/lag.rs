//! How late this program's own loop runs: the part of a latency that is ours and not the
//! server's.
//!
//! A task asks to be woken in a while and notes how much later it was. Where events are stamped
//! by tasks of the same loop, they are stamped that late at times.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

/// How late the loop was, in classes of about a fifth of their size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lags {
    /// Counts by class; class `c` ends at 2^(c / 4) microseconds.
    classes: BTreeMap<u8, u64>,
    /// The largest one.
    max: Duration,
}

/// Measures lag while it lives.
#[derive(Debug)]
pub(super) struct LagMeter {
    lags: Arc<Mutex<Lags>>,
    task: JoinHandle<()>,
}

/// How often the loop is asked.
const EVERY: Duration = Duration::from_millis(10);
/// A timer may be that late by design.
const GRAIN: Duration = Duration::from_millis(1);

impl Lags {
    /// Notes one.
    pub fn add(&mut self, lag: Duration) {
        let micros = lag.as_secs_f64() * 1e6;
        let class = (micros.max(1.0).log2() * 4.0).ceil().min(255.0);
        *self.classes.entry(class as u8).or_default() += 1;
        self.max = self.max.max(lag);
    }

    /// Takes all of another one's.
    pub fn merge(&mut self, other: &Self) {
        for (class, count) in &other.classes {
            *self.classes.entry(*class).or_default() += count;
        }
        self.max = self.max.max(other.max);
    }

    /// The lag that this share (0 to 1) did not exceed, to a fifth of it; absent without any.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total: u64 = self.classes.values().sum();
        let rank = (total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let class = self.classes.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        let (class, _) = class?;
        let end = Duration::from_secs_f64((f64::from(*class) / 4.0).exp2() / 1e6);
        Some(end.min(self.max))
    }

    /// The largest one; absent without any.
    pub fn max(&self) -> Option<Duration> {
        (!self.classes.is_empty()).then_some(self.max)
    }
}

impl LagMeter {
    /// Begins to measure the current loop.
    pub fn start() -> Self {
        let lags: Arc<Mutex<Lags>> = Arc::default();
        let noted = lags.clone();
        let task = tokio::spawn(async move {
            loop {
                let asked = Instant::now();
                tokio::time::sleep(EVERY).await;
                let lag = asked.elapsed().saturating_sub(EVERY + GRAIN);
                noted.lock().unwrap_or_else(PoisonError::into_inner).add(lag);
            }
        });
        Self { lags, task }
    }

    /// What was measured since the last time.
    pub fn take(&self) -> Lags {
        std::mem::take(&mut *self.lags.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for LagMeter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(milliseconds: &[u64]) -> Lags {
        let mut lags = Lags::default();
        milliseconds.iter().for_each(|lag| lags.add(Duration::from_millis(*lag)));
        lags
    }

    #[test]
    fn a_quantile_is_found_to_a_fifth_of_it() {
        let all: Vec<u64> = (1..=100).collect();
        let lags = of(&all);
        for (share, exact) in [(0.5, 50.0), (0.9, 90.0), (0.99, 99.0)] {
            let found = lags.quantile(share).unwrap().as_secs_f64() * 1e3;
            assert!((exact..=exact * 1.2).contains(&found), "{share}: {found}");
        }
        assert_eq!(lags.max(), Some(Duration::from_millis(100)));
        assert_eq!(lags.quantile(1.0), lags.max());
    }

    #[test]
    fn without_any_there_is_none() {
        assert_eq!((Lags::default().quantile(0.5), Lags::default().max()), (None, None));
    }

    #[test]
    fn lags_of_two_times_are_those_of_both() {
        let mut first = of(&[1, 2]);
        first.merge(&of(&[0, 30]));
        assert_eq!(first, of(&[0, 1, 2, 30]));
    }

    #[tokio::test]
    async fn a_loop_that_is_blocked_is_late() {
        let meter = LagMeter::start();
        tokio::time::sleep(Duration::from_millis(20)).await;
        std::thread::sleep(Duration::from_millis(80));
        tokio::time::sleep(Duration::from_millis(20)).await;
        let lag = meter.take().max().unwrap();
        assert!(lag >= Duration::from_millis(50), "{lag:?}");
    }
}
