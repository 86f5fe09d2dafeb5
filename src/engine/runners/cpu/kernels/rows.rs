//! What is done to rows between the matrices: norm, quantising, gate, rope, argmax.
#![allow(unsafe_op_in_unsafe_fn, reason = "each function states its contract")]

use super::simd::{BEGIN, LANES, Simd};
use crate::engine::runners::cpu::form::BLOCK;
use crate::engine::runners::cpu::panel;

/// e to the power of x, to about one unit in the last place; x is held to -87 and 88.
/// The polynomial is that of Cephes' expf.
#[inline(always)]
pub(super) unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    const POLYNOMIAL: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1];
    let x = S::min(S::max(x, S::splat(-87.0)), S::splat(88.0));
    let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
    let turns = S::float(n);
    // ln 2 in two parts, the first exact in few bits
    let r = S::fma(turns, S::splat(-355.0 / 512.0), x);
    let r = S::fma(turns, S::splat(2.121_944_4e-4), r);
    let mut y = S::splat(POLYNOMIAL[0]);
    for coefficient in &POLYNOMIAL[1..] {
        y = S::fma(y, r, S::splat(*coefficient));
    }
    let y = S::add(S::fma(y, S::mul(r, r), r), S::splat(1.0));
    S::mul(y, S::power_of_two(n))
}

/// RMSNorm: `out = x / sqrt(mean(x²) + eps) * weight`.
///
/// # Safety
/// The pointers are good for `count` elements rounded up to 32; x is 0 beyond `count`.
#[inline(always)]
pub(super) unsafe fn norm<S: Simd>(
    x: *const f32,
    weight: *const f32,
    count: usize,
    eps: f32,
    out: *mut f32,
) {
    let vectors = count.div_ceil(BLOCK) * BLOCK / LANES;
    // four sums side by side hide the latency of the additions
    let mut squares = [S::zero(); 4];
    for v in (0..vectors).step_by(4) {
        for (i, square) in squares.iter_mut().enumerate().take(vectors - v) {
            let x = S::load(x.add((v + i) * LANES));
            *square = S::fma(x, x, *square);
        }
    }
    let [a, b, c, d] = squares;
    let sum = S::sum(S::add(S::add(a, b), S::add(c, d)));
    let factor = S::splat(1.0 / (sum / count as f32 + eps).sqrt());
    for v in 0..vectors {
        let x = S::mul(S::load(x.add(v * LANES)), factor);
        S::store(out.add(v * LANES), S::mul(x, S::load(weight.add(v * LANES))));
    }
}

/// What is smaller cannot be told from 0, and dividing by it could overflow.
pub(super) const LEAST: f32 = 1e-30;

/// Quantises a row to int8 with one scale for each block of 32.
///
/// # Safety
/// `x` is good for `blocks * 32` elements, `record` for `blocks` records `stride` bytes apart.
#[inline(always)]
pub(super) unsafe fn quantise<S: Simd>(
    x: *const f32,
    blocks: usize,
    record: *mut u8,
    stride: usize,
) {
    for block in 0..blocks {
        let x = x.add(block * BLOCK);
        let (low, high) = (S::load(x), S::load(x.add(LANES)));
        let largest = S::greatest(S::max(S::abs(low), S::abs(high)));
        let factor = if largest > LEAST { 127.0 / largest } else { 0.0 };
        let scale = if largest > LEAST { largest / 127.0 } else { 0.0 };
        let low = S::round(S::mul(low, S::splat(factor)));
        let high = S::round(S::mul(high, S::splat(factor)));
        let (low_sum, high_sum) = (S::sum_int(low), S::sum_int(high));
        let sum = low_sum.wrapping_add(high_sum);
        let record = record.add(block * stride);
        S::store_bytes(record.cast(), low);
        S::store_bytes(record.add(LANES).cast(), high);
        let floats = record.add(panel::SCALE).cast::<f32>();
        *floats = scale;
        *floats.add(1) = scale * sum as f32;
        let integers = record.add(panel::OFFSET).cast::<i32>();
        *integers = BEGIN.wrapping_sub(sum.wrapping_mul(128));
        *integers.add(1) = low_sum.wrapping_mul(-128);
    }
}

/// `out = silu(gate) * up` for rows of 16.
///
/// # Safety
/// `gate` and `up` are good for `rows * 16` elements, `out` for as many rows `stride` apart.
#[inline(always)]
pub(super) unsafe fn gate<S: Simd>(
    gate: *const f32,
    up: *const f32,
    rows: usize,
    out: *mut f32,
    stride: usize,
) {
    for row in 0..rows {
        let x = S::load(gate.add(row * LANES));
        let denominator = S::add(S::splat(1.0), exp::<S>(S::sub(S::zero(), x)));
        let silu = S::div(x, denominator);
        S::store(out.add(row * stride), S::mul(silu, S::load(up.add(row * LANES))));
    }
}

/// `out = gelu(gate) * up`, by the approximation with tanh, written as
/// `x / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x³)))`.
///
/// # Safety
/// As for [`gate`].
#[inline(always)]
pub(super) unsafe fn gelu_gate<S: Simd>(
    gate: *const f32,
    up: *const f32,
    rows: usize,
    out: *mut f32,
    stride: usize,
) {
    const TWO_ROOTS: f32 = 2.0 * 0.797_884_6;
    for row in 0..rows {
        let x = S::load(gate.add(row * LANES));
        let cubic = S::mul(S::mul(x, x), S::splat(0.044_715));
        let inner = S::mul(S::fma(cubic, x, x), S::splat(TWO_ROOTS));
        let denominator = S::add(S::splat(1.0), exp::<S>(S::sub(S::zero(), inner)));
        let gelu = S::div(x, denominator);
        S::store(out.add(row * stride), S::mul(gelu, S::load(up.add(row * LANES))));
    }
}

/// Turns the pairs (i, half + i) of a head by their angles, and multiplies by `factor`.
///
/// # Safety
/// `x` and `out` are good for `2 * half` elements, and are the same or do not overlap; `cos` and `sin`
/// are good for `half`.
#[inline(always)]
pub(super) unsafe fn rope<S: Simd>(
    x: *const f32,
    cos: *const f32,
    sin: *const f32,
    half: usize,
    factor: f32,
    out: *mut f32,
) {
    let whole = half / LANES * LANES;
    let scale = S::splat(factor);
    for i in (0..whole).step_by(LANES) {
        let (a, b) = (S::load(x.add(i)), S::load(x.add(half + i)));
        let (cos, sin) = (S::load(cos.add(i)), S::load(sin.add(i)));
        let first = S::sub(S::mul(a, cos), S::mul(b, sin));
        let second = S::add(S::mul(b, cos), S::mul(a, sin));
        S::store(out.add(i), S::mul(first, scale));
        S::store(out.add(half + i), S::mul(second, scale));
    }
    for i in whole..half {
        let (a, b) = (*x.add(i), *x.add(half + i));
        let (cos, sin) = (*cos.add(i), *sin.add(i));
        *out.add(i) = (a * cos - b * sin) * factor;
        *out.add(half + i) = (b * cos + a * sin) * factor;
    }
}

/// The greatest value that each lane has seen, and in which tile.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Best {
    pub values: [f32; LANES],
    pub tiles: [i32; LANES],
}

impl Best {
    /// Nothing seen.
    pub const NONE: Self = Self { values: [f32::NEG_INFINITY; LANES], tiles: [0; LANES] };
}

/// Takes the values of a tile for some rows; on ties the earlier tile stays.
///
/// # Safety
/// `values` is good for 16 elements for each of `best`.
#[inline(always)]
pub(super) unsafe fn best<S: Simd>(values: *const f32, tile: i32, best: &mut [Best]) {
    for (row, best) in best.iter_mut().enumerate() {
        let (value, id) = S::greater(
            S::load(values.add(row * LANES)),
            S::splat_int(tile),
            S::load(best.values.as_ptr()),
            S::load_int(best.tiles.as_ptr()),
        );
        S::store(best.values.as_mut_ptr(), value);
        S::store_int(best.tiles.as_mut_ptr(), id);
    }
}
