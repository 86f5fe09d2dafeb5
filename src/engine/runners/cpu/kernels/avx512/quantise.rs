//! Four blocks of activations quantised together: where four vectors are folded at once, they take half
//! the steps of one after the other.
//!
//! What is computed is what [`rows::quantise`] computes, in its order.
#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "the contract of every function is that of rows::quantise"
)]

use std::arch::x86_64::*;

use super::Avx512;
use crate::engine::runners::cpu::form::BLOCK;
use crate::engine::runners::cpu::kernels::rows::{self, LEAST};
use crate::engine::runners::cpu::kernels::simd::{BEGIN, LANES, Simd};
use crate::engine::runners::cpu::panel;

/// Blocks that are quantised together.
const FOUR: usize = 4;

/// Quantises a row of whole blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn quantise(x: *const f32, blocks: usize, record: *mut u8, stride: usize) {
    let fours = blocks - blocks % FOUR;
    for block in (0..fours).step_by(FOUR) {
        four(x.add(block * BLOCK), record.add(block * stride), stride);
    }
    rows::quantise::<Avx512>(
        x.add(fours * BLOCK),
        blocks - fours,
        record.add(fours * stride),
        stride,
    );
}

#[inline(always)]
unsafe fn four(x: *const f32, record: *mut u8, stride: usize) {
    let mut largest = [Avx512::zero(); FOUR];
    for (block, largest) in largest.iter_mut().enumerate() {
        let x = x.add(block * BLOCK);
        let (low, high) = (Avx512::load(x), Avx512::load(x.add(LANES)));
        *largest = Avx512::max(Avx512::abs(low), Avx512::abs(high));
    }
    let largest = greatest(largest);
    let counts = _mm_cmp_ps_mask::<_CMP_GT_OQ>(largest, _mm_set1_ps(LEAST));
    let factors = _mm_maskz_div_ps(counts, _mm_set1_ps(127.0), largest);
    let scales = _mm_maskz_div_ps(counts, largest, _mm_set1_ps(127.0));
    let mut halves = [[_mm512_setzero_si512(); FOUR]; 2];
    for block in 0..FOUR {
        let which = _mm512_set1_epi32(block as i32);
        let factor = _mm512_permutexvar_ps(which, _mm512_castps128_ps512(factors));
        for (half, integers) in halves.iter_mut().enumerate() {
            let (at, to) = (block * BLOCK + half * LANES, block * stride + half * LANES);
            integers[block] = Avx512::round(Avx512::mul(Avx512::load(x.add(at)), factor));
            Avx512::store_bytes(record.add(to).cast(), integers[block]);
        }
    }
    let headers = headers(scales, halves);
    let to = record.add(panel::SCALE);
    _mm_storeu_ps(to.cast(), _mm512_castps512_ps128(headers));
    _mm_storeu_ps(to.add(stride).cast(), _mm512_extractf32x4_ps::<1>(headers));
    _mm_storeu_ps(to.add(2 * stride).cast(), _mm512_extractf32x4_ps::<2>(headers));
    _mm_storeu_ps(to.add(3 * stride).cast(), _mm512_extractf32x4_ps::<3>(headers));
}

/// Folds each of four vectors to a quarter: lanes 8 apart, and then 4 apart.
macro_rules! fold {
    ($v:ident, $shuffle:ident, $fold:path) => {{
        let first =
            $fold($shuffle::<0b01_00_01_00>($v[0], $v[1]), $shuffle::<0b11_10_11_10>($v[0], $v[1]));
        let second =
            $fold($shuffle::<0b01_00_01_00>($v[2], $v[3]), $shuffle::<0b11_10_11_10>($v[2], $v[3]));
        $fold($shuffle::<0b10_00_10_00>(first, second), $shuffle::<0b11_01_11_01>(first, second))
    }};
}

/// The greatest lane of each.
#[inline(always)]
unsafe fn greatest(vectors: [__m512; FOUR]) -> __m128 {
    let four = fold!(vectors, _mm512_shuffle_f32x4, Avx512::max);
    let two = Avx512::max(four, _mm512_permute_ps::<0b11_10_11_10>(four));
    let one = Avx512::max(two, _mm512_permute_ps::<0b01_01_01_01>(two));
    let firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, one))
}

/// What follows a block's numbers in its record, a quarter for each block.
#[inline(always)]
unsafe fn headers(scales: __m128, [low, high]: [[__m512i; FOUR]; 2]) -> __m512 {
    let low = fold!(low, _mm512_shuffle_i32x4, _mm512_add_epi32);
    let high = fold!(high, _mm512_shuffle_i32x4, _mm512_add_epi32);
    // in each quarter: low, high, low, high, of two lanes and then of all
    let two = _mm512_add_epi32(_mm512_unpacklo_epi32(low, high), _mm512_unpackhi_epi32(low, high));
    let one = _mm512_add_epi32(two, _mm512_shuffle_epi32::<0b01_00_11_10>(two));
    let (low, whole) = (
        _mm512_shuffle_epi32::<0b00_00_00_00>(one),
        _mm512_add_epi32(one, _mm512_shuffle_epi32::<0b10_11_00_01>(one)),
    );
    let quarters = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    let scales = _mm512_permutexvar_ps(quarters, _mm512_castps128_ps512(scales));
    let begin = _mm512_set4_epi32(0, BEGIN, 0, 0);
    let sums = _mm512_mask_mov_epi32(whole, FOURTHS, low);
    let offsets = _mm512_sub_epi32(begin, _mm512_slli_epi32::<7>(sums));
    let products = Avx512::mul(scales, Avx512::float(whole));
    let floats = _mm512_mask_mov_ps(_mm512_castsi512_ps(offsets), FIRSTS, scales);
    _mm512_mask_mov_ps(floats, SECONDS, products)
}

/// Lane 0, 1 and 3 of each quarter.
const FIRSTS: __mmask16 = 0x1111;
const SECONDS: __mmask16 = 0x2222;
const FOURTHS: __mmask16 = 0x8888;

// the headers are written in this order
const _: () = assert!(panel::OFFSET == panel::SCALE + 8 && panel::HALF_OFFSET == panel::SCALE + 12);
