//! Attention of one row: the query heads that share one key-value head.
//!
//! Keys and values lie in blocks of 32 positions at absolute positions, so that a position is
//! always in the same lane and summed at the same point, however the row came to be computed.
//! Keys of a block are `[dimension][32]`, values `[32][dimension]`, both in f16, or in f32 where
//! nothing may be rounded.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of HeadsCall")]

use super::rows::exp;
use super::simd::{LANES, Simd};

/// Positions of a block.
pub(in crate::engine::runners::cpu) const POSITIONS: usize = 32;

/// How keys and values are kept.
///
/// # Safety
/// Pointers are good for 16 elements; for [`Element::scatter`], 16 times `stride`.
pub(super) trait Element {
    const BYTES: usize;
    unsafe fn load<S: Simd>(from: *const u8) -> S::F;
    unsafe fn store<S: Simd>(to: *mut u8, value: S::F);
    /// Stores elements `stride` elements apart.
    unsafe fn scatter<S: Simd>(to: *mut u8, stride: usize, value: S::F);
}

/// Keys and values in f16.
pub(super) struct Half;

impl Element for Half {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::F {
        S::load_f16(from.cast())
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(to: *mut u8, value: S::F) {
        S::store_f16(to.cast(), value);
    }

    #[inline(always)]
    unsafe fn scatter<S: Simd>(to: *mut u8, stride: usize, value: S::F) {
        let mut lanes = [0u16; LANES];
        S::store_f16(lanes.as_mut_ptr(), value);
        for (lane, element) in lanes.iter().enumerate() {
            *to.cast::<u16>().add(lane * stride) = *element;
        }
    }
}

/// Keys and values in f32.
pub(super) struct Single;

impl Element for Single {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::F {
        S::load(from.cast())
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(to: *mut u8, value: S::F) {
        S::store(to.cast(), value);
    }

    #[inline(always)]
    unsafe fn scatter<S: Simd>(to: *mut u8, stride: usize, value: S::F) {
        let mut lanes = [0f32; LANES];
        S::store(lanes.as_mut_ptr(), value);
        for (lane, element) in lanes.iter().enumerate() {
            *to.cast::<f32>().add(lane * stride) = *element;
        }
    }
}

/// What attention computes: a row at position `end - 1` that sees the positions from `start`.
///
/// # Safety
/// `queries` are `heads` rows of `width` elements, already turned and scaled; `blocks` are the
/// blocks of this slot, layer and key-value head, from position 0, up to that of `end - 1`;
/// `scores` is good for `heads` rows of `scores_stride`, which covers the blocks from `start`'s
/// to `end - 1`'s; `out` for `heads` rows of `width`. `width` is a multiple of 16 and
/// `start < end`.
pub(super) struct HeadsCall {
    pub queries: *const f32,
    pub heads: usize,
    /// Width of a head, padded to 16.
    pub width: usize,
    pub blocks: *const u8,
    pub start: usize,
    pub end: usize,
    pub scores: *mut f32,
    pub scores_stride: usize,
    pub out: *mut f32,
    /// The keys that are needed next.
    pub next: *const u8,
}

/// Halves of blocks (keys or values) that are brought near before they are needed.
const AHEAD: usize = 2;

impl HeadsCall {
    fn first_block(&self) -> usize {
        self.start / POSITIONS
    }

    fn end_block(&self) -> usize {
        self.end.div_ceil(POSITIONS)
    }

    unsafe fn keys<E: Element>(&self, block: usize) -> *const u8 {
        self.blocks.add(block * 2 * self.width * POSITIONS * E::BYTES)
    }

    unsafe fn values<E: Element>(&self, block: usize) -> *const u8 {
        self.keys::<E>(block).add(self.width * POSITIONS * E::BYTES)
    }

    /// What is needed soon after the keys of a block: first all keys are read, then all values.
    fn after_keys<E: Element>(&self, block: usize) -> *const u8 {
        let half = self.width * POSITIONS * E::BYTES;
        let (first, end) = (self.first_block(), self.end_block());
        let ahead = block + AHEAD;
        let offset = if ahead < end {
            ahead * 2 * half
        } else {
            (first + (ahead - end)).min(end - 1) * 2 * half + half
        };
        self.blocks.wrapping_add(offset)
    }

    /// What is needed soon after the values of a block.
    fn after_values<E: Element>(&self, block: usize) -> *const u8 {
        let half = self.width * POSITIONS * E::BYTES;
        let (ahead, end) = (block + AHEAD, self.end_block());
        if ahead < end {
            self.blocks.wrapping_add(ahead * 2 * half + half)
        } else {
            self.next.wrapping_add((ahead - end) * 2 * half)
        }
    }
}

/// Computes the heads.
#[inline(always)]
pub(super) unsafe fn attend<S: Simd, E: Element>(call: &HeadsCall) {
    let mut head = 0;
    while head < call.heads {
        head += match call.heads - head {
            1 => some::<S, E, 1>(call, head),
            2 => some::<S, E, 2>(call, head),
            3 => some::<S, E, 3>(call, head),
            _ => some::<S, E, 4>(call, head),
        };
    }
}

/// Computes `H` heads and gives their number.
#[inline(always)]
unsafe fn some<S: Simd, E: Element, const H: usize>(call: &HeadsCall, head: usize) -> usize {
    scores::<S, E, H>(call, head);
    let mut shares = [0.0; H];
    for (h, share) in shares.iter_mut().enumerate() {
        *share = softmax::<S>(call, head + h);
    }
    let mut column = 0;
    while column < call.width {
        // more accumulators hide the latency where registers allow
        if S::ROWS >= 8 && call.width - column >= 4 * LANES {
            mix::<S, E, H, 4>(call, head, column, &shares);
            column += 4 * LANES;
        } else {
            mix::<S, E, H, 1>(call, head, column, &shares);
            column += LANES;
        }
    }
    H
}

/// Queries times keys, for whole blocks.
#[inline(always)]
unsafe fn scores<S: Simd, E: Element, const H: usize>(call: &HeadsCall, head: usize) {
    let queries = call.queries.add(head * call.width);
    let mut out = call.scores.add(head * call.scores_stride);
    for block in call.first_block()..call.end_block() {
        let keys = call.keys::<E>(block);
        let ahead = call.after_keys::<E>(block);
        let mut sums = [[S::zero(); 2]; H];
        for d in 0..call.width {
            // a row of f16 keys is a cache line
            S::prefetch(ahead.wrapping_add(d * POSITIONS * E::BYTES));
            let low = E::load::<S>(keys.add(d * POSITIONS * E::BYTES));
            let high = E::load::<S>(keys.add((d * POSITIONS + LANES) * E::BYTES));
            for (h, sums) in sums.iter_mut().enumerate() {
                let query = S::splat(*queries.add(h * call.width + d));
                sums[0] = S::fma(query, low, sums[0]);
                sums[1] = S::fma(query, high, sums[1]);
            }
        }
        for (h, sums) in sums.iter().enumerate() {
            S::store(out.add(h * call.scores_stride), sums[0]);
            S::store(out.add(h * call.scores_stride + LANES), sums[1]);
        }
        out = out.add(POSITIONS);
    }
}

/// Turns scores into weights, and gives what they are to be multiplied by to sum to 1.
#[inline(always)]
unsafe fn softmax<S: Simd>(call: &HeadsCall, head: usize) -> f32 {
    let scores = call.scores.add(head * call.scores_stride);
    let base = call.first_block() * POSITIONS;
    let length = call.end_block() * POSITIONS - base;
    for hidden in (0..call.start - base).chain(call.end - base..length) {
        *scores.add(hidden) = f32::NEG_INFINITY;
    }
    let mut greatest = S::splat(f32::NEG_INFINITY);
    for at in (0..length).step_by(LANES) {
        greatest = S::max(S::load(scores.add(at)), greatest);
    }
    let greatest = S::splat(S::greatest(greatest));
    let mut sum = S::zero();
    for at in (0..length).step_by(LANES) {
        let x = S::sub(S::load(scores.add(at)), greatest);
        let weight = S::keep_from(exp::<S>(x), x, S::splat(-87.0));
        S::store(scores.add(at), weight);
        sum = S::add(sum, weight);
    }
    1.0 / S::sum(sum)
}

/// The values by their weights: `C` vectors of `H` heads from `column` on.
#[inline(always)]
unsafe fn mix<S: Simd, E: Element, const H: usize, const C: usize>(
    call: &HeadsCall,
    head: usize,
    column: usize,
    shares: &[f32; H],
) {
    let mut sums = [[S::zero(); C]; H];
    let base = call.first_block() * POSITIONS;
    let weights = call.scores.add(head * call.scores_stride);
    for block in call.first_block()..call.end_block() {
        let values = call.values::<E>(block).add(column * E::BYTES);
        let from = (block * POSITIONS).max(call.start);
        let to = ((block + 1) * POSITIONS).min(call.end);
        let ahead = call.after_values::<E>(block).wrapping_add(column * E::BYTES);
        for position in from..to {
            let place = (position - block * POSITIONS) * call.width * E::BYTES;
            for line in 0..(C * LANES * E::BYTES).div_ceil(64) {
                S::prefetch(ahead.wrapping_add(place + 64 * line));
            }
            let value = values.add((position - block * POSITIONS) * call.width * E::BYTES);
            let mut vectors = [S::zero(); C];
            for (c, vector) in vectors.iter_mut().enumerate() {
                *vector = E::load::<S>(value.add(c * LANES * E::BYTES));
            }
            for (h, sums) in sums.iter_mut().enumerate() {
                let weight = *weights.add(h * call.scores_stride + position - base);
                let weight = S::splat(weight);
                for (sum, vector) in sums.iter_mut().zip(&vectors) {
                    *sum = S::fma(weight, *vector, *sum);
                }
            }
        }
    }
    for (h, sums) in sums.iter().enumerate() {
        let out = call.out.add((head + h) * call.width + column);
        for (c, sum) in sums.iter().enumerate() {
            S::store(out.add(c * LANES), S::mul(*sum, S::splat(shares[h])));
        }
    }
}

/// Keys and values of one position, rounded and put into their block.
///
/// # Safety
/// `key` and `value` are good for `width` elements, a multiple of 16, and `block` for a block.
#[inline(always)]
pub(super) unsafe fn keep<S: Simd, E: Element>(
    key: *const f32,
    value: *const f32,
    width: usize,
    block: *mut u8,
    place: usize,
) {
    let values = block.add((POSITIONS + place) * width * E::BYTES);
    for at in (0..width).step_by(LANES) {
        let keys = block.add((at * POSITIONS + place) * E::BYTES);
        E::scatter::<S>(keys, POSITIONS, S::load(key.add(at)));
        E::store::<S>(values.add(at * E::BYTES), S::load(value.add(at)));
    }
}
