//! AVX2 with FMA and F16C: two vectors hold the 16 lanes.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of Simd")]

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::simd::{BEGIN, Products, Simd};
use super::table::kernels;

mod quads;

/// AVX2, FMA and F16C, with a way to multiply bytes.
#[derive(Clone, Copy)]
pub(super) struct Avx<P>(PhantomData<P>);

/// Products as sums of 16 bits.
#[derive(Clone, Copy)]
struct Words;

/// What AVX2 itself has.
type Avx2 = Avx<Words>;

/// Whether this machine has it.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

/// Lanes 0 to 7 and 8 to 15.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Pair<T>(pub T, pub T);

/// 16 i32, or 64 bytes.
pub(super) type Ints = Pair<__m256i>;

impl Products for Avx2 {
    type I = Ints;
    type B = Ints;

    #[inline(always)]
    unsafe fn begin_bytes(_less_128_sums: i32) -> Self::I {
        Self::splat_int(BEGIN)
    }

    #[inline(always)]
    unsafe fn begin_nibbles() -> Self::I {
        Self::splat_int(0)
    }

    #[inline(always)]
    unsafe fn dot_nibbles(sum: Self::I, weights: Self::B, activations: *const i8) -> Self::I {
        let four = _mm256_set1_epi32(activations.cast::<i32>().read_unaligned());
        // a block has 16 products of at most 15 * 127 for each sum, which fit in 16 bits
        Pair(
            _mm256_add_epi16(sum.0, _mm256_maddubs_epi16(weights.0, four)),
            _mm256_add_epi16(sum.1, _mm256_maddubs_epi16(weights.1, four)),
        )
    }

    #[inline(always)]
    unsafe fn end_nibbles(sum: Self::I) -> Self::I {
        let one = _mm256_set1_epi16(1);
        let begin = _mm256_set1_epi32(BEGIN);
        Pair(
            _mm256_add_epi32(begin, _mm256_madd_epi16(sum.0, one)),
            _mm256_add_epi32(begin, _mm256_madd_epi16(sum.1, one)),
        )
    }

    #[inline(always)]
    unsafe fn dot_bytes(sum: Self::I, weights: Self::B, activations: *const i8) -> Self::I {
        let four = _mm256_set1_epi32(activations.cast::<i32>().read_unaligned());
        Pair(
            add_pairs(sum.0, byte_products(weights.0, four)),
            add_pairs(sum.1, byte_products(weights.1, four)),
        )
    }
}

impl<P: Copy> Simd for Avx<P>
where
    Self: Products<I = Ints, B = Ints>,
{
    type F = Pair<__m256>;

    const QUERIES: usize = 6;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F {
        Pair(_mm256_set1_ps(value), _mm256_set1_ps(value))
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F {
        Pair(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8)))
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F) {
        _mm256_storeu_ps(to, value.0);
        _mm256_storeu_ps(to.add(8), value.1);
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self::F {
        let low = _mm_loadu_si128(from.cast());
        let high = _mm_loadu_si128(from.add(8).cast());
        Pair(_mm256_cvtph_ps(low), _mm256_cvtph_ps(high))
    }

    #[inline(always)]
    unsafe fn store_f16(to: *mut u16, value: Self::F) {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT;
        _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<NEAREST>(value.0));
        _mm_storeu_si128(to.add(8).cast(), _mm256_cvtps_ph::<NEAREST>(value.1));
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self::F {
        let bytes = _mm_loadu_si128(from.cast());
        let (low, high) = (bytes, _mm_srli_si128::<8>(bytes));
        Pair(
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high)),
        )
    }

    #[inline(always)]
    unsafe fn load_pairs(from: *const u16) -> [Self::F; 2] {
        let low = _mm256_loadu_si256(from.cast());
        let high = _mm256_loadu_si256(from.add(16).cast());
        let mask = _mm256_set1_epi32(!0xffff);
        let first = Pair(
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
        );
        let second = Pair(
            _mm256_castsi256_ps(_mm256_and_si256(low, mask)),
            _mm256_castsi256_ps(_mm256_and_si256(high, mask)),
        );
        [first, second]
    }

    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        Pair(_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1))
    }

    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        Pair(_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1))
    }

    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        Pair(_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1))
    }

    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        Pair(_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1))
    }

    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        Pair(_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1))
    }

    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        Pair(_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1))
    }

    #[inline(always)]
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
        Pair(_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1))
    }

    #[inline(always)]
    unsafe fn abs(a: Self::F) -> Self::F {
        let mask = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MAX));
        Pair(_mm256_and_ps(a.0, mask), _mm256_and_ps(a.1, mask))
    }

    #[inline(always)]
    unsafe fn keep_from(value: Self::F, x: Self::F, limit: Self::F) -> Self::F {
        Pair(
            _mm256_and_ps(value.0, _mm256_cmp_ps::<_CMP_GE_OQ>(x.0, limit.0)),
            _mm256_and_ps(value.1, _mm256_cmp_ps::<_CMP_GE_OQ>(x.1, limit.1)),
        )
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> Self::I {
        Pair(_mm256_set1_epi32(value), _mm256_set1_epi32(value))
    }

    #[inline(always)]
    unsafe fn load_int(from: *const i32) -> Self::I {
        Pair(_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast()))
    }

    #[inline(always)]
    unsafe fn store_int(to: *mut i32, value: Self::I) {
        _mm256_storeu_si256(to.cast(), value.0);
        _mm256_storeu_si256(to.add(8).cast(), value.1);
    }

    #[inline(always)]
    unsafe fn round(a: Self::F) -> Self::I {
        Pair(_mm256_cvtps_epi32(a.0), _mm256_cvtps_epi32(a.1))
    }

    #[inline(always)]
    unsafe fn float(a: Self::I) -> Self::F {
        Pair(_mm256_cvtepi32_ps(a.0), _mm256_cvtepi32_ps(a.1))
    }

    #[inline(always)]
    unsafe fn as_float(a: Self::I) -> Self::F {
        Pair(_mm256_castsi256_ps(a.0), _mm256_castsi256_ps(a.1))
    }

    #[inline(always)]
    unsafe fn power_of_two(a: Self::I) -> Self::F {
        let bias = _mm256_set1_epi32(127);
        let biased = Pair(_mm256_add_epi32(a.0, bias), _mm256_add_epi32(a.1, bias));
        Pair(
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased.0)),
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased.1)),
        )
    }

    #[inline(always)]
    unsafe fn store_bytes(to: *mut i8, value: Self::I) {
        // the packs work within 128-bit halves, so the quarters come out as 0 2 1 3
        let words = _mm256_packs_epi32(value.0, value.1);
        let bytes =
            _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        _mm_storeu_si128(to.cast(), _mm_shuffle_epi32::<0b11_01_10_00>(bytes));
    }

    #[inline(always)]
    unsafe fn greater(
        a: Self::F,
        ids: Self::I,
        b: Self::F,
        other_ids: Self::I,
    ) -> (Self::F, Self::I) {
        let low = _mm256_cmp_ps::<_CMP_GT_OQ>(a.0, b.0);
        let high = _mm256_cmp_ps::<_CMP_GT_OQ>(a.1, b.1);
        let (low_ids, high_ids) = (_mm256_castps_si256(low), _mm256_castps_si256(high));
        (
            Pair(_mm256_blendv_ps(b.0, a.0, low), _mm256_blendv_ps(b.1, a.1, high)),
            Pair(
                _mm256_blendv_epi8(other_ids.0, ids.0, low_ids),
                _mm256_blendv_epi8(other_ids.1, ids.1, high_ids),
            ),
        )
    }

    #[inline(always)]
    unsafe fn load_weights(from: *const u8) -> Self::B {
        Pair(_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast()))
    }

    #[inline(always)]
    unsafe fn low_nibbles(weights: Self::B) -> Self::B {
        let mask = _mm256_set1_epi8(15);
        Pair(_mm256_and_si256(weights.0, mask), _mm256_and_si256(weights.1, mask))
    }

    #[inline(always)]
    unsafe fn high_nibbles(weights: Self::B) -> Self::B {
        let mask = _mm256_set1_epi8(15);
        Pair(
            _mm256_and_si256(_mm256_srli_epi16::<4>(weights.0), mask),
            _mm256_and_si256(_mm256_srli_epi16::<4>(weights.1), mask),
        )
    }

    #[inline(always)]
    unsafe fn sum(a: Self::F) -> f32 {
        eight_add(_mm256_add_ps(a.0, a.1))
    }

    #[inline(always)]
    unsafe fn greatest(a: Self::F) -> f32 {
        eight_max(_mm256_max_ps(a.0, a.1))
    }

    #[inline(always)]
    unsafe fn sum_int(a: Self::I) -> i32 {
        eight_add_int(_mm256_add_epi32(a.0, a.1))
    }
}

/// The sum of 8 lanes: those 4 apart, 2 apart, neighbours.
#[inline(always)]
pub(super) unsafe fn eight_add(a: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// The greatest of 8 lanes.
#[inline(always)]
pub(super) unsafe fn eight_max(a: __m256) -> f32 {
    let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
}

/// The sum of 8 lanes.
#[inline(always)]
pub(super) unsafe fn eight_add_int(a: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b11_10_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b01_01_01_01>(two)))
}

/// Sums of two products of bytes that were stored with 128 added: |w| times a with the sign of w,
/// at most 2 * 128 * 127, which fits in 16 bits.
#[inline(always)]
unsafe fn byte_products(weights: __m256i, activations: __m256i) -> __m256i {
    let signed = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
    _mm256_maddubs_epi16(_mm256_abs_epi8(signed), _mm256_sign_epi8(activations, signed))
}

#[inline(always)]
unsafe fn add_pairs(sum: __m256i, words: __m256i) -> __m256i {
    _mm256_add_epi32(sum, _mm256_madd_epi16(words, _mm256_set1_epi16(1)))
}

kernels!(
    Avx2,
    ["avx2,fma,f16c"],
    [1, 2, 3, 4],
    [1, 2, 3],
    {
        quads: [
            Some(quads::quantised::<super::tile::U4>),
            Some(quads::quantised::<super::tile::U4Super>),
            Some(quads::quantised::<super::tile::U8>),
            Some(quads::quantised::<super::tile::U8Min>),
            Some(quads::quantised::<super::tile::U8MinSuper>),
            None,
            None,
            None,
            None,
        ]
    }
);
