//! Sums of exponentials over a whole vocabulary, in vectors.
//!
//! The loops are plain Rust that compiles to whatever vectors the machine has: multiplications
//! and additions are fused by name or not at all and every sum has one order, so the results are
//! the same on every machine.

use std::ops::Range;

use pulp::{Arch, NullaryFnOnce};

use super::Candidate;

/// Logits whose weights are summed together.
pub(super) const CHUNK: usize = 256;

const LANES: usize = 16;

/// How logits become weights: `exp((logit - highest) / temperature)`, and 0 below the floor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weigh {
    highest: f32,
    /// One over the temperature.
    coldness: f32,
    /// Never minus infinity.
    floor: f32,
}

impl Weigh {
    /// Without a floor.
    pub fn new(highest: f32, temperature: f32) -> Self {
        // the distance of the best one is 0, which infinity must not meet
        let coldness = temperature.recip().min(f32::MAX);
        Self { highest, coldness, floor: f32::MIN }
    }

    /// With this floor.
    pub fn from(self, floor: f32) -> Self {
        Self { floor: floor.max(f32::MIN), ..self }
    }

    /// The weight of a logit; that of minus infinity and of what is not a number is 0.
    #[inline(always)]
    pub fn weight(self, logit: f32) -> f32 {
        let weight = exp((logit - self.highest) * self.coldness);
        if logit >= self.floor { weight } else { 0.0 }
    }

    /// The weight in whole grains.
    #[inline(always)]
    pub fn grain(self, logit: f32) -> f32 {
        grain(self.weight(logit))
    }

    /// Puts the weights of a chunk in whole grains into `weights`.
    #[inline(always)]
    fn put_grains(self, logits: &[f32], weights: &mut [f32; CHUNK]) {
        for (weight, logit) in weights.iter_mut().zip(logits) {
            *weight = self.grain(*logit);
        }
    }

    /// The weights of a few logits in whole grains.
    pub fn grains(self, logits: impl Iterator<Item = f32>, weights: &mut Vec<f32>) {
        weights.clear();
        weights.extend(logits);
        Arch::new().dispatch(Grains { weigh: self, weights });
    }

    /// The sum of the weights of all logits in whole grains.
    pub fn total(self, logits: &[f32]) -> f64 {
        Arch::new().dispatch(Total { weigh: self, logits })
    }

    /// Adds the sum of the weights of each [`CHUNK`] of logits.
    pub fn sums(self, logits: &[f32], sums: &mut Vec<f64>) {
        Arch::new().dispatch(Sums { weigh: self, logits, sums });
    }

    #[inline(always)]
    fn sum(self, chunk: &[f32]) -> f64 {
        let mut any = false;
        for logit in chunk {
            any |= *logit >= self.floor;
        }
        if !any {
            return 0.0;
        }
        let mut lanes = [0.0f32; LANES];
        let (vectors, rest) = chunk.as_chunks::<LANES>();
        for vector in vectors {
            for (lane, logit) in lanes.iter_mut().zip(vector) {
                *lane += self.weight(*logit);
            }
        }
        let rest = rest.iter().map(|logit| self.weight(*logit));
        lanes.into_iter().chain(rest).map(f64::from).sum()
    }
}

struct Sums<'a> {
    weigh: Weigh,
    logits: &'a [f32],
    sums: &'a mut Vec<f64>,
}

impl NullaryFnOnce for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for chunk in self.logits.chunks(CHUNK) {
            self.sums.push(self.weigh.sum(chunk));
        }
    }
}

/// Turns logits into weights where they are.
struct Grains<'a> {
    weigh: Weigh,
    weights: &'a mut [f32],
}

impl NullaryFnOnce for Grains<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for weight in self.weights {
            *weight = self.weigh.grain(*weight);
        }
    }
}

struct Total<'a> {
    weigh: Weigh,
    logits: &'a [f32],
}

impl NullaryFnOnce for Total<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let mut total = [0.0; LANES];
        let mut weights = [0.0; CHUNK];
        for logits in self.logits.chunks(CHUNK) {
            self.weigh.put_grains(logits, &mut weights);
            add_up(&weights[..logits.len()], &mut total);
        }
        total.into_iter().sum()
    }
}

/// Adds weights to sums.
#[inline(always)]
fn add_up(weights: &[f32], sums: &mut [f64; LANES]) {
    let (vectors, rest) = weights.as_chunks::<LANES>();
    for vector in vectors {
        for (sum, weight) in sums.iter_mut().zip(vector) {
            *sum += f64::from(*weight);
        }
    }
    for (sum, weight) in sums.iter_mut().zip(rest) {
        *sum += f64::from(*weight);
    }
}

/// What the tokens from some logit on have together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Above {
    pub mass: f64,
    pub count: usize,
}

impl Above {
    /// Of each of these logits, in one pass.
    pub fn of(weigh: Weigh, logits: &[f32], from: [f32; 2]) -> [Self; 2] {
        Arch::new().dispatch(Sift { weigh, logits, from })
    }
}

struct Sift<'a> {
    weigh: Weigh,
    logits: &'a [f32],
    from: [f32; 2],
}

impl NullaryFnOnce for Sift<'_> {
    type Output = [Above; 2];

    #[inline(always)]
    fn call(self) -> [Above; 2] {
        let (mut masses, mut counts) = ([[0.0; LANES]; 2], [0; 2]);
        let (mut weights, mut kept) = ([0.0; CHUNK], [0.0; CHUNK]);
        for logits in self.logits.chunks(CHUNK) {
            self.weigh.put_grains(logits, &mut weights);
            for ((from, mass), count) in self.from.iter().zip(&mut masses).zip(&mut counts) {
                for ((kept, logit), weight) in kept.iter_mut().zip(logits).zip(&weights) {
                    *kept = if logit >= from { *weight } else { 0.0 };
                }
                add_up(&kept[..logits.len()], mass);
                let above = logits.iter().map(|logit| u32::from(logit >= from));
                *count += above.sum::<u32>() as usize;
            }
        }
        std::array::from_fn(|i| Above { mass: masses[i].into_iter().sum(), count: counts[i] })
    }
}

/// A weight as a multiple of 2^-34, the grain. Sums of up to half a million of them are exact in
/// f64; what is lost is less than a hundred-thousandth of the best token's weight in all.
#[inline(always)]
fn grain(weight: f32) -> f32 {
    /// Numbers near it are multiples of the grain.
    const COARSE: f32 = 1.5 / 2048.0;
    (weight + COARSE) - COARSE
}

/// e to the power of x for x up to 0, within about two units in the last place; below -87 it is
/// next to nothing. The polynomial is that of Cephes' expf.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Added and taken away, it leaves the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    const POLYNOMIAL: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1];
    let x = if x > -87.0 { x } else { -87.0 };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact in few bits
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-355.0 / 512.0, x));
    let mut y = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        y = y.mul_add(r, *coefficient);
    }
    let y = y.mul_add(r * r, r) + 1.0;
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    y * f32::from_bits(power)
}

/// The highest logit that is a number; minus infinity where there is none.
pub(super) fn highest(logits: &[f32]) -> f32 {
    Arch::new().dispatch(Highest { logits })
}

struct Highest<'a> {
    logits: &'a [f32],
}

impl NullaryFnOnce for Highest<'_> {
    type Output = f32;

    #[inline(always)]
    fn call(self) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (vectors, rest) = self.logits.as_chunks::<LANES>();
        for vector in vectors {
            for (lane, logit) in lanes.iter_mut().zip(vector) {
                *lane = if *logit > *lane { *logit } else { *lane };
            }
        }
        lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// Whether any of these logits is greater than `least`.
#[inline(always)]
pub(super) fn any_above(logits: &[f32], least: f32) -> bool {
    logits.iter().fold(false, |any, logit| any | (*logit > least))
}

/// Leaves in `tokens` those with logits in this range, in the order of their ids; false if they
/// are more than `most`, and then not all.
pub(super) fn gather(
    logits: &[f32],
    range: Range<f32>,
    most: usize,
    tokens: &mut Vec<Candidate>,
) -> bool {
    tokens.clear();
    Arch::new().dispatch(Gather { logits, range, most, tokens })
}

struct Gather<'a> {
    logits: &'a [f32],
    range: Range<f32>,
    most: usize,
    tokens: &'a mut Vec<Candidate>,
}

impl NullaryFnOnce for Gather<'_> {
    type Output = bool;

    #[inline(always)]
    fn call(self) -> bool {
        /// Logits that are looked at together, a bit each.
        const TOGETHER: usize = 32;
        let Range { start, end } = self.range;
        for (chunk, first) in self.logits.chunks(TOGETHER).zip((0u32..).step_by(TOGETHER)) {
            let mut within = 0u32;
            for (place, logit) in chunk.iter().enumerate() {
                within |= u32::from((*logit >= start) & (*logit < end)) << place;
            }
            while within != 0 {
                let place = within.trailing_zeros();
                let logit = chunk[place as usize];
                self.tokens.push(Candidate { logit, id: first + place });
                within &= within - 1;
            }
            if self.tokens.len() > self.most {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_close_to_those_of_the_library() {
        for step in 0..9000 {
            let x = step as f32 * -0.01;
            let (actual, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((actual - expected).abs() <= 4e-7 * expected + 2e-38, "{x}: {actual}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn sums_cover_every_logit_that_can_be_drawn() {
        let weigh = Weigh::new(2.0, 0.5).from(-3.0);
        let mut logits: Vec<f32> = (0..1000).map(|i| 2.0 - (i % 83) as f32 * 0.1).collect();
        (logits[7], logits[300]) = (f32::NAN, f32::NEG_INFINITY);
        let mut sums = Vec::new();
        weigh.sums(&logits, &mut sums);
        assert_eq!(sums.len(), 4);
        let usable = logits.iter().filter(|logit| **logit >= -3.0);
        let expected: f64 = usable.map(|logit| (f64::from(*logit - 2.0) / 0.5).exp()).sum();
        assert!((sums.iter().sum::<f64>() / expected - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_grain_is_the_smallest_part_of_every_weight() {
        let grains = |weight: f32| f64::from(grain(weight)) * 2f64.powi(34);
        for step in 0..300 {
            let weight = (step as f32 * -0.1).exp();
            assert_eq!(grains(weight).fract(), 0.0, "{weight}");
            assert!((f64::from(grain(weight)) - f64::from(weight)).abs() < 1.3e-7, "{weight}");
        }
        assert_eq!((grain(1.0), grain(0.0), grains(2f32.powi(-34))), (1.0, 0.0, 1.0));
    }
}
