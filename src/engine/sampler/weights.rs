//! Sums of exponentials over a whole vocabulary, in vectors.
//!
//! The loops are plain Rust that compiles to whatever vectors the machine has: every operation
//! is rounded alone and every sum has one order, so the results are the same on every machine.

use pulp::{Arch, NullaryFnOnce};

/// Logits whose weights are summed together.
pub(super) const CHUNK: usize = 256;

const LANES: usize = 16;

/// How logits become weights: `exp((logit - highest) / temperature)`, and 0 below the floor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weigh {
    pub highest: f32,
    pub temperature: f32,
    pub floor: f32,
}

impl Weigh {
    /// The weight of a logit; that of minus infinity and of what is not a number is 0.
    #[inline(always)]
    pub fn weight(self, logit: f32) -> f32 {
        let weight = exp((logit - self.highest) / self.temperature);
        if logit >= self.floor && logit > f32::NEG_INFINITY { weight } else { 0.0 }
    }

    /// The sum of the weights of each [`CHUNK`] of logits.
    pub fn sums(self, logits: &[f32], sums: &mut Vec<f64>) {
        Arch::new().dispatch(Sums { weigh: self, logits, sums });
    }

    #[inline(always)]
    fn sum(self, chunk: &[f32]) -> f64 {
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
        self.sums.clear();
        for chunk in self.logits.chunks(CHUNK) {
            self.sums.push(self.weigh.sum(chunk));
        }
    }
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
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact in few bits
    let r = (x - n * (355.0 / 512.0)) + n * 2.121_944_4e-4;
    let mut y = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        y = y * r + coefficient;
    }
    let y = (y * (r * r) + r) + 1.0;
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    y * f32::from_bits(power)
}

/// Whether any of these logits is greater than `least`.
#[inline(always)]
pub(super) fn any_above(logits: &[f32], least: f32) -> bool {
    logits.iter().fold(false, |any, logit| any | (*logit > least))
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
        let weigh = Weigh { highest: 2.0, temperature: 0.5, floor: -3.0 };
        let mut logits: Vec<f32> = (0..1000).map(|i| 2.0 - (i % 83) as f32 * 0.1).collect();
        (logits[7], logits[300]) = (f32::NAN, f32::NEG_INFINITY);
        let mut sums = Vec::new();
        weigh.sums(&logits, &mut sums);
        assert_eq!(sums.len(), 4);
        let usable = logits.iter().filter(|logit| **logit >= -3.0);
        let expected: f64 = usable.map(|logit| (f64::from(*logit - 2.0) / 0.5).exp()).sum();
        assert!((sums.iter().sum::<f64>() / expected - 1.0).abs() < 1e-6);
    }
}
