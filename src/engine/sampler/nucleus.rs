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
    gathered: Vec<Candidate>,
    weights: Vec<f32>,
    weighed: Vec<Weighed>,
}

/// A token and its weight in whole grains.
#[derive(Debug, Clone, Copy)]
struct Weighed {
    token: Candidate,
    weight: f32,
}

/// What is looked for: where tokens from the most probable one on weigh `target` together.
struct Search<'a> {
    logits: &'a [f32],
    highest: f32,
    weigh: Weigh,
    /// Of all tokens.
    total: f64,
    target: f64,
}

/// How far below the guess tokens are gathered: enough nearly always, then more. Where a few tokens
/// have most of the weight, a sample has none of them and the guess is too high.
const MARGINS: [f32; 3] = [0.5, 3.0, 9.0];
/// Tokens that are gathered rather than narrowed further.
const FEW: usize = 3072;
/// Passes that narrow; where many logits are equal, more of them would not help.
const MOST_PASSES: usize = 8;
/// Logits this far below the highest weigh nothing in whole grains.
const WEIGHTLESS: f32 = 30.0;

impl Nucleus {
    /// The smallest set of most probable tokens that has `p` of the probability, by its last.
    pub fn cut(&mut self, logits: &[f32], highest: f32, p: f64) -> Cut {
        let weigh = Weigh::new(highest, 1.0);
        let total = weigh.total(logits);
        let search = Search { logits, highest, weigh, total, target: p * total };
        let guess = search.guess(&mut self.weights);
        for margin in MARGINS.into_iter().filter(|_| guess.few) {
            match self.among_the_best(&search, guess.logit - margin) {
                Gathered::Cut(cut) => return cut,
                Gathered::TooLight => {}
                Gathered::TooMany => break,
            }
        }
        let Bracket { high, low } = search.narrow(guess.logit);
        gather(logits, low.logit..high.logit, usize::MAX, &mut self.gathered);
        self.weigh(weigh);
        self.halve(high.above.mass, search.target).unwrap_or(Cut::at(low.logit))
    }

    /// The cut, if the tokens from `low` on are few and reach the target.
    fn among_the_best(&mut self, search: &Search<'_>, low: f32) -> Gathered {
        if !gather(search.logits, low..f32::INFINITY, FEW, &mut self.gathered) {
            return Gathered::TooMany;
        }
        self.weigh(search.weigh);
        if mass(&self.weighed) < search.target {
            return Gathered::TooLight;
        }
        self.halve(0.0, search.target).map_or(Gathered::TooLight, Gathered::Cut)
    }

    fn weigh(&mut self, weigh: Weigh) {
        weigh.grains(self.gathered.iter().map(|token| token.logit), &mut self.weights);
        let weighed = self.gathered.iter().zip(&self.weights);
        self.weighed.clear();
        self.weighed
            .extend(weighed.map(|(token, weight)| Weighed { token: *token, weight: *weight }));
    }

    /// Halves what was gathered until the token that reaches the target is left; tokens before
    /// them have reached some of it.
    fn halve(&mut self, mut reached: f64, target: f64) -> Option<Cut> {
        let mut left = &mut self.weighed[..];
        while left.len() > 1 {
            let half = left.len() / 2;
            left.select_nth_unstable_by(half, |a, b| by_probability(&a.token, &b.token));
            let (more, less) = left.split_at_mut(half);
            let with_more = reached + mass(more);
            left = if with_more >= target {
                more
            } else {
                reached = with_more;
                less
            };
        }
        left.first().map(|last| Cut { logit: last.token.logit, last: last.token.id })
    }
}

/// The weight of some tokens together.
fn mass(tokens: &[Weighed]) -> f64 {
    tokens.iter().map(|token| f64::from(token.weight)).sum()
}

/// What became of gathering the best tokens.
enum Gathered {
    Cut(Cut),
    /// They do not reach the target.
    TooLight,
    TooMany,
}

/// About where the cut is.
#[derive(Debug, Clone, Copy)]
struct Guess {
    logit: f32,
    /// The tokens down to a margin below it are few enough to be gathered.
    few: bool,
}

impl Search<'_> {
    /// Where the less probable tokens have what is not to be kept, by a sample of their logits.
    fn guess(&self, weights: &mut Vec<f32>) -> Guess {
        const EACH: f32 = 8.0;
        const PLACES: usize = (WEIGHTLESS * EACH) as usize;
        let mut counts = [0u32; PLACES];
        let sampled = self.sample(EACH, &mut counts);
        let of_all = self.logits.len() as f64 / sampled.max(1) as f64;
        let below = |place: usize| place as f32 / EACH;
        self.weigh.grains((0..PLACES).map(|place| self.highest - below(place)), weights);
        let mut rest = self.total - self.target;
        let place = counts.iter().zip(weights).rposition(|(count, weight)| {
            rest -= of_all * f64::from(*count) * f64::from(*weight);
            rest < 0.0
        });
        let place = place.unwrap_or(0);
        let margin = place + (MARGINS[0] * EACH) as usize + 1;
        let count: u32 = counts.iter().take(margin).sum();
        let few = of_all * f64::from(count) <= FEW as f64;
        Guess { logit: self.highest - below(place), few }
    }

    /// Counts how far some logits are below the highest, in steps of one over `each`, the last
    /// one and all beyond together; how many were counted.
    fn sample(&self, each: f32, counts: &mut [u32]) -> usize {
        const VECTOR: usize = 16;
        const VECTORS: usize = 192;
        /// Added to a small number, it leaves the nearest integer in the low bits.
        const INTEGER: f32 = 8_388_608.0;
        let last = counts.len() - 1;
        let stride = VECTOR * (self.logits.len() / (VECTOR * VECTORS)).max(1);
        let mut sampled = 0;
        for logits in self.logits.chunks(stride) {
            let count = logits.len().min(VECTOR);
            let mut places = [0u32; VECTOR];
            for (place, logit) in places.iter_mut().zip(logits) {
                let below = ((self.highest - logit) * each).min(last as f32);
                *place = (below + INTEGER).to_bits() - INTEGER.to_bits();
            }
            for place in &places[..count] {
                counts[(*place as usize).min(last)] += 1;
            }
            sampled += count;
        }
        sampled
    }

    /// Two logits between which the cut is, nearer to each other with every pass.
    fn narrow(&self, guess: f32) -> Bracket {
        let weightless = self.highest - WEIGHTLESS;
        let all = Above { mass: self.total, count: self.logits.len() };
        let mut between = Bracket {
            high: Bound { logit: self.highest.next_up(), above: Above::default() },
            low: Bound { logit: weightless, above: all },
        };
        let (mut middle, mut width) = (guess, 0.125);
        for _ in 0..MOST_PASSES {
            if between.count() <= FEW {
                break;
            }
            let probes = [middle + width, middle - width];
            let above = Above::of(self.weigh, self.logits, probes);
            for (logit, above) in probes.into_iter().zip(above) {
                between.narrow(Bound { logit, above }, self.target);
            }
            (middle, width) = if between.low.logit > weightless {
                between.between(self.target)
            } else {
                (probes[1] - 3.0 * width, 3.0 * width)
            };
        }
        between
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
