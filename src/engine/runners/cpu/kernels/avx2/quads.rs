//! Rows by fours.
//!
//! A block of weights is spread once for all rows of a call, nibbles or bytes as they are
//! multiplied and scales as f32. Then four rows at a time, and at last up to three, are computed
//! in assembly. What is computed is what [`tile::quantised`] computes.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of QuadsFn")]

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::{Avx2, Pair};
use crate::engine::runners::cpu::form::{BLOCK, COLUMNS};
use crate::engine::runners::cpu::kernels::multiply::Product;
use crate::engine::runners::cpu::kernels::simd::{BEGIN, Simd};
use crate::engine::runners::cpu::kernels::table::QUAD;
use crate::engine::runners::cpu::kernels::tile::{self, Ahead, Quants, Scales, TileCall};
use crate::engine::runners::cpu::panel::{PANEL_ROWS, RECORD};

mod assembly;

/// A block of weights as the rows of a call are multiplied with it.
#[repr(C, align(64))]
struct Spread {
    /// Nibbles: 8 vectors of 64, of which every other one is of the block's second half. Bytes:
    /// 8 vectors of 64 signed ones, each followed by their sizes.
    weights: [__m256i; 2 * BLOCK * COLUMNS / 32],
    /// What a sum is multiplied with.
    d: Pair<__m256>,
    /// What [`tile::too_much`] says.
    too_much: Pair<__m256>,
    /// What an activation is multiplied with besides.
    m: Pair<__m256>,
    ones: __m256i,
    begin: __m256i,
}

/// Computes rows of a quantised tile without halves.
///
/// # Safety
/// As [`TileCall`] says, for so many rows of one panel, on a machine that has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn quantised<Q: Quants>(call: &TileCall, rows: usize) {
    const { assert!(!Q::HALVES && (Q::MIN || !Q::NIBBLES), "there is no such kernel") };
    let mut totals = Product::new();
    let totals = &mut totals.0[..rows];
    let mut spread = MaybeUninit::<Spread>::uninit();
    let spread = spread.as_mut_ptr();
    (&raw mut (*spread).ones).write(_mm256_set1_epi16(1));
    (&raw mut (*spread).begin).write(_mm256_set1_epi32(BEGIN));
    let mut weights = call.weights;
    let mut scales = Scales::new::<Q>(call);
    let mut record = call.input;
    let mut ahead = Ahead::new(call);
    for _ in 0..call.blocks {
        ahead.step();
        spread_block::<Q>(weights, spread);
        let [d, m] = scales.next::<Avx2, Q>();
        (&raw mut (*spread).d).write(d);
        (&raw mut (*spread).too_much).write(tile::too_much::<Avx2>(d));
        if Q::MIN {
            (&raw mut (*spread).m).write(m);
        }
        for (quad, totals) in totals.chunks_mut(QUAD).enumerate() {
            let record = record.add(quad * QUAD * RECORD);
            let (some, totals) = (totals.len(), totals.as_mut_ptr());
            match some {
                4 => assembly::four::add::<Q>(record, spread, totals),
                3 => assembly::three::add::<Q>(record, spread, totals),
                2 => assembly::two::add::<Q>(record, spread, totals),
                _ => assembly::one::add::<Q>(record, spread, totals),
            }
        }
        weights = weights.add(Q::FORM.block_bytes());
        record = record.add(PANEL_ROWS * RECORD);
    }
    for (row, total) in totals.iter().enumerate() {
        tile::finish::<Avx2>(call, row, Avx2::load(total.as_ptr()));
    }
}

/// Spreads a block of weights, without its scales.
#[inline(always)]
unsafe fn spread_block<Q: Quants>(weights: *const u8, to: *mut Spread) {
    let vectors: *mut __m256i = (&raw mut (*to).weights).cast();
    if Q::NIBBLES {
        for v in 0..4 {
            let both = Avx2::load_weights(weights.add(64 * v));
            let (low, high) = (Avx2::low_nibbles(both), Avx2::high_nibbles(both));
            let to = vectors.add(4 * v).cast::<Pair<__m256i>>();
            to.write(low);
            to.add(1).write(high);
        }
    } else {
        for v in 0..8 {
            let (signed, size) = signed(Avx2::load_weights(weights.add(64 * v)));
            let to = vectors.add(4 * v).cast::<Pair<__m256i>>();
            to.write(signed);
            to.add(1).write(size);
        }
    }
}

/// Bytes that were stored with 128 added, and their sizes.
#[inline(always)]
unsafe fn signed(weights: Pair<__m256i>) -> (Pair<__m256i>, Pair<__m256i>) {
    let offset = _mm256_set1_epi8(-128);
    let signed = Pair(_mm256_xor_si256(weights.0, offset), _mm256_xor_si256(weights.1, offset));
    (signed, Pair(_mm256_abs_epi8(signed.0), _mm256_abs_epi8(signed.1)))
}
