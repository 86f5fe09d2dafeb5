//! Where top-p cuts the vocabulary, found without sorting it.
//!
//! A sample of the logits says about where the cut is. Where the tokens from there on are few, they
//! are gathered and halved until the last one that is kept is left. Else passes over the vocabulary
//! narrow the cut between two logits first. Weights are multiples of one grain, so their sums are
//! exact in any order: the cut is, bit for bit, the one that adding up the sorted vocabulary gives.

use super::weights::{Above, Weigh, gather};
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

/// How far below the guess tokens are gathered: enough nearly always, and the second try.
const MARGINS: [f32; 2] = [0.5, 2.0];
/// Tokens that are gathered rather than narrowed further.
const FEW: usize = 3072;
/// Passes that narrow; where many logits are equal, more of them would not help.
const MOST_PASSES: usize = 8;
/// Logits this far below the highest weigh nothing in whole grains.
const WEIGHTLESS: f32 = 30.0;

impl Nucleus {
    /// The smallest set of most probable tokens that has `p` of the probability, by its last.
    pub fn cut(&mut self, logits: &[f32], highest: f32, p: f64) -> Cut {
        let total = Weigh::new(highest, 1.0).grains(logits, &mut self.weights);
        let target = p * total;
        let guess = self.guess(logits, highest, total - target);
        for margin in MARGINS.into_iter().filter(|_| guess.few) {
            match self.among_the_best(logits, guess.logit - margin, target) {
                Gathered::Cut(cut) => return cut,
                Gathered::TooLight => {}
                Gathered::TooMany => break,
            }
        }
        let between = self.narrowed(logits, highest, [total, target], guess.logit);
        gather(logits, between.low.logit..between.high.logit, usize::MAX, &mut self.candidates);
        self.halve(between.high.above.mass, target).unwrap_or(Cut::at(between.low.logit))
    }

    /// The cut, if the tokens from `low` on are few and reach the target.
    fn among_the_best(&mut self, logits: &[f32], low: f32, target: f64) -> Gathered {
        if !gather(logits, low..f32::INFINITY, FEW, &mut self.candidates) {
            return Gathered::TooMany;
        }
        if mass(&self.weights, &self.candidates) < target {
            return Gathered::TooLight;
        }
        self.halve(0.0, target).map_or(Gathered::TooLight, Gathered::Cut)
    }

    /// Two logits between which the cut is, nearer to each other with every pass.
    fn narrowed(
        &self,
        logits: &[f32],
        highest: f32,
        [total, target]: [f64; 2],
        guess: f32,
    ) -> Bracket {
        let weightless = highest - WEIGHTLESS;
        let mut between = Bracket {
            high: Bound { logit: highest.next_up(), above: Above::default() },
            low: Bound { logit: weightless, above: Above { mass: total, count: logits.len() } },
        };
        let (mut middle, mut width) = (guess, 0.125);
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
        between
    }

    /// About where the less probable tokens have this much weight together, by a sample.
    fn guess(&self, logits: &[f32], highest: f32, weight: f64) -> Guess {
        const VECTOR: usize = 16;
        const VECTORS: usize = 192;
        const EACH: f32 = 8.0;
        const PLACES: usize = 256;
        /// Added to a small number, it leaves the nearest integer in the low bits.
        const INTEGER: f32 = 8_388_608.0;
        let (mut masses, mut counts) = ([0.0f32; PLACES], [0u32; PLACES]);
        let stride = VECTOR * (logits.len() / (VECTOR * VECTORS)).max(1);
        let mut sampled = 0usize;
        for (logits, weights) in logits.chunks(stride).zip(self.weights.chunks(stride)) {
            let count = logits.len().min(VECTOR);
            let mut places = [0u32; VECTOR];
            for (place, logit) in places.iter_mut().zip(logits) {
                let below = ((highest - logit) * EACH).min(PLACES as f32 - 1.0);
                *place = (below + INTEGER).to_bits();
            }
            for (place, weight) in places[..count].iter().zip(weights) {
                let place = *place as usize % PLACES;
                masses[place] += weight;
                counts[place] += 1;
            }
            sampled += count;
        }
        let mut rest = weight * sampled as f64 / logits.len() as f64;
        let place = masses.iter().rposition(|mass| {
            rest -= f64::from(*mass);
            rest < 0.0
        });
        let place = place.unwrap_or(0);
        let margin = place + (MARGINS[0] * EACH) as usize + 1;
        let count: u32 = counts.iter().take(margin).sum();
        let count = count as usize * logits.len() / sampled;
        Guess { logit: highest - place as f32 / EACH, few: count <= FEW }
    }

    /// Halves what was gathered until the token that reaches the target is left; tokens before
    /// them have reached some of it.
    fn halve(&mut self, mut reached: f64, target: f64) -> Option<Cut> {
        let mut left = &mut self.candidates[..];
        while left.len() > 1 {
            let half = left.len() / 2;
            left.select_nth_unstable_by(half, by_probability);
            let (more, less) = left.split_at_mut(half);
            let with_more = reached + mass(&self.weights, more);
            left = if with_more >= target {
                more
            } else {
                reached = with_more;
                less
            };
        }
        left.first().map(|last| Cut { logit: last.logit, last: last.id })
    }
}

/// About where the cut is.
#[derive(Debug, Clone, Copy)]
struct Guess {
    pub logit: f32,
    /// The tokens down to a margin below it are few enough to be gathered.
    few: bool,
}

/// What became of gathering the best tokens.
enum Gathered {
    Cut(Cut),
    /// They do not reach the target.
    TooLight,
    TooMany,
}

/// The weight of some tokens together.
fn mass(weights: &[f32], tokens: &[Candidate]) -> f64 {
    tokens.iter().map(|token| f64::from(weights[token.id as usize])).sum()
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
