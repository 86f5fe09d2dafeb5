//! AVX-512 with VNNI: one vector holds the 16 lanes.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of Simd")]

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx2::{eight_add, eight_add_int, eight_max};
use super::many::{Many, ManyKernel, Spreads};
use super::simd::{BEGIN, Products, Simd};
use super::table::kernels;
use super::tile;
use crate::engine::runners::cpu::panel::PANEL_ROWS;

mod panel;
mod quantise;

/// AVX-512 F, BW, VL, DQ and VNNI.
#[derive(Clone, Copy)]
pub(super) struct Avx512;

/// Whether this machine has it.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni")
}

impl Products for Avx512 {
    type I = __m512i;
    type B = __m512i;

    #[inline(always)]
    unsafe fn begin_bytes(less_128_sums: i32) -> Self::I {
        // the weights' excess of 128 is taken back by the beginning of the sum
        _mm512_set1_epi32(less_128_sums)
    }

    #[inline(always)]
    unsafe fn begin_nibbles() -> Self::I {
        _mm512_set1_epi32(BEGIN)
    }

    #[inline(always)]
    unsafe fn dot_nibbles(sum: Self::I, weights: Self::B, activations: *const i8) -> Self::I {
        let four = activations.cast::<i32>().read_unaligned();
        _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(four))
    }

    #[inline(always)]
    unsafe fn dot_bytes(sum: Self::I, weights: Self::B, activations: *const i8) -> Self::I {
        Self::dot_nibbles(sum, weights, activations)
    }
}

impl Simd for Avx512 {
    type F = __m512;

    const QUERIES: usize = 12;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F {
        _mm512_set1_ps(value)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F {
        _mm512_loadu_ps(from)
    }

    /// As an integer: where Zen 4 also widens f16 it takes 1.08 cycles for each FMA that follows,
    /// and 1.44 with `vbroadcastss`, which the compiler writes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn broadcast(from: *const f32) -> Self::F {
        let value: Self::F;
        asm!(
            "vpbroadcastd {value}, dword ptr [{from}]",
            value = lateout(zmm_reg) value,
            from = in(reg) from,
            options(pure, readonly, nostack, preserves_flags),
        );
        value
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F) {
        _mm512_storeu_ps(to, value);
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self::F {
        // exact in any direction; with this one the instruction itself may read memory
        _mm512_cvt_roundph_ps::<_MM_FROUND_CUR_DIRECTION>(_mm256_loadu_si256(from.cast()))
    }

    #[inline(always)]
    unsafe fn store_f16(to: *mut u16, value: Self::F) {
        let half = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value);
        _mm256_storeu_si256(to.cast(), half);
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self::F {
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())))
    }

    #[inline(always)]
    unsafe fn load_pairs(from: *const u16) -> [Self::F; 2] {
        let pairs = _mm512_loadu_si512(from.cast());
        let second = _mm512_and_si512(pairs, _mm512_set1_epi32(!0xffff));
        [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(second)]
    }

    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        _mm512_add_ps(a, b)
    }

    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        _mm512_sub_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        _mm512_mul_ps(a, b)
    }

    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        _mm512_div_ps(a, b)
    }

    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        _mm512_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        _mm512_max_ps(a, b)
    }

    #[inline(always)]
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
        _mm512_min_ps(a, b)
    }

    #[inline(always)]
    unsafe fn abs(a: Self::F) -> Self::F {
        _mm512_abs_ps(a)
    }

    #[inline(always)]
    unsafe fn keep_from(value: Self::F, x: Self::F, limit: Self::F) -> Self::F {
        _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, limit), value)
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> Self::I {
        _mm512_set1_epi32(value)
    }

    #[inline(always)]
    unsafe fn load_int(from: *const i32) -> Self::I {
        _mm512_loadu_si512(from.cast())
    }

    #[inline(always)]
    unsafe fn store_int(to: *mut i32, value: Self::I) {
        _mm512_storeu_si512(to.cast(), value);
    }

    #[inline(always)]
    unsafe fn round(a: Self::F) -> Self::I {
        _mm512_cvtps_epi32(a)
    }

    #[inline(always)]
    unsafe fn float(a: Self::I) -> Self::F {
        _mm512_cvtepi32_ps(a)
    }

    #[inline(always)]
    unsafe fn as_float(a: Self::I) -> Self::F {
        _mm512_castsi512_ps(a)
    }

    #[inline(always)]
    unsafe fn power_of_two(a: Self::I) -> Self::F {
        let biased = _mm512_add_epi32(a, _mm512_set1_epi32(127));
        _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
    }

    #[inline(always)]
    unsafe fn store_bytes(to: *mut i8, value: Self::I) {
        _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(value));
    }

    #[inline(always)]
    unsafe fn greater(
        a: Self::F,
        ids: Self::I,
        b: Self::F,
        other_ids: Self::I,
    ) -> (Self::F, Self::I) {
        let greater = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b);
        (_mm512_mask_mov_ps(b, greater, a), _mm512_mask_mov_epi32(other_ids, greater, ids))
    }

    #[inline(always)]
    unsafe fn load_weights(from: *const u8) -> Self::B {
        _mm512_loadu_si512(from.cast())
    }

    #[inline(always)]
    unsafe fn low_nibbles(weights: Self::B) -> Self::B {
        _mm512_and_si512(weights, _mm512_set1_epi8(15))
    }

    #[inline(always)]
    unsafe fn high_nibbles(weights: Self::B) -> Self::B {
        _mm512_and_si512(_mm512_srli_epi16::<4>(weights), _mm512_set1_epi8(15))
    }

    #[inline(always)]
    unsafe fn sum(a: Self::F) -> f32 {
        eight_add(_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a)))
    }

    #[inline(always)]
    unsafe fn greatest(a: Self::F) -> f32 {
        eight_max(_mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a)))
    }

    #[inline(always)]
    unsafe fn sum_int(a: Self::I) -> i32 {
        eight_add_int(_mm256_add_epi32(
            _mm512_castsi512_si256(a),
            _mm512_extracti64x4_epi64::<1>(a),
        ))
    }
}

/// A block of nibbles, a byte each.
#[inline(always)]
pub(super) unsafe fn spread_nibbles(from: *const u8) -> [__m512i; 8] {
    let mut weights = [_mm512_setzero_si512(); 8];
    for v in 0..4 {
        let both = Avx512::load_weights(from.add(64 * v));
        weights[v] = Avx512::low_nibbles(both);
        weights[v + 4] = Avx512::high_nibbles(both);
    }
    weights
}

/// Rows of panels: nibbles are spread with the first one.
pub(super) static MANY: Many = Many {
    rows: PANEL_ROWS,
    panel_rows: PANEL_ROWS,
    around: None,
    kernels: [
        Some(ManyKernel {
            spread: Spreads::With(panel::spread::<tile::U4>),
            multiply: panel::spread_before,
        }),
        Some(ManyKernel {
            spread: Spreads::With(panel::spread::<tile::U4Super>),
            multiply: panel::spread_before,
        }),
        None,
        None,
        None,
        None,
        None,
        None,
        None,
    ],
};

kernels!(
    Avx512,
    ["avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c"],
    [1, 2, 3, 4, 5, 6, 7, 8],
    {
        quantise: quantise::quantise,
        many: &[&MANY],
        panel: [
            None,
            None,
            Some(panel::bytes::<tile::U8>),
            Some(panel::bytes::<tile::U8Min>),
            Some(panel::bytes::<tile::U8MinSuper>),
            None,
            None,
            None,
            None,
        ]
    }
);
