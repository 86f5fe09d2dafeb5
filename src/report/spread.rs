//! What the repeats of a lane show together.

use serde::{Deserialize, Serialize};

use super::{Figures, Lane};
use crate::bench::statistics::{Difference, Spread};
use crate::config::Mode;

/// Medians over the repeats of a lane with their intervals; a figure that not every repeat has
/// is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are figures of `Figures`, and documented there")]
pub struct Spreads {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s: Option<Spread>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_per_s: Option<Spread>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_p50_s: Option<Spread>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_p95_s: Option<Spread>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub itl_p50_s: Option<Spread>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e2e_p50_s: Option<Spread>,
    /// Of throughput over that of the sequential lane in the same repeat, so that what slows a
    /// machine for a while slows both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speedup: Option<Spread>,
    /// What `speedup` shows; absent for the sequential lane itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against_sequential: Option<Difference>,
}

/// A figure of a pass.
pub(super) type Read = fn(&Figures) -> Option<f64>;

/// The figures that repeats are summarised by.
pub(super) const READ: [Read; 6] = [
    |of| of.output_tokens_per_s,
    |of| of.rows_per_s,
    |of| Some(of.ttft_s?.p50),
    |of| Some(of.ttft_s?.p95),
    |of| Some(of.itl_s?.p50),
    |of| Some(of.e2e_s?.p50),
];

/// A figure in every repeat that came to its end, in their order; of a lane that ran once, its
/// one figure.
pub(super) fn values(lane: &Lane, read: Read) -> Vec<f64> {
    if lane.repeats.is_empty() {
        return read(&lane.figures).into_iter().collect();
    }
    let ended = lane.repeats.iter().filter(|repeat| repeat.failure.is_none());
    ended.filter_map(|repeat| read(&repeat.figures)).collect()
}

/// Gives every lane with repeats its spreads.
pub(super) fn set(lanes: &mut [Lane]) {
    let all: Vec<Option<Spreads>> = (0..lanes.len()).map(|place| of(lanes, place)).collect();
    lanes.iter_mut().zip(all).for_each(|(lane, spreads)| lane.spread = spreads);
}

fn of(lanes: &[Lane], place: usize) -> Option<Spreads> {
    let lane = &lanes[place];
    let ended = lane.repeats.iter().filter(|repeat| repeat.failure.is_none()).count();
    if ended < 2 {
        return None;
    }
    let spread = |read: Read| {
        let values = values(lane, read);
        Spread::of(&values).filter(|_| values.len() == ended)
    };
    let [output_tokens_per_s, rows_per_s, ttft_p50_s, ttft_p95_s, itl_p50_s, e2e_p50_s] =
        READ.map(spread);
    let (speedup, against_sequential) = match base(lanes, lane) {
        Some(base) if base != place => {
            let speedup = Spread::of(&paired(&lanes[base], lane));
            (speedup, speedup.map(|of| of.shows()))
        }
        Some(_) | None => (None, None),
    };
    Some(Spreads {
        output_tokens_per_s,
        rows_per_s,
        ttft_p50_s,
        ttft_p95_s,
        itl_p50_s,
        e2e_p50_s,
        speedup,
        against_sequential,
    })
}

/// The lane that a lane's speedup is against: the first sequential one with the same provider
/// and model.
pub(super) fn base(lanes: &[Lane], of: &Lane) -> Option<usize> {
    lanes.iter().position(|lane| {
        lane.mode == Mode::Sequential.word()
            && lane.provider == of.provider
            && lane.model == of.model
    })
}

/// Throughput over the base's, repeat by repeat.
fn paired(base: &Lane, lane: &Lane) -> Vec<f64> {
    let rate = |lane: &Lane, repeat: usize| {
        let found = lane.repeats.iter().find(|of| of.repeat == repeat && of.failure.is_none())?;
        found.figures.output_tokens_per_s
    };
    let repeats = lane.repeats.iter().map(|repeat| repeat.repeat);
    repeats.filter_map(|repeat| Some(rate(lane, repeat)? / rate(base, repeat)?)).collect()
}
