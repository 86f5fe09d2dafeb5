//! Attention of a few rows of one slot: the query heads that share one key-value head.
//!
//! Rows are computed together so that keys and values are read and widened once for all of them.
//! Each row's sums are made of the same operations in the same order as alone.
//!
//! Keys and values lie in blocks of 32 positions at absolute positions, so that a position is
//! always in the same lane and summed at the same point, however the row came to be computed.
//! Keys of a block are `[dimension][32]`, values `[32][dimension]`, both in f16, or in f32 where
//! nothing may be rounded.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of HeadsCall")]
#![allow(clippy::needless_range_loop, reason = "zip is a call where the build does not inline it")]

use std::ops::Range;

use super::near;
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

/// Query heads of the rows that are computed together, where a row has fewer.
pub(in crate::engine::runners::cpu) const TILE: usize = 12;

/// What attention computes: rows at positions `end - 1` and on, each of which sees the `window`
/// positions up to its own.
///
/// # Safety
/// `queries` are `rows * heads` rows of `width` elements, already turned and scaled; `blocks` are
/// the blocks of this slot, layer and key-value head, from position 0, up to that of the last
/// row; `scores` is good for `rows * heads` rows of `scores_stride`, which covers the blocks that
/// are seen by any row; `out` for `rows` rows of `heads * width`, `out_stride` apart. `width` is a
/// multiple of 16; `rows`, `heads`, `end` and `window` are at least 1.
pub(super) struct HeadsCall {
    pub queries: *const f32,
    pub rows: usize,
    /// Query heads of a row.
    pub heads: usize,
    /// Width of a head, padded to 16.
    pub width: usize,
    pub blocks: *const u8,
    /// The position after the first row's.
    pub end: usize,
    pub window: usize,
    pub scores: *mut f32,
    pub scores_stride: usize,
    pub out: *mut f32,
    pub out_stride: usize,
    /// The keys that are needed next.
    pub next: *const u8,
}

/// The blocks that any of some rows sees; the first row is at position `end - 1` and each sees
/// `window` positions up to its own.
pub(super) fn blocks_seen(end: usize, rows: usize, window: usize) -> Range<usize> {
    end.saturating_sub(window) / POSITIONS..(end + rows - 1).div_ceil(POSITIONS)
}

/// Halves of blocks (keys or values) that are brought near before they are needed.
const AHEAD: usize = 2;

impl HeadsCall {
    /// The positions that a query sees.
    fn seen(&self, query: usize) -> Range<usize> {
        let end = self.end + query / self.heads;
        end.saturating_sub(self.window)..end
    }

    /// The blocks that any row sees.
    fn all_blocks(&self) -> Range<usize> {
        blocks_seen(self.end, self.rows, self.window)
    }

    unsafe fn keys<E: Element>(&self, block: usize) -> *const u8 {
        self.blocks.add(block * 2 * self.width * POSITIONS * E::BYTES)
    }

    unsafe fn values<E: Element>(&self, block: usize) -> *const u8 {
        self.keys::<E>(block).add(self.width * POSITIONS * E::BYTES)
    }

    /// What is needed soon after the keys of a block: first all keys are read, then all values.
    fn after_keys<E: Element>(&self, block: usize, all: &Range<usize>) -> *const u8 {
        let half = self.width * POSITIONS * E::BYTES;
        let ahead = block + AHEAD;
        let offset = if ahead < all.end {
            ahead * 2 * half
        } else {
            (all.start + (ahead - all.end)).min(all.end - 1) * 2 * half + half
        };
        self.blocks.wrapping_add(offset)
    }

    /// What is needed soon after the values of a block.
    fn after_values<E: Element>(&self, block: usize, all: &Range<usize>) -> *const u8 {
        let half = self.width * POSITIONS * E::BYTES;
        let ahead = block + AHEAD;
        if ahead < all.end {
            self.blocks.wrapping_add(ahead * 2 * half + half)
        } else {
            self.next.wrapping_add((ahead - all.end) * 2 * half)
        }
    }
}

/// Computes the heads of all rows.
#[inline(always)]
pub(super) unsafe fn attend<S: Simd, E: Element>(call: &HeadsCall) {
    let (all, queries) = (call.all_blocks(), call.rows * call.heads);
    for block in all.clone() {
        let mut query = 0;
        while query < queries {
            let many = together::<S>(queries - query);
            match many {
                12 if S::QUERIES >= 12 => scores::<S, E, 12>(call, query, block, &all),
                6 if S::QUERIES >= 6 => scores::<S, E, 6>(call, query, block, &all),
                4 if S::QUERIES >= 6 => scores::<S, E, 4>(call, query, block, &all),
                3 if S::QUERIES >= 6 => scores::<S, E, 3>(call, query, block, &all),
                2 if S::QUERIES >= 6 => scores::<S, E, 2>(call, query, block, &all),
                _ => scores::<S, E, 1>(call, query, block, &all),
            }
            query += many;
        }
    }
    let mut query = 0;
    while query < queries {
        let many = together::<S>(queries - query);
        match many {
            12 if S::QUERIES >= 12 => mix_all::<S, E, 12, 2>(call, query, &all),
            6 if S::QUERIES >= 6 => mix_all::<S, E, 6, 4>(call, query, &all),
            4 if S::QUERIES >= 6 => mix_all::<S, E, 4, 4>(call, query, &all),
            3 if S::QUERIES >= 6 => mix_all::<S, E, 3, 4>(call, query, &all),
            2 if S::QUERIES >= 6 => mix_all::<S, E, 2, 4>(call, query, &all),
            _ => mix_all::<S, E, 1, 4>(call, query, &all),
        }
        query += many;
    }
}

/// How many of the queries that are left are computed together.
#[inline(always)]
fn together<S: Simd>(left: usize) -> usize {
    match left {
        _ if S::QUERIES == 1 => 1,
        12.. if S::QUERIES >= 12 => 12,
        6.. => 6,
        5 => 3,
        _ => left,
    }
}

/// Queries times keys, for a block or the half of it that is seen.
#[inline(always)]
unsafe fn scores<S: Simd, E: Element, const H: usize>(
    call: &HeadsCall,
    query: usize,
    block: usize,
    all: &Range<usize>,
) {
    let queries = call.queries.add(query * call.width);
    let keys = call.keys::<E>(block);
    let ahead = call.after_keys::<E>(block, all);
    let place = query * call.scores_stride + (block - all.start) * POSITIONS;
    let out = call.scores.add(place);
    // nobody asks for the scores of positions after the last row's own
    let whole = call.seen(query + H - 1).end > block * POSITIONS + LANES;
    if whole && (S::QUERIES >= 12 || H <= 2) {
        part::<S, E, H, 2>(call, queries, keys, ahead, out);
        return;
    }
    // one half alone, or one after the other where there are fewer registers
    part::<S, E, H, 1>(call, queries, keys, ahead, out);
    if whole {
        let (keys, out) = (keys.add(LANES * E::BYTES), out.add(LANES));
        part::<S, E, H, 1>(call, queries, keys, ahead, out);
    }
}

/// The scores of `V` vectors of positions.
#[inline(always)]
unsafe fn part<S: Simd, E: Element, const H: usize, const V: usize>(
    call: &HeadsCall,
    queries: *const f32,
    keys: *const u8,
    ahead: *const u8,
    out: *mut f32,
) {
    let mut sums = [[S::zero(); V]; H];
    for d in 0..call.width {
        // a row of f16 keys is a cache line
        near::first_level(ahead.wrapping_add(d * POSITIONS * E::BYTES));
        let mut vectors = [S::zero(); V];
        for (v, vector) in vectors.iter_mut().enumerate() {
            *vector = E::load::<S>(keys.add((d * POSITIONS + v * LANES) * E::BYTES));
        }
        for (h, sums) in sums.iter_mut().enumerate() {
            let query = S::broadcast(queries.add(h * call.width + d));
            for v in 0..V {
                sums[v] = S::fma(query, vectors[v], sums[v]);
            }
        }
    }
    for (h, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            S::store(out.add(h * call.scores_stride + v * LANES), *sum);
        }
    }
}

/// What is added to scores, at such an offset that those seen are added 0. It makes +0 of -0, which
/// gives the same weight.
static HIDING: [f32; 3 * LANES] = {
    let mut hiding = [f32::NEG_INFINITY; 3 * LANES];
    let mut at = LANES;
    while at < 2 * LANES {
        hiding[at] = 0.0;
        at += 1;
    }
    hiding
};

/// Makes the scores of positions that are not seen -inf, whatever they were. The vector's first
/// position is `first`.
#[inline(always)]
unsafe fn hide<S: Simd>(scores: S::F, first: usize, seen: &Range<usize>) -> S::F {
    let before = seen.start.saturating_sub(first).min(LANES);
    let until_end = seen.end.saturating_sub(first).min(LANES);
    let mut scores = scores;
    for offset in [LANES - before, 2 * LANES - until_end] {
        let hiding = S::load(HIDING.as_ptr().add(offset));
        scores = S::add(S::keep_from(scores, hiding, S::zero()), hiding);
    }
    scores
}

/// Turns a query's scores into weights, and gives what they are to be multiplied by to sum to 1.
#[inline(always)]
unsafe fn softmax<S: Simd>(call: &HeadsCall, query: usize, all: &Range<usize>) -> f32 {
    let seen = call.seen(query);
    let base = seen.start / POSITIONS * POSITIONS;
    let length = seen.end.next_multiple_of(LANES) - base;
    let scores = call.scores.add(query * call.scores_stride + base - all.start * POSITIONS);
    let mut greatest = S::splat(f32::NEG_INFINITY);
    for at in (0..length).step_by(LANES) {
        let mut vector = S::load(scores.add(at));
        let first = base + at;
        if first < seen.start || first + LANES > seen.end {
            vector = hide::<S>(vector, first, &seen);
            S::store(scores.add(at), vector);
        }
        greatest = S::max(vector, greatest);
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

/// The values of `H` queries by their weights, up to `C` vectors at a time.
#[inline(always)]
unsafe fn mix_all<S: Simd, E: Element, const H: usize, const C: usize>(
    call: &HeadsCall,
    query: usize,
    all: &Range<usize>,
) {
    let mut shares = [0.0; H];
    for (h, share) in shares.iter_mut().enumerate() {
        *share = softmax::<S>(call, query + h, all);
    }
    let mut column = 0;
    while column < call.width {
        // more accumulators hide the latency where registers allow
        if S::QUERIES >= 12 && call.width - column >= C * LANES {
            mix::<S, E, H, C>(call, query, column, &shares, all);
            column += C * LANES;
        } else {
            mix::<S, E, H, 1>(call, query, column, &shares, all);
            column += LANES;
        }
    }
}

/// `C` vectors of `H` queries from `column` on.
#[inline(always)]
unsafe fn mix<S: Simd, E: Element, const H: usize, const C: usize>(
    call: &HeadsCall,
    query: usize,
    column: usize,
    shares: &[f32; H],
    all: &Range<usize>,
) {
    let mut sums = [[S::zero(); C]; H];
    let weights = call.scores.add(query * call.scores_stride);
    let (first, last) = (call.seen(query), call.seen(query + H - 1));
    for block in first.start / POSITIONS..last.end.div_ceil(POSITIONS) {
        let begin = block * POSITIONS;
        let columns = Columns {
            values: call.values::<E>(block).add(column * E::BYTES),
            ahead: call.after_values::<E>(block, all).wrapping_add(column * E::BYTES),
            weights: weights.add(begin - all.start * POSITIONS),
            begin,
            query,
        };
        let (from, to) = (begin.max(first.start), (begin + POSITIONS).min(last.end));
        // what every query sees lies between what some see
        let all_begun = from.max(last.start).min(to);
        let common = all_begun..first.end.clamp(all_begun, to);
        columns.add_where_seen::<S, E, H, C>(call, from..common.start, &mut sums);
        columns.add_to_all::<S, E, H, C>(call, common.clone(), &mut sums);
        columns.add_where_seen::<S, E, H, C>(call, common.end..to, &mut sums);
    }
    let (mut row, mut head) = (query / call.heads, query % call.heads);
    for (h, sums) in sums.iter().enumerate() {
        let out = call.out.add(row * call.out_stride + head * call.width + column);
        for (c, sum) in sums.iter().enumerate() {
            S::store(out.add(c * LANES), S::mul(*sum, S::splat(shares[h])));
        }
        head += 1;
        if head == call.heads {
            (row, head) = (row + 1, 0);
        }
    }
}

/// A few columns of a block of values, with the weights of its positions.
struct Columns {
    values: *const u8,
    ahead: *const u8,
    weights: *const f32,
    /// The block's first position.
    begin: usize,
    query: usize,
}

impl Columns {
    /// Adds the values of some positions of the block, which every query sees.
    #[inline(always)]
    unsafe fn add_to_all<S: Simd, E: Element, const H: usize, const C: usize>(
        &self,
        call: &HeadsCall,
        positions: Range<usize>,
        sums: &mut [[S::F; C]; H],
    ) {
        // a copy, which the compiler keeps in registers: the sums lie in memory, as others find them
        // there one by one
        let mut all = *sums;
        for position in positions {
            let at = position - self.begin;
            let place = at * call.width * E::BYTES;
            for line in 0..(C * LANES * E::BYTES).div_ceil(64) {
                near::first_level(self.ahead.wrapping_add(place + 64 * line));
            }
            let vectors = self.vectors::<S, E, C>(place);
            for (h, sums) in all.iter_mut().enumerate() {
                self.add_weighted::<S, C>(call, h, at, &vectors, sums);
            }
        }
        *sums = all;
    }

    /// Adds the values of a few positions of the block to the queries that see them, and brings none
    /// near. What is not seen is not added: it may be no number.
    #[inline(always)]
    unsafe fn add_where_seen<S: Simd, E: Element, const H: usize, const C: usize>(
        &self,
        call: &HeadsCall,
        positions: Range<usize>,
        sums: &mut [[S::F; C]; H],
    ) {
        if positions.is_empty() {
            return;
        }
        for (h, sums) in sums.iter_mut().enumerate() {
            let seen = call.seen(self.query + h);
            for position in positions.start.max(seen.start)..positions.end.min(seen.end) {
                let at = position - self.begin;
                let vectors = self.vectors::<S, E, C>(at * call.width * E::BYTES);
                self.add_weighted::<S, C>(call, h, at, &vectors, sums);
            }
        }
    }

    /// Adds the values of a position, times a query's weight of it, to the query's sums.
    #[inline(always)]
    unsafe fn add_weighted<S: Simd, const C: usize>(
        &self,
        call: &HeadsCall,
        h: usize,
        at: usize,
        vectors: &[S::F; C],
        sums: &mut [S::F; C],
    ) {
        let weight = S::broadcast(self.weights.add(h * call.scores_stride + at));
        for c in 0..C {
            sums[c] = S::fma(weight, vectors[c], sums[c]);
        }
    }

    /// The columns of the position whose values are at an offset.
    #[inline(always)]
    unsafe fn vectors<S: Simd, E: Element, const C: usize>(&self, place: usize) -> [S::F; C] {
        let mut vectors = [S::zero(); C];
        for (c, vector) in vectors.iter_mut().enumerate() {
            *vector = E::load::<S>(self.values.add(place + c * LANES * E::BYTES));
        }
        vectors
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
