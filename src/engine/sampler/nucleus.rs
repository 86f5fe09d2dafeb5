//! Where top-p cuts the vocabulary, found without sorting it.
//!
//! A sample of the logits says about where the cut is. Passes over the vocabulary then narrow it
//! between two logits until few tokens are left, and these are gathered and halved. Weights are
//! multiples of one grain, so their sums are exact in any order: the cut is, bit for bit, the one
//! that adding up the sorted vocabulary gives.

use super::weights::{Above, Weigh, any_within};
use super::{Candidate, by_probability};

/// The least probable token that is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cut {
    pub logit: f32,
    /// Of the tokens with this logit the ones up to this id are kept.
    pub last: u32,
}

impl Cut {
    /// Keeps every token from this logit on.
    pub fn at(logit: f32) -> Self {
        Self { logit, last: u32::MAX }
    }

    /// The cut, or this one where it leaves less.
    pub fn and(self, other: Self) -> Self {
        if other.logit > self.logit { other } else { self }
    }
}

/// Finds cuts; its memory is used again from token to token.
#[derive(Debug, Clone, Default)]
pub(super) struct Nucleus {
    weights: Vec<f32>,
    candidates: Vec<Candidate>,
}

/// Tokens that are gathered rather than narrowed further.
const FEW: usize = 2048;
/// Passes that narrow; where many logits are equal, more of them would not help.
const MOST_PASSES: usize = 8;
/// Logits this far below the highest weigh nothing in whole grains.
const WEIGHTLESS: f32 = 30.0;

impl Nucleus {
    /// The smallest set of most probable tokens that has `p` of the probability, by its last.
    pub fn cut(&mut self, logits: &[f32], highest: f32, p: f64) -> Cut {
        let total = Weigh::new(highest, 1.0).grains(logits, &mut self.weights);
        let target = p * total;
        let weightless = highest - WEIGHTLESS;
        let mut between = Bracket {
            high: Bound { logit: highest.next_up(), above: Above::default() },
            low: Bound { logit: weightless, above: Above { mass: total, count: logits.len() } },
        };
        let (mut middle, mut width) = (self.guess(logits, highest, total - target), 0.1);
        for _ in 0..MOST_PASSES {
            if between.count() <= FEW {
                break;
            }
            let probes = [middle + width, middle - width];
            let above = Above::of(logits, &self.weights, probes);
            for (logit, above) in probes.into_iter().zip(above) {
                between.narrow(Bound { logit, above }, target);
            }
            (middle, width) = if between.low.logit > weightless {
                between.between(target)
            } else {
                (probes[1] - 3.0 * width, 3.0 * width)
            };
        }
        self.resolve(logits, between, target)
    }

    /// About where the less probable tokens have this much weight together, by a sample.
    fn guess(&self, logits: &[f32], highest: f32, weight: f64) -> f32 {
        const VECTOR: usize = 16;
        const VECTORS: usize = 192;
        const EACH: f32 = 8.0;
        let mut weights = [0.0f64; (WEIGHTLESS * EACH) as usize];
        let stride = VECTOR * (logits.len() / (VECTOR * VECTORS)).max(1);
        let mut sampled = 0usize;
        for (logits, own) in logits.chunks(stride).zip(self.weights.chunks(stride)) {
            for (logit, weight) in logits.iter().zip(own).take(VECTOR) {
                let place = ((highest - logit) * EACH) as usize;
                let place = place.min(weights.len() - 1);
                weights[place] += f64::from(*weight);
                sampled += 1;
            }
        }
        let mut rest = weight * sampled as f64 / logits.len() as f64;
        let place = weights.iter().rposition(|weight| {
            rest -= weight;
            rest < 0.0
        });
        highest - place.unwrap_or(0) as f32 / EACH
    }

    /// Gathers what lies between the bounds and halves it until the token that reaches the target
    /// is left.
    fn resolve(&mut self, logits: &[f32], between: Bracket, target: f64) -> Cut {
        const SKIPPED: usize = 16;
        let (low, high) = (between.low.logit, between.high.logit);
        self.candidates.clear();
        for (chunk, first) in logits.chunks(SKIPPED).zip((0u32..).step_by(SKIPPED)) {
            if any_within(chunk, low, high) {
                let tokens = chunk.iter().zip(first..);
                let within = tokens.filter(|(logit, _)| **logit >= low && **logit < high);
                self.candidates.extend(within.map(|(logit, id)| Candidate { logit: *logit, id }));
            }
        }
        let mut reached = between.high.above.mass;
        let mass = |tokens: &[Candidate]| -> f64 {
            tokens.iter().map(|token| f64::from(self.weights[token.id as usize])).sum()
        };
        let mut left = &mut self.candidates[..];
        while left.len() > 1 {
            let half = left.len() / 2;
            left.select_nth_unstable_by(half, by_probability);
            let (more, less) = left.split_at_mut(half);
            let with_more = reached + mass(more);
            left = if with_more >= target {
                more
            } else {
                reached = with_more;
                less
            };
        }
        left.first().map_or(Cut::at(low), |last| Cut { logit: last.logit, last: last.id })
    }
}

/// A logit, and what all tokens from it on have together.
#[derive(Debug, Clone, Copy)]
struct Bound {
    logit: f32,
    above: Above,
}

/// The cut lies below `high` and not below `low`.
#[derive(Debug, Clone, Copy)]
struct Bracket {
    high: Bound,
    low: Bound,
}

impl Bracket {
    /// Tokens between the bounds.
    fn count(&self) -> usize {
        self.low.above.count - self.high.above.count
    }

    /// Replaces the bound on this one's side of the target, if this one is nearer.
    fn narrow(&mut self, bound: Bound, target: f64) {
        if bound.logit >= self.high.logit || bound.logit <= self.low.logit {
            return;
        }
        if bound.above.mass < target {
            self.high = bound;
        } else {
            self.low = bound;
        }
    }

    /// Where the target is if the weight is spread evenly, and how far to look on both sides.
    fn between(&self, target: f64) -> (f32, f32) {
        let (high, low) = (&self.high, &self.low);
        let part = (target - high.above.mass) / (low.above.mass - high.above.mass);
        let gap = high.logit - low.logit;
        (high.logit - gap * part as f32, gap / 8.0)
    }
}
