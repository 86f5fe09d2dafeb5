//! Reads a sweep, the batched mode at several batch sizes: its points, the knee of the curve,
//! the best size under a limit.
//!
//! It runs nothing: a sweep is a plan like any other, with one batched lane a size.

mod knee;

use super::recorder::{LaneRecord, Pass, Recorder, RowRecord, RowState};
use super::statistics::Summary;
use crate::config::{LaneSpec, Mode, Plan};

pub use knee::{Knee, RESAMPLES, knee};

/// The sizes that are tried where none are named.
pub const DEFAULT_SIZES: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// The most sizes of one sweep.
pub const MOST_SIZES: usize = 64;

/// What one batch size measured, over all its passes. Unknown is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Point {
    /// Rows generated at a time.
    pub batch_size: usize,
    /// Output tokens per second of each pass that came to its end.
    pub samples: Vec<f64>,
    /// Submitted until first text, 95th percentile over the rows of all passes, seconds.
    pub ttft_p95: Option<f64>,
    /// Highest memory, bytes: the engine's where it is known, else the GPUs', else the
    /// process's.
    pub memory: Option<u64>,
}

impl Point {
    /// Mean output tokens per second.
    pub fn tokens_per_s(&self) -> Option<f64> {
        let count = self.samples.len();
        (count > 0).then(|| self.samples.iter().sum::<f64>() / count as f64)
    }

    /// What a limit is about.
    pub fn measure(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Memory => self.memory.map(|bytes| bytes as f64),
            Measure::TtftP95 => self.ttft_p95,
        }
    }
}

/// What can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Memory, bytes.
    Memory,
    /// TTFT p95, seconds.
    TtftP95,
}

/// The most that a size may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Of what.
    pub measure: Measure,
    /// Bytes or seconds.
    pub most: f64,
}

/// The plan with a batched lane for each size, in this order; a size that is named twice runs
/// once. The reference lane of agreement is then the first size.
pub fn plan(base: &Plan, sizes: &[usize]) -> Plan {
    let mut plan = base.clone();
    plan.lanes = Vec::new();
    for size in sizes {
        let lane = LaneSpec::new(Mode::Batched { batch_size: *size });
        if !plan.lanes.contains(&lane) {
            plan.lanes.push(lane);
        }
    }
    plan
}

/// Whether a plan is a sweep: at least two batched lanes, all of other sizes, on one provider.
pub fn is_sweep(plan: &Plan) -> bool {
    let size = |lane: &LaneSpec| match lane.mode {
        Mode::Batched { batch_size } if lane.provider.is_none() => Some(batch_size),
        _ => None,
    };
    let Some(mut sizes) = plan.lanes.iter().map(size).collect::<Option<Vec<usize>>>() else {
        return false;
    };
    let lanes = sizes.len();
    sizes.sort_unstable();
    sizes.dedup();
    lanes >= 2 && sizes.len() == lanes
}

/// Reads sizes as they are typed: `1,2,4,8`.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse_sizes(text: &str) -> Result<Vec<usize>, String> {
    let words = text.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty());
    let mut sizes = Vec::new();
    for word in words {
        let size: usize =
            word.parse().map_err(|_| format!("\"{word}\" is not a batch size: write 1,2,4,8"))?;
        if size == 0 {
            return Err("a batch size is 0: it must be at least 1".to_owned());
        }
        if !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    match sizes.len() {
        0 | 1 => Err("a sweep needs at least two batch sizes, as in 1,2,4,8".to_owned()),
        2..=MOST_SIZES => Ok(sizes),
        more => Err(format!("{more} batch sizes are too many: at most {MOST_SIZES}")),
    }
}

/// A point for each size with a pass that came to its end, from the smallest size up.
pub fn points(record: &Recorder) -> Vec<Point> {
    let mut points: Vec<Point> = record.lanes.iter().filter_map(point).collect();
    points.sort_by_key(|point| point.batch_size);
    points
}

fn point(lane: &LaneRecord) -> Option<Point> {
    let ended = |pass: &&Pass| pass.finished.is_some() && pass.failure.is_none();
    let passes: Vec<&Pass> = lane.passes.iter().filter(ended).collect();
    let samples: Vec<f64> = passes.iter().filter_map(|pass| throughput(pass)).collect();
    if samples.is_empty() {
        return None;
    }
    let rows = passes.iter().flat_map(|pass| &pass.rows);
    let ttft = Summary::of(rows.filter_map(RowRecord::ttft).map(|time| time.as_secs_f64()));
    let highest =
        |read: fn(&Pass) -> Option<u64>| passes.iter().filter_map(|pass| read(pass)).max();
    let memory = highest(|pass| pass.peak.engine)
        .or_else(|| highest(|pass| pass.peak.gpu))
        .or_else(|| highest(|pass| pass.peak.process));
    Some(Point {
        batch_size: lane.spec.mode.batch_size()?,
        samples,
        ttft_p95: ttft.map(|ttft| ttft.p95),
        memory,
    })
}

/// Output tokens of the rows that ended well, over first submit to last end.
fn throughput(pass: &Pass) -> Option<f64> {
    let seconds = pass.span()?.as_secs_f64();
    let done = pass.rows.iter().filter(|row| row.state == RowState::Done);
    let tokens: usize = done.map(RowRecord::output_tokens).sum();
    (seconds > 0.0 && tokens > 0).then(|| tokens as f64 / seconds)
}

/// The place of the point with the highest throughput among those within a limit; a point whose
/// measure is not known is not within it. Of equals the smaller size.
pub fn best_under(points: &[Point], limit: Option<Limit>) -> Option<usize> {
    let within = |point: &Point| match limit {
        None => true,
        Some(limit) => point.measure(limit.measure).is_some_and(|value| value <= limit.most),
    };
    let rated = points.iter().enumerate().filter(|(_, point)| within(point));
    let rated = rated.filter_map(|(place, point)| Some((place, point.tokens_per_s()?)));
    rated.rev().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(place, _)| place)
}

/// The place of the size to take: under a limit the best one, else the knee, else the best one.
pub fn recommended(points: &[Point], limit: Option<Limit>) -> Option<usize> {
    match (limit, knee(points)) {
        (None, Knee::At { place, .. }) => Some(place),
        (limit, _) => best_under(points, limit),
    }
}

/// What the curve says, in a sentence: the same one on the screen and without it.
pub fn words(points: &[Point]) -> String {
    let size = |place: usize| points.get(place).map_or(0, |point| point.batch_size);
    match knee(points) {
        Knee::TooFew => "no knee: it takes at least three batch sizes".to_owned(),
        Knee::Flat => "no knee: batching brings less than 10 % here".to_owned(),
        Knee::Rising => {
            "no knee: throughput still rises at the largest size, try larger ones".to_owned()
        }
        Knee::At { place, confidence: Some(share) } => format!(
            "knee at batch size {}: so in {:.0} % of {RESAMPLES} resamples of the passes",
            size(place),
            share * 100.0
        ),
        Knee::At { place, confidence: None } => format!(
            "knee at batch size {}, of one pass a size (repeats show how sure it is)",
            size(place)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(batch_size: usize, tokens_per_s: f64, ttft: f64, memory: u64) -> Point {
        Point {
            batch_size,
            samples: vec![tokens_per_s],
            ttft_p95: Some(ttft),
            memory: Some(memory),
        }
    }

    fn sweep() -> Vec<Point> {
        vec![
            point(1, 60.0, 9.0, 100),
            point(2, 110.0, 5.0, 110),
            point(4, 190.0, 3.0, 130),
            point(8, 270.0, 2.0, 170),
            point(16, 300.0, 1.5, 250),
            point(32, 310.0, 1.2, 410),
        ]
    }

    #[test]
    fn sizes_are_read_and_what_is_none_is_refused() {
        assert_eq!(parse_sizes(" 1, 2,4,,2 "), Ok(vec![1, 2, 4]));
        for (text, why) in [
            ("", "at least two"),
            ("8", "at least two"),
            ("1,x", "\"x\" is not a batch size"),
            ("1,0", "is 0"),
            ("1,99999999999999999999", "is not a batch size"),
        ] {
            let error = parse_sizes(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let many: Vec<String> = (1..=65).map(|size| size.to_string()).collect();
        assert!(parse_sizes(&many.join(",")).unwrap_err().contains("too many"));
    }

    #[test]
    fn the_best_size_is_the_fastest_within_the_limit() {
        let points = sweep();
        let memory = |most| Some(Limit { measure: Measure::Memory, most });
        let ttft = |most| Some(Limit { measure: Measure::TtftP95, most });
        assert_eq!(best_under(&points, None), Some(5));
        assert_eq!(best_under(&points, memory(200.0)), Some(3));
        assert_eq!(best_under(&points, memory(99.0)), None);
        assert_eq!(best_under(&points, ttft(1.5)), Some(5));
        assert_eq!(best_under(&points, ttft(1.0)), None);
        let unknown = [Point { memory: None, ..point(1, 9.0, 1.0, 0) }];
        assert_eq!(best_under(&unknown, memory(1e12)), None);
        let equal = [point(4, 9.0, 1.0, 0), point(8, 9.0, 1.0, 0)];
        assert_eq!(best_under(&equal, None), Some(0));
    }

    #[test]
    fn the_knee_is_taken_without_a_limit_and_the_best_under_one() {
        let points = sweep();
        assert_eq!(recommended(&points, None), Some(3));
        let limit = Some(Limit { measure: Measure::Memory, most: 260.0 });
        assert_eq!(recommended(&points, limit), Some(4));
        assert_eq!(recommended(&[], None), None);
    }
}
