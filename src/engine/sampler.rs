//! Chooses the next token of a row from its logits.
//!
//! The filters apply in llama.cpp's order: top-k, then top-p over what top-k left, then min-p,
//! each on the probabilities at temperature 1; then the temperature; then the draw. A draw
//! depends on the seed, the row, the index of the token in the row and the logits, and on
//! nothing else: not on the other rows of a batch.

mod nucleus;
mod philox;
mod weights;

use std::cell::RefCell;
use std::cmp::Ordering;

use self::nucleus::{Cut, Nucleus};
use self::weights::{CHUNK, Weigh};
use super::EngineError;
use super::runner::{Answer, Want};
use crate::sampling::Sampling;

/// Chooses the tokens of one row.
#[derive(Debug, Clone)]
pub struct Sampler {
    temperature: f32,
    top_k: Option<usize>,
    top_p: Option<f64>,
    min_p: Option<f32>,
    seed: u64,
    row: u64,
    /// Index of the next token in the row.
    token: u64,
}

/// Memory to choose in. A thread's own and not a row's: what one row leaves in the cache, the
/// next one uses.
#[derive(Debug, Default)]
struct Scratch {
    /// What top-k leaves.
    candidates: Vec<Candidate>,
    nucleus: Nucleus,
    /// Weights of the vocabulary by chunk.
    sums: Vec<f64>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A token that may be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    logit: f32,
    id: u32,
}

impl Sampler {
    /// The sampler of row `row` of a run.
    pub fn new(sampling: &Sampling, row: usize) -> Self {
        Self {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p.filter(|p| *p < 1.0).map(f64::from),
            min_p: sampling.min_p.filter(|p| *p > 0.0),
            seed: sampling.seed,
            row: row as u64,
            token: 0,
        }
    }

    /// What the next token is chosen from: a greedy choice needs no logits.
    pub fn wants(&self) -> Want {
        if self.temperature == 0.0 { Want::Best } else { Want::Logits }
    }

    /// The id of the next token, from what the runner gave.
    ///
    /// # Errors
    /// As [`Sampler::sample`].
    pub fn choose(&mut self, answer: Answer<'_>) -> Result<u32, EngineError> {
        match answer {
            Answer::Logits(logits) => self.sample(logits),
            Answer::Best(best) => {
                self.token += 1;
                best.ok_or_else(no_usable_logits)
            }
        }
    }

    /// The id of the next token. Logits that are not numbers are never chosen.
    ///
    /// # Errors
    /// No logit is a number above minus infinity.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, EngineError> {
        let highest = weights::highest(logits);
        if highest == f32::NEG_INFINITY {
            return Err(no_usable_logits());
        }
        let token = self.token;
        self.token += 1;
        if self.temperature == 0.0 || highest == f32::INFINITY {
            return first_with(logits, highest).ok_or_else(no_usable_logits);
        }
        let uniform = philox::uniform(self.seed, self.row, token);
        let drawn = SCRATCH.with_borrow_mut(|Scratch { candidates, nucleus, sums }| {
            let Some(k) = self.top_k else {
                let cut = self.cut(logits, highest, nucleus);
                return self.draw_from_all(uniform, highest, cut, logits, sums);
            };
            self.filter(k, logits, highest, candidates);
            self.draw(uniform, highest, candidates)
        });
        // rounding can leave something over
        drawn.or_else(|| first_with(logits, highest)).ok_or_else(no_usable_logits)
    }

    /// Leaves in `candidates` what top-k, top-p and min-p keep, the most probable first.
    fn filter(&self, k: usize, logits: &[f32], highest: f32, candidates: &mut Vec<Candidate>) {
        take_best(logits, k, candidates);
        if let Some(p) = self.top_p {
            let weigh = Weigh::new(highest, 1.0);
            let weights = candidates.iter().map(|c| f64::from(weigh.grain(c.logit)));
            let target = p * weights.clone().sum::<f64>();
            let kept = reached_at(weights, target).unwrap_or(candidates.len());
            candidates.truncate(kept);
        }
        let floor = self.min_p_floor(highest);
        candidates.retain(|candidate| candidate.logit >= floor);
    }

    /// Where top-p and min-p cut the whole vocabulary.
    fn cut(&self, logits: &[f32], highest: f32, nucleus: &mut Nucleus) -> Cut {
        let floor = Cut::at(self.min_p_floor(highest));
        match self.top_p {
            None => floor,
            Some(p) => nucleus.cut(logits, highest, p).and(floor),
        }
    }

    /// The lowest logit that min-p keeps.
    fn min_p_floor(&self, highest: f32) -> f32 {
        self.min_p.map_or(f32::NEG_INFINITY, |p| highest + p.ln())
    }

    /// The token at which the cumulated probability over what is kept of the vocabulary passes
    /// `uniform`, in [0, 1); rounding can leave something over.
    fn draw_from_all(
        &self,
        uniform: f64,
        highest: f32,
        cut: Cut,
        logits: &[f32],
        sums: &mut Vec<f64>,
    ) -> Option<u32> {
        let weigh = Weigh::new(highest, self.temperature);
        // after the last token that is kept, those with its logit are not
        let (first, second) =
            logits.split_at((cut.last as usize).saturating_add(1).min(logits.len()));
        let parts = [(first, weigh.from(cut.logit)), (second, weigh.from(cut.logit.next_up()))];
        sums.clear();
        parts.iter().for_each(|(logits, weigh)| weigh.sums(logits, sums));
        let mut rest = uniform * sums.iter().sum::<f64>();
        let chunks =
            parts.iter().flat_map(|(part, weigh)| part.chunks(CHUNK).map(move |c| (c, weigh)));
        let mut id = 0;
        for ((chunk, weigh), sum) in chunks.zip(&*sums) {
            if rest >= *sum {
                rest -= sum;
                id += chunk.len() as u32;
                continue;
            }
            for (logit, id) in chunk.iter().zip(id..) {
                let weight = f64::from(weigh.weight(*logit));
                if rest < weight {
                    return Some(id);
                }
                rest -= weight;
            }
            id += chunk.len() as u32;
        }
        None
    }

    /// The candidate at which the cumulated probability passes `uniform`, in [0, 1); rounding can
    /// leave something over.
    fn draw(&self, uniform: f64, highest: f32, candidates: &[Candidate]) -> Option<u32> {
        let weigh = Weigh::new(highest, self.temperature);
        let weights = candidates.iter().map(|c| f64::from(weigh.weight(c.logit)));
        let mut rest = uniform * weights.clone().sum::<f64>();
        for (candidate, weight) in candidates.iter().zip(weights) {
            if rest < weight {
                return Some(candidate.id);
            }
            rest -= weight;
        }
        None
    }
}

fn no_usable_logits() -> EngineError {
    EngineError::model(
        "the model gave no usable logits (not a number, or minus infinity, for every token); its \
         weights are damaged or overflow in this precision",
    )
}

/// The tokens that can be chosen at all, in the order of their ids.
fn candidates(logits: &[f32]) -> impl Iterator<Item = Candidate> + Clone {
    logits
        .iter()
        .zip(0u32..)
        .filter(|(logit, _)| **logit > f32::NEG_INFINITY)
        .map(|(logit, id)| Candidate { logit: *logit, id })
}

/// The first token with this logit.
fn first_with(logits: &[f32], logit: f32) -> Option<u32> {
    (0..).zip(logits).find(|(_, other)| **other == logit).map(|(id, _)| id)
}

/// The most probable first; of equal ones the lowest id.
fn by_probability(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id))
}

/// Logits that are passed over together when none of them is among the best.
const SKIPPED: usize = 64;

/// Puts the `count` most probable tokens into `best`, the most probable first, without sorting
/// the others.
fn take_best(logits: &[f32], count: usize, best: &mut Vec<Candidate>) {
    best.clear();
    let full = count.saturating_mul(2).max(count.saturating_add(64));
    let mut worst: Option<Candidate> = None;
    for (chunk, first) in logits.chunks(SKIPPED).zip((0u32..).step_by(SKIPPED)) {
        // of equal logits the earlier one is kept
        if worst.is_some_and(|worst| !weights::any_above(chunk, worst.logit)) {
            continue;
        }
        for candidate in candidates(chunk) {
            let candidate = Candidate { id: first + candidate.id, ..candidate };
            if worst.is_some_and(|worst| by_probability(&candidate, &worst) == Ordering::Greater) {
                continue;
            }
            best.push(candidate);
            if best.len() == full {
                best.select_nth_unstable_by(count - 1, by_probability);
                best.truncate(count);
                worst = best.last().copied();
            }
        }
    }
    best.sort_unstable_by(by_probability);
    best.truncate(count);
}

/// How many of these weights it takes to reach `target`; `None` if all are too few.
fn reached_at(mut weights: impl Iterator<Item = f64>, target: f64) -> Option<usize> {
    let mut reached = 0.0;
    let last = weights.position(|weight| {
        reached += weight;
        reached >= target
    });
    last.map(|last| last + 1)
}

#[cfg(test)]
mod tests;
