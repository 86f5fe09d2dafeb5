//! Small loops over slices with a fixed order of summing, for any instruction set.
//!
//! They are inlined into code that runs under a `pulp` dispatch, which gives them its
//! registers; a closure would not be inlined there, so that code is a `NullaryFnOnce`. Sums go over 16 lanes that are added in a fixed tree, so results do not depend
//! on the instruction set or on what surrounds a row.

const LANES: usize = 16;

/// The dot product of two slices of one length.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += a * b;
    }
    tree(lanes)
}

/// Adds `factor * from` to `to`.
#[inline(always)]
pub fn add_scaled(to: &mut [f32], from: &[f32], factor: f32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += factor * from;
    }
}

/// Turns scores into the exponentials of their distances to the largest; gives their sum.
#[inline(always)]
pub fn exponentials(scores: &mut [f32]) -> f32 {
    let mut largest = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = scores.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            largest[lane] = largest[lane].max(chunk[lane]);
        }
    }
    let largest = largest.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let mut sums = [0.0f32; LANES];
    let (chunks, rest) = scores.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - largest);
            sums[lane] += chunk[lane];
        }
    }
    for (score, sum) in rest.iter_mut().zip(&mut sums) {
        *score = exp(*score - largest);
        *sum += *score;
    }
    tree(sums)
}

/// `gate * sigmoid(gate) * up`.
#[inline(always)]
pub fn silu_product(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((gate, up), out) in gate.iter().zip(up).zip(out) {
        *out = gate / (1.0 + exp(-gate)) * up;
    }
}

#[inline(always)]
fn tree(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// e^x to within a few units in the last place, without branches: 2^n by the exponent bits,
/// the rest by the polynomial of Cephes' expf.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + coefficient;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    (p * r * r + r + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_library() {
        for i in -8000..8000 {
            let x = i as f32 * 0.01;
            let (ours, library) = (exp(x), x.exp());
            assert!((ours - library).abs() <= 3e-7 * library, "exp({x}) is {ours}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::NAN).is_nan());
    }

    #[test]
    fn dots_of_any_length_are_the_plain_sum() {
        for length in [0, 1, 15, 16, 17, 64, 100] {
            let a: Vec<f32> = (0..length).map(|i| i as f32 * 0.5).collect();
            let b: Vec<f32> = (0..length).map(|i| 1.0 - i as f32 * 0.25).collect();
            let plain: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert!((dot(&a, &b) - plain).abs() <= plain.abs() * 1e-6);
        }
    }

    #[test]
    fn exponentials_sum_to_their_sum() {
        for length in [1, 5, 16, 40] {
            let mut scores: Vec<f32> = (0..length).map(|i| (i as f32).sin() * 10.0).collect();
            let sum = exponentials(&mut scores);
            let plain: f32 = scores.iter().sum();
            assert!((sum - plain).abs() < 1e-5 * plain);
            assert_eq!(scores.iter().fold(0.0, |a: f32, b| a.max(*b)), 1.0);
        }
    }
}
